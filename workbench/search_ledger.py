"""Who trains which parameter set of a search: an Optuna study in a database that any number of workers share.

Every parameter set, known by its number, is completed exactly once, whatever is killed when. A worker that takes a number up
asks Optuna for a new trial and enters (number, attempt) -> trial in a table of our own, whose primary key lets one worker in
and no other; a number is open for the next attempt only once the trial of its last attempt has failed. Optuna's heartbeats,
which it sends only inside `optimize`, are sent from here; a trial whose worker fell silent is failed, and can then no longer
be completed, should its worker only have slept. Not for: training, which is `workbench/search.py`.
"""

import functools
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

import optuna
import sqlalchemy as sa
from optuna.trial import FrozenTrial, Trial, TrialState

from workbench.search_space import SearchSpace
from workbench.search_storage import (
    BETWEEN_TRIES_SECONDS,
    DATABASE_ERRORS,
    HEARTBEAT_SECONDS,
    STALE_SECONDS,
    is_full,
    one_sentence,
    open_storage,
    optuna_warnings_answered,
    patiently,
    reason,
)

logger = logging.getLogger(__name__)
Made = TypeVar("Made")
Arguments = ParamSpec("Arguments")

OUTAGE_SECONDS = 600.0
"""How long to try again while the database is away."""
NUMBER, ATTEMPT, WORKER, RESULT = "number", "attempt", "worker", "result"
"""User attributes of a trial: number of its parameter set, attempts before it, host and process, and what was measured."""
RANGES = "ranges"
SETTINGS = "search"
"""User attribute of the study: what all its trials have in common."""

