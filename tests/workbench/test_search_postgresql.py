"""Searches on both databases, SQLite and PostgreSQL: who gets what when workers race, fall silent and are killed."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from optuna.storages._rdb.models import TrialHeartbeatModel
from optuna.trial import TrialState

from workbench.search_ledger import HeldTrial, Ledger
from workbench.search_space import SearchSpace

SPACE = SearchSpace(vocab=8, steps=10, seed=5)
SETTINGS = {"sequences": 8}
TRIALS = 16
WORKER = f"""
import sys
from workbench.search import search
from workbench.search_ledger import Ledger
from workbench.search_space import SearchSpace
space = SearchSpace.model_validate_json('{SPACE.model_dump_json()}')
ledger = Ledger(sys.argv[1], space, {SETTINGS}, heartbeat_seconds=1, stale_seconds=4)
assert search(space, {TRIALS}, ledger, sequences=8, fleet_size=4) == {TRIALS}
"""


@dataclass(frozen=True)
class Server:
    """A PostgreSQL server that can go away and come back."""

    url: str
    start: Callable[[], None]
    stop: Callable[[], None]


@pytest.fixture(scope="module")
def server():
    with _postgresql_server() as server:
        yield server


@contextmanager
def _postgresql_server() -> Iterator[Server]:
    """A fresh server, from Debian's packages, that listens on a Unix socket alone; it ends with the test."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not programs:
        pytest.skip("no PostgreSQL server in /usr/lib/postgresql: make system")
    folder = Path(tempfile.mkdtemp(prefix="search-"))  # pytest's own folders are closed to the user postgres
    as_server = []
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        shutil.chown(folder, "postgres", "postgres")
        as_server = ["runuser", "-u", "postgres", "--"]

    def run(program: str, *words: str) -> None:
        subprocess.run(
            [*as_server, str(programs[-1] / program), *words], check=True, cwd=folder, stdout=subprocess.DEVNULL, timeout=120
        )

    data = str(folder / "data")
    try:
        run("initdb", "--pgdata", data, "--username", "workbench", "--auth", "trust", "--no-sync", "--encoding", "UTF8")
        options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off"

        def start() -> None:
            run("pg_ctl", "start", "--wait", "--pgdata", data, "--options", options, "--log", str(folder / "log"))

        def stop() -> None:
            run("pg_ctl", "stop", "--wait", "--mode", "immediate", "--pgdata", data)

        start()
        yield Server(f"postgresql+psycopg://workbench@/postgres?host={folder}", start, stop)
    finally:
        if (folder / "data" / "postmaster.pid").exists():
            stop()
        shutil.rmtree(folder)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    """A fresh database of either kind."""
    return f"sqlite:///{tmp_path}/search.db" if request.param == "sqlite" else request.getfixturevalue("postgresql")


@pytest.fixture
def postgresql(server):
    """A fresh database on the server."""
    name = f"search_{uuid.uuid4().hex}"
    with sa.create_engine(server.url, isolation_level="AUTOCOMMIT").connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    return server.url.replace("/postgres?", f"/{name}?")


def test_workers_that_race_for_the_same_numbers_share_them_out(url):
    """Three workers open the new search and go for the same numbers in the same moment."""
    together, claimed, numbers = threading.Barrier(3), [], range(4)

    def work():
        together.wait()
        ledger = Ledger(url, SPACE, SETTINGS)
        together.wait()
        claimed.extend(claim.number for number in numbers if (claim := ledger.claim(number)))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(claimed) == dict.fromkeys(numbers, 1)
    ledger = Ledger(url, SPACE, SETTINGS)
    assert ledger.open_numbers(6) == [4, 5]
    running = [trial for trial in ledger.study.trials if trial.state == TrialState.RUNNING]
    assert sorted(trial.user_attrs["number"] for trial in running) == list(numbers)
    assert all(trial.params == SPACE.parameters(trial.user_attrs["number"]) for trial in running)


