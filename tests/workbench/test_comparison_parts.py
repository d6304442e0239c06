"""Which kept parts of an interrupted comparison are used again: none that differ in anything their numbers depend on."""

import json
import shutil

import pandas as pd
import pytest
import torch

from models import checkpoint
from models.checkpoint import read_card, read_weights, run_checkpoints, save_checkpoint
from models.config import DropoutRates
from workbench import comparison, evaluation, kept_parts
from workbench.comparison import compare

from .saved_runs import save_run


def test_a_part_of_a_card_that_was_changed_since_is_made_again(tmp_path):
    save_run(tmp_path, "run", seed=3, steps=(10,))
    compare([tmp_path / "run"], sequences=4, keep=tmp_path / "kept")
    (file,) = (tmp_path / "run").rglob(checkpoint.CARD_FILE)
    file.write_text(json.dumps(json.loads(file.read_text()) | {"seed": 7}))
    assert set(compare([tmp_path / "run"], sequences=4, keep=tmp_path / "kept")["seed"]) == {7}


def _other_weights(folder, monkeypatch):
    for step in run_checkpoints(folder):
        card = read_card(step)
        doubled = {name: {key: 2 * value for key, value in read_weights(step, name).items()} for name in card.weights}
        shutil.rmtree(step)
        save_checkpoint(step, card, doubled)


def _other_reference(folder, monkeypatch):
    _other_weights(folder.with_name("none-0"), monkeypatch)


def _no_reference(folder, monkeypatch):
    shutil.rmtree(folder.with_name("none-0"))


def _other_name(folder, monkeypatch):
    """Where two have the same name, both are named by their folders, too."""
    shutil.copytree(folder.with_name("none-0"), folder.with_name("copy"))


def _other_workbench(folder, monkeypatch):
    monkeypatch.setattr(kept_parts, "version", lambda package: f"{package} of tomorrow")


def _other_torch(folder, monkeypatch):
    monkeypatch.setattr(torch, "__version__", "of tomorrow")


def _other_device(folder, monkeypatch):
    """A GPU that computes on the CPU, since there may be no other."""
    measure = comparison._compare_bag
    monkeypatch.setattr(comparison, "usable_device", lambda device: torch.device("cuda"))
    monkeypatch.setattr(comparison, "_compare_bag", lambda *of: measure(*of[:4], torch.device("cpu"), *of[5:]))


@pytest.mark.parametrize(
    "change",
    [
        {"lengths": [1, 2, 3, 4, 5, 6]},
        {"weights": ["raw", "ema"]},
        {"sequences": 61},
        {"seed": 1},
        {"batch": 16},
        {"steps": "all"},
        *(_other_weights, _other_reference, _no_reference, _other_name, _other_workbench, _other_torch, _other_device),
    ],
    ids=lambda change: next(iter(change)) if isinstance(change, dict) else change.__name__.strip("_"),
)
def test_no_part_is_used_that_differs_in_anything_its_numbers_depend_on(tmp_path, monkeypatch, change):
    for name, dropout in (("none-0", None), ("attention-0", DropoutRates(attention=0.1))):
        save_run(tmp_path / "runs", name, dropout=dropout, steps=(10, 100))
    monkeypatch.setattr(comparison, "MODELS_AT_ONCE", 1)  # a part for each row
    asked = {"paths": [tmp_path / "runs"], "lengths": [1, 2, 3], "sequences": 60, "weights": ["raw", "bema"]}
    compare(**asked, keep=tmp_path / "parts")
    kept = set((tmp_path / "parts").iterdir())
    if isinstance(change, dict):
        asked |= change
    else:
        change(tmp_path / "runs" / "attention-0", monkeypatch)
    pd.testing.assert_frame_equal(compare(**asked, keep=tmp_path / "parts"), compare(**asked), check_exact=True)
    assert len(kept) == 4 and set((tmp_path / "parts").iterdir()) > kept


def test_the_number_of_threads_which_parts_do_not_tell_changes_no_more_than_rounding(monkeypatch):
    monkeypatch.setattr(evaluation, "SMALL_MODEL", 0)  # one thread would do for it
    frames, before = [], torch.get_num_threads()
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        frames.append(compare(["othello-mini-none"], sequences=32, weights=["raw"]))
    torch.set_num_threads(before)
    for frame in frames[1:]:
        pd.testing.assert_frame_equal(frame, frames[0], rtol=1e-5, atol=1e-7)  # no bit of it, on the machines that were tried