_attempts = sa.Table(
    "workbench_attempts",
    sa.MetaData(),
    sa.Column("study", sa.String(200), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("attempt", sa.Integer, primary_key=True),
    sa.Column("trial", sa.Integer, nullable=False, doc="number of the Optuna trial"),
)


def _through_outages(act: Callable[Arguments, Made]) -> Callable[Arguments, Made]:
    """Tries again while the database is away, until `stop` is set; RuntimeError where it stays away, or refuses."""

    @functools.wraps(act)
    def patient(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Made:
        until, told = time.monotonic() + OUTAGE_SECONDS, False
        ledger = args[0]
        assert isinstance(ledger, Ledger)
        while True:
            try:
                return act(*args, **kwargs)
            except DATABASE_ERRORS as error:
                if not _is_away(error) or time.monotonic() > until or ledger.stop.wait(BETWEEN_TRIES_SECONDS):
                    once = "there is free space" if is_full(error) else "it answers"
                    raise RuntimeError(
                        f"the database is away, or refuses ({reason(error)}); what is done is kept, and the same command goes "
                        f"on once {once}"
                    ) from error
                if not told:
                    logger.warning("the database does not answer (%s); trying again for %.0f s", reason(error), OUTAGE_SECONDS)
                told = True

    return patient


def _is_away(error: Exception) -> bool:
    """Whether there is no connection, or another's lock: what passes by itself."""
    cause = error if isinstance(error, sa.exc.DBAPIError) else error.__cause__
    if not isinstance(cause, sa.exc.OperationalError | sa.exc.InterfaceError) or is_full(error):
        return False
    return cause.connection_invalidated or cause.statement is None or "locked" in str(cause)


@dataclass(frozen=True)
class HeldTrial:
    """One parameter set that this worker holds."""

    number: int
    trial: Trial


class Ledger:
    """One search in its database."""

    def __init__(
        self,
        url: str,
        space: SearchSpace,
        settings: dict[str, Any],
        heartbeat_seconds: int = HEARTBEAT_SECONDS,
        stale_seconds: int = STALE_SECONDS,
    ):
        """Opens the search of a space, or starts it.

        Args:
            url: as SQLAlchemy takes it: `sqlite:///search.db`, `postgresql+psycopg://user:password@host/database`.
            space: what is searched.
            settings: what else all workers must agree on; JSON data.
            heartbeat_seconds: between signs of life.
            stale_seconds: silence after which a worker's trials are taken from it.

        Raises:
            ValueError: the database holds a search of this vocabulary with other settings, or cannot be used.
        """
        self.space = space
        self.heartbeat_seconds = heartbeat_seconds
        self.stop = threading.Event()
        """ends the waiting for a database that is away"""
        self.storage = open_storage(url, heartbeat_seconds, stale_seconds)
        agreed = {**space.model_dump(), **settings, RANGES: space.fingerprint}
        with one_sentence(url):
            self.study = patiently(
                lambda: optuna.create_study(storage=self.storage, study_name=study_name(space), load_if_exists=True)
            )
            patiently(lambda: _attempts.create(self.storage.engine, checkfirst=True))
            if SETTINGS not in self.study.user_attrs:
                self.study.set_user_attr(SETTINGS, agreed)
            found = self.study.user_attrs[SETTINGS]
        _require_equal(found, agreed)

    @_through_outages
    def open_numbers(self, trials: int) -> list[int]:
        """Those of 0 .. trials - 1 that nobody has completed and nobody alive is at, after failing the trials of the dead."""
        with optuna_warnings_answered():
            optuna.storages.fail_stale_trials(self.study)
        last = self._last_attempts()
        return [number for number in range(trials) if number not in last or last[number][1] == TrialState.FAIL]

    @_through_outages
    def completed(self, trials: int) -> int:
        """How many of 0 .. trials - 1 are done."""
        last = self._last_attempts()
        return sum(last[number][1] == TrialState.COMPLETE for number in range(trials) if number in last)

    @_through_outages
    def claim(self, number: int) -> HeldTrial | None:
        """Takes an open number up as a new trial; None where another worker was first."""
        last = self._last_attempts()
        if number in last and last[number][1] != TrialState.FAIL:
            return None
        attempt = last[number][0] + 1 if number in last else 0
        trial_id = self.storage.create_new_trial(self.study._study_id, self._taken_up(number, attempt))
        self.storage.record_heartbeat(trial_id)
        trial = Trial(self.study, trial_id)
        row = {"study": self.study.study_name, "number": number, "attempt": attempt, "trial": trial.number}
        try:
            with self.storage.engine.begin() as connection:
                connection.execute(_attempts.insert().values(row))
        except sa.exc.IntegrityError:
            self.study.tell(trial, state=TrialState.FAIL)
            return None
        return HeldTrial(number, trial)

    def _taken_up(self, number: int, attempt: int) -> FrozenTrial:
        """What the database is to hold of an attempt, so that it is entered in one transaction: twenty take their time."""
        parameters, distributions = self.space.parameters(number), self.space.distributions()
        return optuna.trial.create_trial(
            state=TrialState.RUNNING,
            params=parameters,
            distributions={name: distributions[name] for name in parameters},
            user_attrs={NUMBER: number, ATTEMPT: attempt, WORKER: f"{socket.gethostname()} {os.getpid()}"},
        )

    @_through_outages
    def complete(self, claim: HeldTrial, value: float, result: dict[str, Any]) -> bool:
        """Enters a result; False where the claim was lost meanwhile, so that another worker's result counts.

        Raises ValueError, and enters nothing, for a value or a result that is no JSON or not finite.
        """
        written = _as_json(claim, value, result)
        try:
            claim.trial.set_user_attr(RESULT, written)
            self.study.tell(claim.trial, value)
        except (optuna.exceptions.UpdateFinishedTrialError, ValueError):
            state = self.storage.get_trial(claim.trial._trial_id).state
            if state == TrialState.RUNNING:
                raise
            if state == TrialState.COMPLETE:  # by us, before an outage hid it: nobody else can
                return True
            logger.warning(
                "parameter set %d was taken from this worker, which had been silent for too long; its result is dropped",
                claim.number,
            )
            return False
        return True

    def release(self, claims: Collection[HeldTrial]) -> None:
        """Gives claims back at once, for whoever comes next."""
        for claim in claims:
            try:
                self.study.tell(claim.trial, state=TrialState.FAIL)
            except (optuna.exceptions.UpdateFinishedTrialError, ValueError):
                continue  # it was taken from us already
            except DATABASE_ERRORS as error:
                logger.warning(
                    "parameter set %d could not be given back (%s); it is open after a while", claim.number, reason(error)
                )

    @contextmanager
    def held(self, claims: Sequence[HeldTrial]) -> Iterator[None]:
        """While this is open, a thread says every few seconds that the claims' worker lives; the list of claims may grow."""
        ended = threading.Event()

        def beat() -> None:
            while not ended.wait(self.heartbeat_seconds):
                for claim in tuple(claims):
                    try:
                        self.storage.record_heartbeat(claim.trial._trial_id)
                    except DATABASE_ERRORS as error:
                        logger.warning("no sign of life could be sent (%s); the next is tried soon", reason(error))

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _last_attempts(self) -> dict[int, tuple[int, TrialState]]:
        """Of every number that was ever taken up: how many attempts came before the last, and the state of the last."""
        states = {trial.number: trial.state for trial in self.study.get_trials(deepcopy=False)}
        query = sa.select(_attempts.c.number, _attempts.c.attempt, _attempts.c.trial)
        with self.storage.engine.connect() as connection:
            rows = connection.execute(query.where(_attempts.c.study == self.study.study_name)).all()
        last: dict[int, tuple[int, TrialState]] = {}
        for number, attempt, trial in sorted(tuple(row) for row in rows):
            # a trial that is newer than the list of states was just made, so somebody is at it
            last[number] = attempt, states.get(trial, TrialState.RUNNING)
        return last


def _as_json(claim: HeldTrial, value: float, result: dict[str, Any]) -> str:
    try:
        json.dumps(value, allow_nan=False)
        return json.dumps(result, allow_nan=False)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"what was measured of parameter set {claim.number} cannot be kept ({error}), expected finite numbers; please "
            "report it with the command"
        ) from error


def completed_trials(study: optuna.Study) -> list[FrozenTrial]:
    """The completed trials of a search, by number of parameter set."""
    return sorted(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)), key=lambda trial: trial.user_attrs[NUMBER])


def study_name(space: SearchSpace) -> str:
    """The name of a search in its database, such as `set-complement-v16`."""
    return f"set-complement-v{space.vocab}"


def _require_equal(found: dict[str, Any], expected: dict[str, Any]) -> None:
    changed = [f"{key} {found.get(key)}, not {value}" for key, value in expected.items() if found.get(key) != value]
    if len(changed) > 1:  # the fingerprint of the ranges tells nobody anything, unless nothing else does
        changed = [change for change in changed if not change.startswith(f"{RANGES} ")]
    if changed:
        raise ValueError(
            f"the storage holds a search of {found.get('vocab')} tokens with {'; '.join(changed)}; give the same options to go "
            "on with it, or another storage"
        )