def test_a_number_that_another_took_since_the_last_look_stays_with_it(url, monkeypatch):
    first, second = (Ledger(url, SPACE, SETTINGS) for _ in range(2))
    seen = second._last_attempts()
    held = first.claim(0)
    with monkeypatch.context() as before:
        before.setattr(second, "_last_attempts", lambda: seen)
        assert second.claim(0) is None
    assert Counter(trial.state for trial in second.study.trials) == {TrialState.RUNNING: 1, TrialState.FAIL: 1}
    assert first.complete(held, 0.5, {})
    assert second.open_numbers(1) == []


def test_a_worker_that_only_slept_cannot_complete_what_was_taken_from_it(url):
    sleeper, other = (Ledger(url, SPACE, SETTINGS, heartbeat_seconds=1) for _ in range(2))
    kept, lost = sleeper.claim(0), sleeper.claim(1)
    _silence(sleeper, (kept, lost))
    with sleeper.held([kept]):  # number 0 gives signs of life again, number 1 does not
        assert other.claim(1) is None  # silence alone opens nothing: somebody has to fail it first
        for _ in range(300):
            if _last_sign(sleeper, kept) > _last_sign(sleeper, lost):
                break
            time.sleep(0.1)
        assert other.open_numbers(2) == [1]
    retry = other.claim(1)
    assert sleeper.complete(lost, 0.5, {"by": "sleeper"}) is False
    assert other.complete(retry, 0.25, {"by": "other"}) is True
    sleeper.release([lost])
    assert other.completed(2) == 1
    rows = {(trial.user_attrs["number"], trial.user_attrs["attempt"]): trial for trial in other.study.trials}
    assert {key: trial.state for key, trial in rows.items()} == {
        (0, 0): TrialState.RUNNING,
        (1, 0): TrialState.FAIL,
        (1, 1): TrialState.COMPLETE,
    }
    assert rows[1, 0].params == rows[1, 1].params
    assert rows[1, 1].value == 0.25


def _silence(ledger: Ledger, claims: Sequence[HeldTrial]) -> None:
    """Makes the last sign of life of these claims an hour old."""
    with ledger.storage.engine.begin() as connection:
        for claim in claims:
            heartbeat = connection.scalars(_heartbeat_of(claim)).one()
            chosen = TrialHeartbeatModel.trial_id == claim.trial._trial_id
            connection.execute(sa.update(TrialHeartbeatModel).where(chosen).values(heartbeat=heartbeat - timedelta(hours=1)))


def _last_sign(ledger: Ledger, claim: HeldTrial) -> datetime:
    with ledger.storage.engine.begin() as connection:
        return connection.scalars(_heartbeat_of(claim)).one()


def _heartbeat_of(claim: HeldTrial) -> sa.Select[tuple[datetime]]:
    return sa.select(TrialHeartbeatModel.heartbeat).where(TrialHeartbeatModel.trial_id == claim.trial._trial_id)


def test_a_worker_killed_before_its_claim_was_entered_holds_up_nothing(url):
    ledger = Ledger(url, SPACE, SETTINGS)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Heartbeat of storage")
        orphan = ledger.study.ask()
    orphan.set_user_attr("number", 0)
    assert ledger.open_numbers(1) == [0]
    assert ledger.complete(ledger.claim(0), 0.5, {})
    assert ledger.open_numbers(1) == []


def test_a_search_of_other_settings_is_refused(url):
    Ledger(url, SPACE, SETTINGS)
    with pytest.raises(ValueError, match="steps 10, not 40; sequences 8, not 9"):
        Ledger(url, SPACE.model_copy(update={"steps": 40}), {"sequences": 9})


