"""What cannot be bundled is told in one sentence, and a bundle is there whole or not at all. What is in one: `test_cli.py`."""

import os
import signal

import pytest

from models.checkpoint import CheckpointError, find_checkpoint, run_checkpoints
from workbench.bundling import bundle
from workbench.cli import run as command
from workbench.folder_lock import LOCK_FILE
from workbench.run import MAX_RECORD_BYTES, RunError

from ..reliability.forked import start
from ..reliability.test_kill import KILLED_AT_FSYNC
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


def test_a_run_with_a_damaged_checkpoint_leaves_no_half_bundle(tmp_path):
    run = save_run(tmp_path, "run", steps=(10, 20))
    (run / "run.json").write_text("{}")
    (run_checkpoints(run)[1] / "ema.safetensors").write_bytes(b"damaged")
    (tmp_path / "mine").mkdir()
    for name in ("small", "mine"):
        with pytest.raises(CheckpointError, match=r"ema.safetensors has sha256 .*restore it or train again"):
            bundle(run, tmp_path / name)
    assert not (tmp_path / "small").exists() and list((tmp_path / "mine").iterdir()) == []


def test_an_empty_folder_stays_the_one_it_was(tmp_path, monkeypatch):
    """It may be shared, a disk of its own, or where the user is: another in its place would be none of these."""
    run, mine = save_run(tmp_path, "run"), tmp_path / "mine"
    (run / "run.json").write_text("{}")
    mine.mkdir(mode=0o710)
    before = mine.stat()
    monkeypatch.chdir(mine)
    bundle(run, ".")
    assert (mine.stat().st_ino, mine.stat().st_mode) == (before.st_ino, before.st_mode)
    assert sorted(path.name for path in mine.iterdir()) == ["checkpoints", "run.json"]


def contents(folder) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_a_bundle_killed_in_a_write_is_not_seen_and_the_same_command_makes_it(tmp_path, every):
    """At every so many calls of fsync; half the time into a folder that is there, and empty."""
    run, seen = save_run(tmp_path, "run", steps=(10, 20), weights=("raw",)), []
    (run / "run.json").write_text("{}")
    undisturbed = contents(bundle(run, tmp_path / "undisturbed"))
    for call in range(1, 100, every):
        out = tmp_path / f"killed{call}"
        words = ["bundle", str(run), "--out", str(out)]
        if call % 2 == 0:
            out.mkdir()
        process = start(KILLED_AT_FSYNC, arguments=words, call=call)
        process.join()
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        if run_checkpoints(out):
            seen.append(call)
            (out / LOCK_FILE).unlink()
        else:
            with pytest.raises(CheckpointError, match="no checkpoint at"):
                find_checkpoint(out)
            assert command(words) == 0
        assert contents(out) == undisturbed
    # two checkpoints: raw, card, their folder, the folder above; run.json: file, folder; checkpoints/, and the folder above
    kills = range(1, 2 * 4 + 2 + 2 + 1, every)
    assert call == kills[-1] + every and seen == [call for call in kills if call == 12]  # at the last of all it has its name
    print(f"{len(kills)} kills")  # noqa: T201
