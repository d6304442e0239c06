"""Spoilt checkpoints and cards: each is refused in one sentence, or what is read is what was saved."""

import hashlib
import json
import shutil
from itertools import permutations
from pathlib import Path
from random import Random

import pytest
import torch

from models.checkpoint import CheckpointError, find_checkpoint, read_card, read_trainer, read_weights, run_checkpoints
from models.hooked import load
from workbench.cli import run as command
from workbench.comparison import compare
from workbench.config_options import config_from_options
from workbench.evaluation import evaluate
from workbench.training import train
from workbench.training_config import TrainingConfig

from .held_to_limits import held
from .mutations import BYTES, ELSEWHERE, JSONS, lead_elsewhere, other_tensors
from .spoilt_files import counts, spoil_and_read
from .test_bad_arguments import require_one_sentence
from .test_kill import train_words


def reseal(folder: Path, name: str) -> None:
    """Gives the card the sha256 that a file has now, as an attacker would."""
    card = json.loads((folder / "card.json").read_bytes())
    card["sha256"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    (folder / "card.json").write_text(json.dumps(card))


def config_of(run: Path, steps: int) -> TrainingConfig:
    """What `train_words` ask for."""
    words = train_words(run, steps, 1)
    options = {word[2:].replace("-", "_"): value for word, value in zip(words[2::2], words[3::2], strict=True)}
    return config_from_options("set-complement", {name: value for name, value in options.items() if name != "out"})


def read_all(folder: Path) -> None:
    """All that a checkpoint holds, through the front door."""
    found = find_checkpoint(folder)
    card = read_card(found)
    for weights in card.weights:
        load(found, weights)
    read_trainer(found)


def test_a_changed_weight_is_never_loaded(tmp_path, sound_run):
    """Every byte of the numbers counts: one bit flipped in each of 50 places."""
    folder = tmp_path / "checkpoint"
    shutil.copytree(run_checkpoints(sound_run)[-1], folder)
    path, random = folder / "raw.safetensors", Random(1)
    data = path.read_bytes()
    for _ in range(50):
        spoilt = bytearray(data)
        spoilt[random.randrange(len(data))] ^= 1 << random.randrange(8)
        path.write_bytes(spoilt)
        reading = held(lambda: read_weights(folder, "raw"))
        assert reading.error is not None
        reading.require_orderly(0)


@pytest.fixture(scope="module")
def other_seed(tmp_path_factory):
    """A run of the same shape and steps as the sound one, and of other weights."""
    folder = tmp_path_factory.mktemp("runs") / "other"
    assert command([*train_words(folder, 2, 1), "--seed", "1"]) == 0
    return folder


def test_a_card_of_another_step_or_seed_is_refused(tmp_path, sound_run, other_seed):
    """Of equal shapes, so that nothing but the sha256 tells; of each pair of checkpoints, through every reader of them."""
    saved = [*run_checkpoints(sound_run), *run_checkpoints(other_seed)]
    for number, (folder, giver) in enumerate(permutations(saved, 2)):
        swapped = tmp_path / str(number)
        shutil.copytree(folder, swapped)
        shutil.copyfile(giver / "card.json", swapped / "card.json")
        for weights in read_card(folder).weights:
            with pytest.raises(CheckpointError, match=f"{weights}.safetensors has sha256 .*, its card says"):
                read_weights(swapped, weights)
        with pytest.raises(CheckpointError, match="trainer.json has sha256"):
            read_trainer(swapped)
        require_one_sentence(lambda swapped=swapped: compare([swapped], sequences=2), "sha256")


def test_nor_is_one_set_of_weights_taken_for_another(tmp_path, sound_run):
    folder = tmp_path / "checkpoint"
    shutil.copytree(run_checkpoints(sound_run)[-1], folder)
    (folder / "ema.safetensors").rename(folder / "other")
    (folder / "raw.safetensors").rename(folder / "ema.safetensors")
    (folder / "other").rename(folder / "raw.safetensors")
    for weights in ("raw", "ema"):
        require_one_sentence(lambda weights=weights: read_weights(folder, weights), f"{weights}.safetensors has sha256")


def test_runs_whose_checkpoints_changed_places_say_what_they_are(tmp_path, sound_run, other_seed):
    """A whole checkpoint in another's place is sound: it is read as what its card and its weights are."""
    run = tmp_path / "run"
    shutil.copytree(sound_run, run)
    last, theirs = run_checkpoints(run)[-1], run_checkpoints(other_seed)[-1]
    shutil.rmtree(last)
    shutil.copytree(theirs, last)
    assert read_card(find_checkpoint(run)).seed == 1
    found, expected = (evaluate(path, lengths=[2], sequences=2) for path in (run, other_seed))
    assert found.equals(expected)
    require_one_sentence(lambda: train(config_of(run, 3), run), "seed")


@counts(300)
def test_spoilt_checkpoints(tmp_path, sound_run, count):
    """Of the weights and the trainer's files; in half of the cases the card was given the new sha256."""
    sound, run = run_checkpoints(sound_run)[-1], tmp_path / "run"
    folder = run / "checkpoints" / sound.name
    shutil.copytree(sound_run, run)
    states = {weights: read_weights(sound, weights) for weights in ("raw", "ema", "bema")}
    resealed = False

    def spoil(random: Random) -> str:
        nonlocal resealed
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(sound, folder)
        name = random.choice(("raw.safetensors", "ema.safetensors", "bema.safetensors", "trainer.safetensors", "trainer.json"))
        path, resealed = folder / name, False
        if random.random() < 0.1:
            lead_elsewhere(path, random.choice(ELSEWHERE))
            return f"{name} leads elsewhere"
        act = random.choice(JSONS if name.endswith("json") else (*BYTES, other_tensors, other_tensors, other_tensors))
        path.write_bytes(act(path.read_bytes(), random))
        if resealed := random.random() < 0.5:
            reseal(folder, name)
        return f"{name} {act.__name__} {'resealed' if resealed else ''}"

    def read() -> None:
        read_all(run)
        if not resealed:  # then it must be what was saved
            for weights, state in states.items():
                found = read_weights(folder, weights)
                assert all(torch.equal(found[name], tensor) for name, tensor in state.items())

    spoil_and_read(count, "checkpoints", spoil, read)


@counts(50)
def test_runs_that_go_on_from_spoilt_checkpoints(tmp_path, sound_run, count):
    """Sound files of another training, and any JSON and tensors, in the trainer's place, with the right sha256."""
    sound, run = run_checkpoints(sound_run)[-1], tmp_path / "run"

    def spoil(random: Random) -> str:
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(sound_run, run)
        folder = run / "checkpoints" / sound.name
        what = random.choice(("trainer.json", "trainer.safetensors", "metrics.jsonl", "run.json"))
        path = folder / what if what.startswith("trainer") else run / what
        act = random.choice(JSONS if what.endswith("json") else BYTES if what.endswith("jsonl") else (other_tensors,))
        path.write_bytes(act(path.read_bytes(), random))
        if what.startswith("trainer"):
            reseal(folder, what)
        return f"{what} {act.__name__}"

    config = config_of(run, 3)
    shutil.copytree(sound_run, run)
    spoil_and_read(count, "runs gone on with", spoil, lambda: train(config, run))


@counts(200)
def test_spoilt_cards(tmp_path, sound_run, other_seed, count):
    """Fields, depth and bytes; the card of another shape, step or seed; names with `..`; what is no plain file."""
    sound, run = run_checkpoints(sound_run)[-1], tmp_path / "run"
    folder = run / "checkpoints" / sound.name
    shutil.copytree(sound_run, run)
    other = tmp_path / "other"
    assert command([*train_words(other, 1, 1), "--width", "12", "--layers", "2"]) == 0
    of_others = [run_checkpoints(other)[-1], run_checkpoints(sound_run)[0], run_checkpoints(other_seed)[-1]]

    def spoil(random: Random) -> str:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(sound, folder)
        path = folder / "card.json"
        if (way := random.random()) < 0.05:
            shutil.copyfile(random.choice(of_others) / "card.json", path)
            return "swapped"
        if way < 0.1:
            card = json.loads(path.read_bytes())
            card["sha256"]["../raw.safetensors"] = card["sha256"].pop("raw.safetensors")
            path.write_text(json.dumps(card | {"name": "../../up"}))
            return "names with .."
        if way < 0.15:
            lead_elsewhere(path, random.choice(ELSEWHERE))
            return "leads elsewhere"
        act = random.choice(JSONS)
        path.write_bytes(act(path.read_bytes(), random))
        return act.__name__

    spoil_and_read(count, "cards", spoil, lambda: (read_card(folder), read_all(folder)))