def test_two_workers_of_which_one_is_killed_complete_every_parameter_set_once(postgresql, tmp_path):
    errors = [(tmp_path / name).open("w+") for name in ("victim", "survivor")]
    victim, survivor = (subprocess.Popen([sys.executable, "-c", WORKER, postgresql], stderr=file) for file in errors)
    try:
        held = _kill_while_it_holds_trials(victim, Ledger(postgresql, SPACE, SETTINGS))
        assert survivor.wait(timeout=400) == 0, (tmp_path / "survivor").read_text()
    finally:
        for process, file in zip((victim, survivor), errors, strict=True):
            process.kill()
            process.wait()
            file.close()
    trials = Ledger(postgresql, SPACE, SETTINGS).study.trials
    by_state = {state: [trial for trial in trials if trial.state == state] for state in TrialState}
    assert sorted(trial.user_attrs["number"] for trial in by_state[TrialState.COMPLETE]) == list(range(TRIALS))
    assert {trial.params == SPACE.parameters(trial.user_attrs["number"]) for trial in by_state[TrialState.COMPLETE]} == {True}
    assert held <= {trial.user_attrs["number"] for trial in by_state[TrialState.FAIL]}
    retries = {trial.user_attrs["number"] for trial in by_state[TrialState.COMPLETE] if trial.user_attrs["attempt"]}
    assert held <= retries
    workers = Counter(trial.user_attrs["worker"] for trial in by_state[TrialState.COMPLETE])
    assert sorted(int(worker.split()[-1]) for worker in workers) == sorted([victim.pid, survivor.pid])  # both did some


def _kill_while_it_holds_trials(victim: subprocess.Popen, ledger: Ledger) -> set[int]:
    """Ends the victim once it has completed trials and holds others; returns the numbers it held."""

    def numbers(state: TrialState) -> set[int]:
        trials = ledger.study.get_trials(deepcopy=False, states=(state,))
        return {t.user_attrs["number"] for t in trials if t.user_attrs.get("worker", "").endswith(f" {victim.pid}")}

    while victim.poll() is None:
        time.sleep(0.2)
        if not numbers(TrialState.COMPLETE):
            continue
        victim.send_signal(signal.SIGSTOP)  # what it holds now it still holds when it is killed
        held = numbers(TrialState.RUNNING) - set(ledger.open_numbers(TRIALS))  # without those asked for but not entered yet
        if held:
            victim.kill()
            return held
        victim.send_signal(signal.SIGCONT)
    raise AssertionError("the victim ended without ever holding trials after completing some")


def test_a_worker_outlives_a_database_that_is_away_for_a_while(server, postgresql, tmp_path):
    ledger = Ledger(postgresql, SPACE, SETTINGS)
    with (tmp_path / "errors").open("w+") as errors:
        worker = subprocess.Popen([sys.executable, "-c", WORKER, postgresql], stderr=errors)
        try:
            while not ledger.completed(TRIALS):
                time.sleep(0.1)
            server.stop()
            time.sleep(2)
            assert worker.poll() is None, (tmp_path / "errors").read_text()
            server.start()
            assert worker.wait(timeout=400) == 0, (tmp_path / "errors").read_text()
        finally:
            worker.kill()
            worker.wait()
    done = Counter(trial.user_attrs["number"] for trial in ledger.study.trials if trial.state == TrialState.COMPLETE)
    assert done == dict.fromkeys(range(TRIALS), 1)


def test_a_database_that_stays_away_is_one_sentence(server, postgresql, monkeypatch):
    ledger = Ledger(postgresql, SPACE, SETTINGS)
    held = ledger.claim(0)
    monkeypatch.setattr("workbench.search_ledger.OUTAGE_SECONDS", 0.6)
    server.stop()
    try:
        with pytest.raises(RuntimeError, match="the database is away, or refuses .*; what is done is kept, and the same"):
            ledger.complete(held, 0.5, {})
        ledger.release([held])
    finally:
        server.start()
    assert ledger.completed(1) == 0


def test_a_database_that_refuses_is_not_waited_for_and_a_stop_ends_the_waiting(server, postgresql):
    ledger = Ledger(postgresql, SPACE, SETTINGS)
    with ledger.storage.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE workbench_attempts RENAME TO elsewhere")
    began = time.monotonic()
    with pytest.raises(RuntimeError, match="the database is away, or refuses .*workbench_attempts"):
        ledger.open_numbers(2)
    server.stop()
    try:
        ledger.stop.set()
        with pytest.raises(RuntimeError, match="the database is away, or refuses"):
            ledger.open_numbers(2)
    finally:
        server.start()
    assert time.monotonic() - began < 60
