"""Training and search killed with SIGKILL, at any moment: what is visible is whole, and going on ends in the same bits."""

import contextlib
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from models.checkpoint import read_card, run_checkpoints
from workbench.cli import run as command
from workbench.search_ledger import Ledger, completed_trials
from workbench.search_space import SearchSpace

from ..workbench.saved_runs import save_run
from .forked import start
from .saved_whole import leftovers, require_equal_last, require_whole

TRAIN = "from workbench.cli import run\nrun(arguments)"
KILLED_AT_FSYNC = """
import os, signal
from workbench.cli import run
fsync = os.fsync
def kill_or_sync(descriptor):
    global call
    call -= 1
    if call == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    fsync(descriptor)
os.fsync = kill_or_sync
assert run(arguments) == 0
"""


def train_words(out: Path, steps: int, save_every: int) -> list[str]:
    shape = "--vocab 8 --width 16 --head-width 16 --batch 16 --dropout-attention 0.1 --log-every 5"
    return f"train set-complement {shape} --out {out} --steps {steps} --save-every {save_every}".split()


@pytest.mark.parametrize("kills", [5, pytest.param(30, marks=pytest.mark.slow)])
def test_a_run_killed_at_random_moments_ends_bit_identical(tmp_path, kills):
    """A checkpoint is written after every step, so of many kills some fall into a write; of a few, it is the disk's affair
    whether one does. The run is longer than it will get.
    """
    run, moments, during_a_write = tmp_path / "killed", random.Random(kills), 0
    for _ in range(kills):
        process = start(TRAIN, arguments=train_words(run, 100_000, 1))
        before = len(run_checkpoints(run))
        if moments.random() < 0.25:  # on the way to its first step
            time.sleep(moments.uniform(0.02, 1.0))
        else:
            while len(run_checkpoints(run)) == before and process.is_alive():
                time.sleep(0.005)
            time.sleep(moments.uniform(0, 0.3))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        require_whole(run, known=before)
        during_a_write += bool(leftovers(run))
    steps = [read_card(folder).step for folder in run_checkpoints(run)]
    assert during_a_write >= kills // 5 or kills < 10
    assert steps == list(range(1, len(steps) + 1))
    assert command(train_words(run, steps[-1] + 5, 1)) == 0
    assert leftovers(run) == []
    assert command(train_words(tmp_path / "undisturbed", steps[-1] + 5, 10_000)) == 0
    require_equal_last(run, tmp_path / "undisturbed")
    print(f"{kills} kills, {during_a_write} during a write, over {steps[-1]} steps")  # noqa: T201


def test_a_run_killed_at_every_sync_of_its_writes_ends_bit_identical(tmp_path):
    """One kill for every call of fsync: before the first file, between any two, before and after every rename."""
    command(train_words(tmp_path / "undisturbed", 3, 2))
    for call in range(1, 100):
        run = tmp_path / f"killed{call}"
        process = start(KILLED_AT_FSYNC, arguments=train_words(run, 3, 2), call=call)
        process.join()
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        require_whole(run)
        assert command(train_words(run, 3, 2)) == 0
        assert leftovers(run) == []
        require_equal_last(run, tmp_path / "undisturbed")
    # run.json: file, folder; two checkpoints: raw, ema, bema, trainer twice, card, their folder, the folder above
    assert call - 1 == 2 + 2 * 8
    print(f"{call - 1} kills")  # noqa: T201


def compare_words(run: Path, out: Path) -> list[str]:
    return ["compare", str(run), "--out", str(out), "--sequences", "4", "--format", "html"]


@pytest.mark.parametrize("every", [6, pytest.param(1, marks=pytest.mark.slow)])
def test_a_comparison_killed_in_a_write_leaves_nothing_temporary_once_it_is_started_again(tmp_path, every):
    """At every so many calls of fsync: in parts/, figures/ and beside the tables. All kills are in the same folder."""
    run, out = save_run(tmp_path, "run"), tmp_path / "out"
    assert command(compare_words(run, tmp_path / "undisturbed")) == 0
    left = set()
    for call in range(1, 1000, every):
        process = start(KILLED_AT_FSYNC, arguments=compare_words(run, out), call=call)
        process.join()
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        left |= {Path(name).parent.name for name in leftovers(out)}
    assert left == {"", "figures", "parts"}
    assert leftovers(out) == []
    written = {path.relative_to(out) for path in out.rglob("*")}
    assert written == {path.relative_to(tmp_path / "undisturbed") for path in (tmp_path / "undisturbed").rglob("*")}
    print(f"{call // every} kills")  # noqa: T201


SPACE = SearchSpace(vocab=12, steps=40, seed=5)
WORKBENCH = Path(sys.executable).with_name("workbench")


def search_words(url: str, trials: int) -> list[str]:
    shape = f"--vocab {SPACE.vocab} --steps {SPACE.steps} --seed {SPACE.seed} --sequences 8"
    # fleets of one: nobody says that torch's batched products round alike in batches of other sizes
    return f"search set-complement {shape} --fleet 1 --storage {url} --trials {trials}".split()


def trials_of(url: str, where: str) -> int:
    with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database:
        try:
            return database.execute(f"select count(*) from trials where {where}").fetchone()[0]
        except sqlite3.OperationalError:
            return 0  # there is no table yet


def results(url: str) -> list[tuple]:
    study = Ledger(url, SPACE, {"sequences": 8}).study
    return [(trial.user_attrs["number"], trial.value, trial.user_attrs["result"]) for trial in completed_trials(study)]


@pytest.mark.parametrize(
    ("kills", "ahead"), [(1, 5), pytest.param(30, 60, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])]
)
def test_a_search_killed_at_random_moments_ends_with_the_same_results(tmp_path, kills, ahead):
    """Each kill is of the installed command in a process of its own, on the way to its first trial or at some moment after.

    Every start is given more trials than the last, so that none is done before it is killed, however fast the machine is.
    """
    url, moments, during_a_trial = f"sqlite:///{tmp_path}/killed.db", random.Random(kills), 0
    for _ in range(kills):
        completed, taken = trials_of(url, "state = 'COMPLETE'"), trials_of(url, "true")
        process = subprocess.Popen([WORKBENCH, *search_words(url, completed + ahead)], stderr=subprocess.DEVNULL)
        if kills > 1 and moments.random() < 0.25:
            time.sleep(moments.uniform(0.5, 6))
        else:
            while trials_of(url, "true") < taken + 2 and process.poll() is None:
                time.sleep(0.01)
            time.sleep(moments.uniform(0, 1.5 if kills > 1 else 0.1))
        process.kill()
        assert process.wait() == -signal.SIGKILL
        during_a_trial += trials_of(url, "state = 'RUNNING'") > 0 and trials_of(url, "true") > taken
    completed, taken = trials_of(url, "state = 'COMPLETE'"), trials_of(url, "true")
    assert taken > completed >= kills // 2
    trials = completed + ahead
    if kills == 1:  # do not wait for a minute of silence
        with contextlib.closing(sqlite3.connect(tmp_path / "killed.db")) as database, database:
            database.execute("update trial_heartbeats set heartbeat = datetime(heartbeat, '-1 hour')")
    assert command(search_words(url, trials)) == 0
    undisturbed = f"sqlite:///{tmp_path}/undisturbed.db"
    assert command(search_words(undisturbed, trials)) == 0
    assert results(url) == results(undisturbed)
    assert [number for number, *_ in results(url)] == list(range(trials))  # each completed once
    found = f"{during_a_trial} during a trial, {completed} of {taken} trials taken up completed before the last start"
    print(f"{kills} kills, {found}, {trials} after")  # noqa: T201
