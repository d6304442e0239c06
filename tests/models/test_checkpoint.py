import hashlib
import json
import os

import pytest
import torch
from safetensors.torch import load_file

from models import checkpoint as checkpoints
from models.checkpoint import (
    Card,
    CheckpointError,
    TrainerState,
    bundled_names,
    find_checkpoint,
    read_card,
    read_trainer,
    read_weights,
    run_checkpoints,
    save_checkpoint,
)
from models.config import ModelConfig, TaskConfig
from models.hooked import load
from models.transformer import Transformer

from ..reliability.mutations import ODD_TYPES, of_type

CONFIG = ModelConfig(vocab=6, context=5, width=8, head_width=8)


@pytest.fixture
def card():
    return Card(name="test", model=CONFIG, task=TaskConfig(name="set-complement", vocab=6), train_length=2, seed=0, step=7)


@pytest.fixture
def folder(tmp_path, card):
    states = {name: Transformer(CONFIG, seed=seed).state_dict() for seed, name in enumerate(("raw", "ema", "bema"))}
    trainer = TrainerState({"x": torch.arange(3)}, {"step": 7})
    save_checkpoint(tmp_path / "run" / "checkpoints" / "step_00000007", card, states, trainer)
    return tmp_path / "run" / "checkpoints" / "step_00000007"


def test_what_was_saved_is_read(folder, card):
    assert read_card(folder).model_copy(update={"sha256": {}}) == card
    assert read_card(folder).weights == ("raw", "ema", "bema")
    for seed, name in enumerate(("raw", "ema", "bema")):
        state = read_weights(folder, name)
        assert all(torch.equal(state[key], value) for key, value in Transformer(CONFIG, seed=seed).state_dict().items())
    trainer = read_trainer(folder)
    assert trainer.facts == {"step": 7}
    assert torch.equal(trainer.tensors["x"], torch.arange(3))
    assert load_file(folder / "raw.safetensors").keys() == Transformer(CONFIG).state_dict().keys()  # readable without us


def test_load_gives_the_weights_asked_for(folder):
    model = load(folder, weights="ema", dtype=torch.float64)
    plain = Transformer(CONFIG, seed=1).double()
    tokens = torch.tensor([[3, 1, 5]])
    torch.testing.assert_close(model(tokens), plain(tokens), rtol=1e-12, atol=1e-12)
    assert model.weights == "ema"
    assert model.card.step == 7
    assert not model.training


def test_a_checkpoint_is_never_overwritten(folder, card):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(FileExistsError, match="exists already"):
        save_checkpoint(folder, card, {"raw": Transformer(CONFIG, seed=9).state_dict()})
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_write_that_fails_leaves_nothing(tmp_path, card, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(tmp_path / "step_00000001", card, {"raw": Transformer(CONFIG).state_dict()})
    assert list(tmp_path.iterdir()) == []


def test_a_changed_file_is_refused(folder):
    path = folder / "ema.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="ema.safetensors has sha256 .* the file was changed or damaged"):
        read_weights(folder, "ema")
    read_weights(folder, "raw")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda card: card | {"extra": 1}, "extra: Extra inputs are not permitted"),
        (lambda card: card | {"format": 2}, "format: Input should be 1"),
        (lambda card: card["model"].update(vocab="many") or card, "model.vocab: Input should be a valid integer"),
        (lambda card: card["model"].update(context=6) or card, "model.context 6 is beyond 5, the longest input of the task"),
    ],
)
def test_a_card_that_is_not_valid_is_named(folder, change, problem):
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps(change(card)))
    with pytest.raises(CheckpointError, match=problem):
        read_card(folder)


def test_a_card_too_large_is_refused_unread(folder):
    (folder / "card.json").write_bytes(b" " * (checkpoints.MAX_CARD_BYTES + 1))
    with pytest.raises(CheckpointError, match="it is not a card of ours"):
        read_card(folder)


@pytest.mark.parametrize(
    ("name", "data", "problem"),
    [
        ("trainer.json", b"{", "trainer.json is no valid JSON .* restore it from a copy"),
        ("trainer.json", b"[7]", "trainer.json is no JSON object; restore it from a copy"),
        *(
            ("trainer.safetensors", data, "trainer.safetensors is no valid safetensors file .* restore it from a copy")
            for data in (b"\x08", *map(of_type, ODD_TYPES))
        ),
    ],
)
def test_a_trainers_file_of_another_kind_is_named_though_its_sha256_is_right(folder, name, data, problem):
    (folder / name).write_bytes(data)
    card = json.loads((folder / "card.json").read_text())
    card["sha256"][name] = hashlib.sha256(data).hexdigest()
    (folder / "card.json").write_text(json.dumps(card))
    with pytest.raises(CheckpointError, match=problem):
        read_trainer(folder)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named_though_their_sha256_is_right(tmp_path, card, number):
    state = Transformer(card.model).state_dict()
    state["blocks.0.attn.W_K"][0, 0, 0] = number
    save_checkpoint(tmp_path / "bad", card, {"raw": state})
    with pytest.raises(CheckpointError, match=r"raw.safetensors has numbers in blocks.0.attn.W_K that are not finite.*restore"):
        load(tmp_path / "bad", "raw")


def test_weights_that_are_absent_are_named(tmp_path, card):
    save_checkpoint(tmp_path / "c", card, {"raw": Transformer(CONFIG).state_dict()})
    with pytest.raises(CheckpointError, match="has no 'ema' weights; it has raw"):
        read_weights(tmp_path / "c", "ema")
    with pytest.raises(CheckpointError, match="holds no trainer state"):
        read_trainer(tmp_path / "c")


def test_a_run_means_its_last_step(folder, card):
    later = folder.parent / "step_00000012"
    save_checkpoint(later, card, {"raw": Transformer(CONFIG).state_dict()})
    (folder.parent / ".writing-step_99999999").mkdir()
    assert find_checkpoint(folder.parents[1]) == later
    assert find_checkpoint(folder) == folder
    assert run_checkpoints(folder.parents[1]) == [folder, later]


def test_what_is_no_checkpoint_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=f"no checkpoint at '{tmp_path}'.*workbench zoo"):
        find_checkpoint(tmp_path)


def test_every_bundled_checkpoint_is_whole_and_says_how_it_was_made():
    names = bundled_names()
    assert len(names) >= 12
    for name in names:
        for folder in run_checkpoints(checkpoints.ZOO / name):
            card = read_card(folder)
            assert card.weights == ("raw", "ema", "bema")
            assert card.command.startswith(f"workbench train {card.task.name} --out {name} ")
            assert card.name == name
            for weights in card.weights:
                state = read_weights(folder, weights, card)
                assert {key: value.shape for key, value in Transformer(card.model).state_dict().items()} == {
                    key: value.shape for key, value in state.items()
                }


def test_the_zoo_is_at_most_12_megabytes():
    assert sum(path.stat().st_size for path in checkpoints.ZOO.rglob("*") if path.is_file()) <= 12_000_000
