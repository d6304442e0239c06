import dataclasses
import hashlib
import json

import pytest
import torch
from safetensors.torch import load_file, save

from probes.board_probe import BoardProbe, ProbeCard, ProbeError, load_probe, save_probe
from probes.linear_probe import LinearProbe
from probes.nonlinear_probe import NonlinearProbe

from ..reliability.mutations import ODD_TYPES, of_type


def probe_of(kind: str) -> BoardProbe:
    layers, width, squares, hidden = 2, 5, 4, 6
    if kind == "nonlinear":
        read = NonlinearProbe(
            torch.randn(layers, width, hidden),
            torch.randn(layers, hidden),
            torch.randn(layers, hidden, squares, 3),
            torch.randn(layers, squares, 3),
        )
    else:
        shape = (layers, width, squares, 3)
        read = LinearProbe(torch.randn(shape), torch.randn(layers, squares, 3), torch.randn(shape))
    card = ProbeCard(
        kind=kind, frame="to_move", states=("mine", "theirs", "empty"), layers=(0, 1), width=width, squares=squares,
        seed=7, games=20, checkpoint="small", weights="ema", checkpoint_sha256="ab" * 32,
    )  # fmt: skip
    return BoardProbe(card, read)


@pytest.mark.parametrize("kind", ["closed-form", "logistic", "nonlinear"])
def test_a_probe_comes_back_as_it_was_saved(tmp_path, kind):
    probe = probe_of(kind)
    card = save_probe(tmp_path / "probe", probe)
    loaded = load_probe(tmp_path / "probe", checkpoint_sha256="ab" * 32)
    assert loaded.card == card and loaded.card.seed == 7 and loaded.card.layers == (0, 1)
    assert type(loaded.read) is type(probe.read)
    for field in dataclasses.fields(probe.read):
        assert torch.equal(getattr(loaded.read, field.name), getattr(probe.read, field.name))
    stream = torch.randn(3, 5)
    assert torch.equal(loaded.scores(1, stream), probe.scores(1, stream))
    assert save_probe(tmp_path / "probe", probe) == card  # again, in its place
    (tmp_path / "probe" / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError):
        save_probe(tmp_path / "probe", probe)
    (tmp_path / "probe" / "notes.txt").unlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["probe"]
    (tmp_path / "mine").mkdir()
    with pytest.raises(FileExistsError):
        save_probe(tmp_path / "mine", probe)


def test_scores_are_what_the_formulas_say():
    stream = torch.randn(4, 5)
    linear, nonlinear = probe_of("logistic").read, probe_of("nonlinear").read
    for square in range(4):
        for state in range(3):
            expected = stream @ linear.weight[1, :, square, state] + linear.bias[1, square, state]
            torch.testing.assert_close(linear.scores(1, stream)[:, square, state], expected)
            hidden = (stream @ nonlinear.hidden_weight[0] + nonlinear.hidden_bias[0]).clamp(min=0)
            expected = hidden @ nonlinear.weight[0, :, square, state] + nonlinear.bias[0, square, state]
            torch.testing.assert_close(nonlinear.scores(0, stream)[:, square, state], expected)


def test_a_probe_of_other_weights_is_refused(tmp_path):
    save_probe(tmp_path / "probe", probe_of("closed-form"))
    with pytest.raises(ProbeError, match="fitted on weights of sha256 abab.*these have cdcd"):
        load_probe(tmp_path / "probe", checkpoint_sha256="cd" * 32)


def test_what_is_damaged_or_missing_is_refused_in_one_sentence(tmp_path):
    folder = tmp_path / "probe"
    with pytest.raises(ProbeError, match="cannot read"):
        load_probe(folder)
    save_probe(folder, probe_of("closed-form"))
    tensors, card = folder / "probe.safetensors", folder / "card.json"
    data, text = tensors.read_bytes(), card.read_text()
    tensors.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(ProbeError, match="changed or damaged"):
        load_probe(folder)
    tensors.write_bytes(data)
    for wrong in ({"kind": "nonlinear"}, {"width": 6}, {"squares": 9}):
        card.write_text(json.dumps(json.loads(text) | wrong))
        with pytest.raises(ProbeError, match="fit it again"):
            load_probe(folder)
    card.write_text(text.replace('"games"', '"matches"'))
    with pytest.raises(ProbeError, match="no valid card"):
        load_probe(folder)


def sealed(folder, data: bytes) -> None:
    """Puts other bytes in place of a probe's tensors, and their sha256 in its card."""
    (folder / "probe.safetensors").write_bytes(data)
    card = json.loads((folder / "card.json").read_text())
    card["sha256"] = {"probe.safetensors": hashlib.sha256(data).hexdigest()}
    (folder / "card.json").write_text(json.dumps(card))


SHAPE = (2, 5, 4, 3)


@pytest.mark.parametrize(
    ("kind", "other", "problem"),
    [
        ("logistic", {"weight": torch.zeros(2, 5, 3, 3)}, r"weight has shape \(2, 5, 3, 3\), the card says \(2, 5, 4, 3\)"),
        ("logistic", {"weight": torch.zeros(*SHAPE, 1)}, r"weight has shape \(2, 5, 4, 3, 1\), the card says"),
        ("logistic", {"pattern": torch.zeros(1)}, r"pattern has shape \(1,\), the card says \(2, 5, 4, 3\)"),
        ("logistic", {"bias": torch.zeros(2, 4, 3, 2)}, r"bias has shape \(2, 4, 3, 2\), the card says \(2, 4, 3\)"),
        ("logistic", {"weight": torch.zeros(SHAPE, dtype=torch.int32)}, "its numbers are float32 and int32, expected float32"),
        ("logistic", {"weight": torch.zeros(SHAPE, dtype=torch.float16)}, "its numbers are float16 and float32"),
        ("logistic", {"weight": None}, "weight is missing"),
        ("nonlinear", {"weight": torch.zeros(2, 7, 4, 3)}, r"weight has shape \(2, 7, 4, 3\), the card says \(2, 6, 4, 3\)"),
        ("nonlinear", {"hidden_bias": torch.zeros(())}, r"hidden_bias has shape \(\), the card says"),
        ("nonlinear", {"hidden_bias": torch.zeros(2, 6).bool()}, "its numbers are bool and float32"),
    ],
)
def test_tensors_of_another_shape_or_type_are_named_though_their_sha256_is_right(tmp_path, kind, other, problem):
    save_probe(tmp_path / "probe", probe_of(kind))
    tensors = load_file(tmp_path / "probe" / "probe.safetensors") | other
    sealed(tmp_path / "probe", save({name: tensor for name, tensor in tensors.items() if tensor is not None}))
    with pytest.raises(ProbeError, match=f"holds no {kind} probe \\({problem}.*\\); fit it again"):
        load_probe(tmp_path / "probe")


@pytest.mark.parametrize("data", [b"\x08", *map(of_type, ODD_TYPES)])
def test_what_is_no_safetensors_file_is_named_though_its_sha256_is_right(tmp_path, data):
    save_probe(tmp_path / "probe", probe_of("logistic"))
    sealed(tmp_path / "probe", data)
    with pytest.raises(ProbeError, match="holds no logistic probe .*; fit it again"):
        load_probe(tmp_path / "probe")


def test_a_nonlinear_probe_has_no_directions():
    with pytest.raises(ProbeError, match="no directions"):
        _ = probe_of("nonlinear").linear
