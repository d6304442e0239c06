"""Folders that nobody may look into, or that miss a card. What is found elsewhere is in the tests of comparisons."""

import errno
import os
import tempfile
from pathlib import Path

import pytest

from models.checkpoint import CheckpointError, find_checkpoint
from workbench.evaluation import evaluate
from workbench.found_checkpoints import find_checkpoints

from .saved_runs import save_run


@pytest.mark.parametrize("name", ["", "locked"])
def test_a_folder_that_may_not_be_read_is_named(tmp_path, monkeypatch, name):
    """The user of the tests may read everything, so the refusal is the system's in words alone."""
    save_run(tmp_path, "run")
    (tmp_path / "locked").mkdir()
    look = Path.iterdir

    def refuse(folder):
        if folder == tmp_path / name:
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return look(folder)

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(CheckpointError, match=rf"looked for in '{tmp_path / name}' \(Permission denied\); make it readable"):
        find_checkpoints([tmp_path])


NOBODY = 65534
FINDERS = {
    "one checkpoint": find_checkpoint,
    "last steps": lambda run: find_checkpoints([run]),
    "all steps": lambda run: find_checkpoints([run], "all"),
    "a folder of runs": lambda run: find_checkpoints([run.parent]),
    "evaluate": lambda run: evaluate(run, sequences=2),
}


@pytest.fixture
def run_of_another():
    """A run in a folder that this user owns and, if that is root, may not read whatever its mode says."""
    with tempfile.TemporaryDirectory() as folder:
        run, root = save_run(Path(folder), "run", steps=(10,)), os.geteuid() == 0
        if root:
            for path in (Path(folder), *Path(folder).rglob("*")):
                os.chown(path, NOBODY, -1)
            os.seteuid(NOBODY)
        yield run
        if root:
            os.seteuid(0)
        for path in (run, run / "checkpoints", run / "checkpoints" / "step_00000010"):
            path.chmod(0o700)


@pytest.mark.parametrize("mode", [0o000, 0o400, 0o100])
@pytest.mark.parametrize("locked", [".", "checkpoints", "checkpoints/step_00000010"])
@pytest.mark.parametrize("find", FINDERS.values(), ids=FINDERS)
def test_a_run_that_may_not_be_read_is_not_said_to_be_absent(run_of_another, find, locked, mode):
    """To list `checkpoints` is needed, and to enter each folder."""
    if mode == 0o100 and locked != "checkpoints":
        find(run_of_another)
        return
    (run_of_another / locked).chmod(mode)
    with pytest.raises(CheckpointError, match=r"run.*'? \(Permission denied\); make it readable, or give another path"):
        find(run_of_another)


@pytest.mark.parametrize("step", [10, 20])
@pytest.mark.parametrize("find", FINDERS.values(), ids=FINDERS)
def test_a_step_without_its_card_is_not_passed_over(tmp_path, find, step):
    run = save_run(tmp_path, "run", steps=(10, 20))
    (run / "checkpoints" / f"step_{step:08d}" / "card.json").unlink()
    with pytest.raises(
        CheckpointError, match=f"step_{step:08d} is a checkpoint without card.json, .*; restore the card, or delete"
    ):
        find(run)


def test_folders_of_another_program_are_passed_over(tmp_path):
    run = save_run(tmp_path, "run", steps=(10,))
    (run / "checkpoints" / "step_100").mkdir()
    assert [found.card.step for found in find_checkpoints([run])] == [10]
