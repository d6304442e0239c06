"""What cannot be bundled is told in one sentence, before anything is written. What can is in `test_cli.py`."""

import os

import pytest

from workbench.bundling import bundle
from workbench.run import MAX_RECORD_BYTES, RunError

from .saved_runs import save_run


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda path: None, "No such file or directory"),
        (os.mkfifo, "it is no plain file"),
        (lambda path: path.write_bytes(b" " * (MAX_RECORD_BYTES + 1)), "1048577 bytes, expected at most 1048576"),
    ],
    ids=["absent", "pipe", "too long"],
)
def test_a_run_without_a_sound_record_is_named(tmp_path, spoil, problem):
    run = save_run(tmp_path, "run")
    (run / "run.json").unlink(missing_ok=True)
    spoil(run / "run.json")
    with pytest.raises(RunError, match=f"cannot read .*run.json: .*{problem}; give a run made by workbench train"):
        bundle(run, tmp_path / "small")
    assert not (tmp_path / "small").exists()


def test_a_folder_that_is_no_run_is_named(tmp_path):
    with pytest.raises(RunError, match=f"^{tmp_path} has no checkpoints; give a run made by workbench train"):
        bundle(tmp_path, tmp_path / "small")


def test_steps_that_a_run_has_not_are_named(tmp_path):
    with pytest.raises(RunError, match=r"has checkpoints of steps \['100'\], not of \[7\]; ask for those it has"):
        bundle(save_run(tmp_path, "run"), tmp_path / "small", steps=[7, 100])


@pytest.mark.parametrize("name", ["run.json", "thesis.txt", "checkpoints"])
def test_nothing_is_bundled_into_a_folder_that_holds_something(tmp_path, name):
    run, out = save_run(tmp_path, "run"), tmp_path / "mine"
    (run / "run.json").write_text("{}")
    out.mkdir()
    assert bundle(run, out) == out  # an empty folder may be there
    other = tmp_path / "other"
    other.mkdir()
    (other / name).write_text("precious")
    with pytest.raises(FileExistsError, match="other exists already and is no empty folder; choose another folder"):
        bundle(run, other)
    assert [path.read_text() for path in other.iterdir()] == ["precious"]
