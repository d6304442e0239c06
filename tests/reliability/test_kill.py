"""Training and search killed with SIGKILL, at any moment: what is visible is whole, and going on ends in the same bits."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from models.checkpoint import read_card, run_checkpoints
from workbench.cli import run as command
from workbench.search import search
from workbench.search_ledger import Ledger, completed_trials
from workbench.search_space import SearchSpace

from .forked import start
from .saved_whole import leftovers, require_equal_last, require_whole

TRAIN = "from workbench.cli import run\nrun(arguments)"
TRAIN_KILLED_AT_FSYNC = """
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
        process = start(TRAIN_KILLED_AT_FSYNC, arguments=train_words(run, 3, 2), call=call)
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


SPACE = SearchSpace(vocab=8, steps=40, seed=5)
KILLED_SEARCHES = """
import os, signal, sqlite3, sys, time
import torch
from workbench.search import search
from workbench.search_ledger import Ledger
from workbench.search_space import SearchSpace
torch.set_num_threads(1)
url, space, ahead, *moments = sys.argv[1:]
space = SearchSpace.model_validate_json(space)
def completed():
    with sqlite3.connect(url.removeprefix("sqlite:///")) as database:
        try:
            return database.execute("select count(*) from trials where state = 'COMPLETE'").fetchone()[0]
        except sqlite3.OperationalError:
            return 0  # there is no table yet

for moment in map(float, moments):
    before, worker = completed(), os.fork()
    if not worker:
        ledger = Ledger(url, space, {"sequences": 8}, heartbeat_seconds=1, stale_seconds=2)
        search(space, before + int(ahead), ledger, sequences=8, fleet_size=1)
        os._exit(0)
    if moment > 0.5:  # else on the way to its first trial
        while completed() == before and not os.waitpid(worker, os.WNOHANG)[0]:
            time.sleep(0.01)
    time.sleep(moment)
    os.kill(worker, signal.SIGKILL)
    assert os.WIFSIGNALED(os.waitpid(worker, 0)[1]), "it was done before it could be killed"
"""


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_search_killed_at_random_moments_ends_with_the_same_results(tmp_path):
    """Every worker is given more trials than the last, so that none is done before it is killed, however fast the machine is.
    Fleets of one, since a fleet's rounding depends on who trains together. A quick one, of two workers of which one is killed,
    is in tests/workbench/test_search_postgresql.py.
    """
    kills, ahead, moments = 30, 60, random.Random(30)
    url = f"sqlite:///{tmp_path}/killed.db"
    delays = [f"{moments.uniform(0.1, 1.5):.3f}" for _ in range(kills)]
    command_line = [sys.executable, "-c", KILLED_SEARCHES, url, SPACE.model_dump_json(), str(ahead), *delays]
    subprocess.run(command_line, check=True)
    time.sleep(2)  # so that whoever was killed last counts as silent
    ledger = Ledger(url, SPACE, {"sequences": 8}, heartbeat_seconds=1, stale_seconds=2)
    taken = len(completed_trials(ledger.study)), len(ledger.study.trials)
    trials = taken[0] + ahead
    assert search(SPACE, trials, ledger, sequences=8, fleet_size=1) == trials
    undisturbed = Ledger(f"sqlite:///{tmp_path}/undisturbed.db", SPACE, {"sequences": 8})
    search(SPACE, trials, undisturbed, sequences=8, fleet_size=1)

    def results(one: Ledger) -> list[tuple]:
        return [(trial.user_attrs["number"], trial.value, trial.user_attrs["result"]) for trial in completed_trials(one.study)]

    assert kills / 2 < taken[0] < taken[1]
    assert results(ledger) == results(undisturbed)
    assert [number for number, *_ in results(ledger)] == list(range(trials))  # each completed once
    print(f"{kills} kills, {taken[0]} of {taken[1]} trials taken up completed before the last start, {trials} after")  # noqa: T201
