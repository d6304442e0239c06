import dataclasses
import json

import pytest
import torch

from probes.board_probe import BoardProbe, ProbeCard, ProbeError, load_probe, save_probe
from probes.linear_probe import LinearProbe
from probes.nonlinear_probe import NonlinearProbe


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


def test_a_nonlinear_probe_has_no_directions():
    with pytest.raises(ProbeError, match="no directions"):
        _ = probe_of("nonlinear").linear
