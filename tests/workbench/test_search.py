"""The search as a whole on SQLite, with real fleets, and what it keeps of every trial."""

import json
import threading
import time

import numpy as np
import optuna
import pandas as pd
import pytest
import sqlalchemy as sa
import torch
from optuna.trial import TrialState

from models.hooked import hook
from models.set_complement.task import SetComplementTask
from models.set_complement.theory import needed_gap
from models.transformer import Transformer
from probes.certificate import certify
from probes.logit_displacement import displacement
from workbench.evaluation import evaluate
from workbench.fleet import Fleet
from workbench.search import _choose, search
from workbench.search_ledger import Ledger, completed_trials
from workbench.search_result import EMA_TO_BEMA, RAW_TO_BEMA, RAW_TO_NEED, measure, objective
from workbench.search_space import SearchSpace
from workbench.search_storage import optuna_warnings_answered, shown_url

SPACE = SearchSpace(vocab=8, steps=40, seed=2)
SEQUENCES = 32


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/search.db"


def opened(url: str, space: SearchSpace = SPACE) -> Ledger:
    return Ledger(url, space, {"sequences": SEQUENCES})


def with_norm(norm: str) -> int:
    return next(number for number in range(64) if SPACE.parameters(number)["norm"] == norm)


def states_of(number: int) -> dict:
    """Three sets of random weights in the shape of a trial."""
    config = SPACE.config(number)
    return {name: Transformer(config.model, seed=seed).state_dict() for seed, name in enumerate(("raw", "ema", "bema"))}


def test_a_search_completes_every_parameter_set_and_goes_on_with_more(url):
    assert search(SPACE, 3, opened(url), sequences=SEQUENCES) == 3
    assert search(SPACE, 5, opened(url), sequences=SEQUENCES, fleet_size=2) == 5
    trials = completed_trials(opened(url).study)
    assert [trial.user_attrs["number"] for trial in trials] == list(range(5))
    assert [trial.user_attrs["attempt"] for trial in trials] == [0] * 5
    assert [trial.params for trial in trials] == [SPACE.parameters(number) for number in range(5)]
    for number, trial in enumerate(trials):
        result = json.loads(trial.user_attrs["result"])
        assert trial.value == pytest.approx(objective(result, SPACE.config(number).train_length), abs=1e-12)


def test_a_trial_holds_what_its_configuration_trained_alone_would_give(url):
    search(SPACE, 2, opened(url), sequences=SEQUENCES)
    config = SPACE.config(1)
    alone = Fleet([config])
    alone.run()
    expected = measure({name: alone.state(0, name) for name in ("raw", "ema", "bema")}, config, SEQUENCES)
    kept = json.loads(completed_trials(opened(url).study)[1].user_attrs["result"])
    for name in ("raw", "ema", "bema"):
        np.testing.assert_allclose(
            kept["metrics"][name]["illegal_mass"], expected["metrics"][name]["illegal_mass"], rtol=1e-3, atol=1e-6
        )


def test_stopping_gives_back_what_was_not_completed(url):
    stop = threading.Event()
    stop.set()
    assert search(SPACE, 2, opened(url), sequences=SEQUENCES, stop=stop) == 0
    ledger = opened(url)
    assert len(ledger.study.trials) == 0

    class StopsOnceSomeAreTakenUp(threading.Event):
        def is_set(self) -> bool:
            return len(ledger.study.trials) > 0

    assert search(SPACE, 2, ledger, sequences=SEQUENCES, stop=StopsOnceSomeAreTakenUp()) == 0
    assert {trial.state for trial in ledger.study.trials} == {TrialState.FAIL}
    assert ledger.open_numbers(2) == [0, 1]
    assert search(SPACE, 2, ledger, sequences=SEQUENCES, minutes=0) == 0


def test_a_fleet_that_fails_gives_its_trials_back(url, monkeypatch):
    ledger = opened(url)
    monkeypatch.setattr("workbench.search.measure", lambda *arguments: (_ for _ in ()).throw(RuntimeError("no memory")))
    with pytest.raises(RuntimeError, match="no memory"):
        search(SPACE, 2, ledger, sequences=SEQUENCES)
    assert ledger.open_numbers(2) == [0, 1]


def test_a_member_that_diverges_is_completed_with_the_worst_value(url):
    hot = SearchSpaceOfHotTrials(vocab=8, steps=40, seed=2)
    ledger = opened(url, hot)
    assert search(hot, 2, ledger, sequences=SEQUENCES) == 2
    values = [(trial.value, json.loads(trial.user_attrs["result"])) for trial in completed_trials(ledger.study)]
    assert values[0][0] == 1
    assert values[0][1]["diverged"] >= 1
    assert values[1][0] < 1
    assert "diverged" not in values[1][1]


class SearchSpaceOfHotTrials(SearchSpace):
    """Trial 0 has a learning rate that nothing survives, all else as drawn."""

    def config(self, number):
        config = super().config(number)
        return config.model_copy(update={"learning_rate": 1e30}) if number == 0 else config


def test_fleets_hold_one_key_and_as_many_members_as_there_are():
    keys = dict(enumerate("aabbbbbc"))
    for _ in range(20):
        assert _choose(range(8), keys, 4) == [2, 3, 4, 5]
        assert _choose([0, 1, 7], keys, 4) == [0, 1]
    assert {tuple(_choose([0, 1, 7], keys, 1)) for _ in range(100)} == {(0,), (7,)}
    assert _choose([], keys, 4) == []


def test_measured_metrics_are_those_of_evaluate_and_differences_are_paired():
    number = with_norm("none")
    states, config = states_of(number), SPACE.config(number)
    result = measure(states, config, SEQUENCES, seed=4)
    for name in ("raw", "ema"):
        frame = evaluate(hook(config.model, states[name]), SetComplementTask(8), None, SEQUENCES, 4)
        table = frame.pivot(index="length", columns="metric", values="value")
        for metric, values in result["metrics"][name].items():
            np.testing.assert_allclose(values, table[metric], rtol=1e-5, err_msg=metric)
    mass = {name: np.array(result["metrics"][name]["illegal_mass"]) for name in result["metrics"]}
    np.testing.assert_allclose(
        result["differences"]["ema - raw"]["illegal_mass"]["value"], mass["ema"] - mass["raw"], rtol=1e-3, atol=1e-5
    )
    low, high = (np.array(result["differences"]["ema - raw"]["illegal_mass"][end]) for end in ("low", "high"))
    assert (low <= mass["ema"] - mass["raw"] + 1e-5).all()
    assert (high >= mass["ema"] - mass["raw"] - 1e-5).all()
    expected = displacement(hook(config.model, states["ema"]), SEQUENCES, 4)
    context = expected[expected["measure"] == "context"].set_index("length")["value"]
    np.testing.assert_allclose(result["displacement"]["ema"]["context"][1:], context, rtol=1e-5)
    assert result["displacement"]["ema"]["context"][0] is None
    for name in states:
        certificate = certify(hook(config.model, states[name]))
        assert len(result["certified"][name]) == certificate.certified_lengths
    assert json.loads(json.dumps(result, allow_nan=False)) == result


@pytest.mark.parametrize("norm", ["none", "branch", "final"])
def test_scaled_controls_have_the_displacement_they_are_named_for(norm):
    number = with_norm(norm)
    config = SPACE.config(number)
    states = states_of(number)
    for name, push in (("raw", 0.5), ("ema", 0.7), ("bema", 0.9)):  # random weights displace nothing: these do
        states[name] = dict(states[name]) | {"blocks.0.attn.W_O": torch.zeros(1, config.model.head_width, config.model.width)}
        states[name]["embed.W_E"] = torch.eye(8, config.model.width)
        states[name]["unembed.W_U"] = -push * torch.eye(config.model.width, 8)
    result = measure(states, config, SEQUENCES)
    pushed = {name: result["displacement"][name] for name in ("raw", "bema")}
    assert result["scale"][RAW_TO_BEMA] == pytest.approx(0.9 / 0.5, rel=1e-4)
    assert result["scale"][RAW_TO_BEMA] == pytest.approx(pushed["bema"]["mean"] / pushed["raw"]["mean"], rel=1e-4)
    need = needed_gap(0.01, config.train_length, 8)
    at_train_length = pushed["raw"]["by_length"][config.train_length - 1]
    assert result["scale"][RAW_TO_NEED] == pytest.approx(need / at_train_length, rel=1e-4)
    assert result["scale"][EMA_TO_BEMA] == pytest.approx(0.9 / 0.7, rel=1e-4)
    metrics = pd.DataFrame({name: of["illegal_mass"] for name, of in result["metrics"].items()})
    for scaled, present in ((RAW_TO_BEMA, "raw"), (EMA_TO_BEMA, "ema")):
        np.testing.assert_allclose(metrics[scaled], metrics["bema"], rtol=1e-4)  # here scaling is all there is to bema
        assert (metrics[present] > metrics["bema"]).all()
        assert result["metrics"][scaled]["misordered"] == result["metrics"][present]["misordered"]
    assert ("certified" in result) == (norm == "none")


def test_lengths_of_weights_beyond_float64_are_not_counted_as_certified():
    config = SPACE.config(with_norm("none"))
    states = states_of(with_norm("none"))
    sound = measure(states, config, SEQUENCES)["certified"]
    states["bema"] = dict(states["bema"]) | {"unembed.b_U": torch.full((8,), 1e14)}
    result = measure(states, config, SEQUENCES)
    assert sound["bema"] is not None and result["certified"] == sound | {"bema": None}
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_claims_that_take_longer_than_silence_may_stay_with_their_worker(url, monkeypatch):
    mine, other = (Ledger(url, SPACE, {}, heartbeat_seconds=1, stale_seconds=2) for _ in range(2))
    claim = mine.claim
    monkeypatch.setattr(mine, "claim", lambda number: time.sleep(1) or claim(number))
    monkeypatch.setattr("workbench.search.fleet_key", lambda config, device: "one for all")
    left_over = []

    def look_round(configs, device):
        left_over.extend(other.open_numbers(6))
        raise RuntimeError("all taken up")

    monkeypatch.setattr("workbench.search.Fleet", look_round)
    with pytest.raises(RuntimeError, match="all taken up"):
        search(SPACE, 6, mine, sequences=SEQUENCES)
    assert left_over == []
    assert other.open_numbers(6) == list(range(6))


def test_claims_are_given_back_where_a_later_one_fails(url, monkeypatch):
    ledger = opened(url)
    claim = ledger.claim
    monkeypatch.setattr("workbench.search.fleet_key", lambda config, device: "one for all")
    monkeypatch.setattr(ledger, "claim", lambda number: claim(number) if number < 2 else [][number])
    with pytest.raises(IndexError):
        search(SPACE, 3, ledger, sequences=SEQUENCES)
    assert [trial.state for trial in ledger.study.trials] == [TrialState.FAIL] * 2


def test_a_claim_leaves_the_rows_that_asking_optuna_leaves_in_fewer_transactions(url):
    ledger = opened(url)
    commits = []
    sa.event.listen(ledger.storage.engine, "commit", commits.append)
    claim = ledger.claim(3)
    assert len(commits) < 8
    drawn, distributions = SPACE.parameters(3), SPACE.distributions()
    with optuna_warnings_answered():
        ledger.study.sampler = optuna.samplers.PartialFixedSampler(drawn, optuna.samplers.RandomSampler())
        asked = ledger.study.ask({name: distributions[name] for name in drawn})
    for name, value in claim.trial.user_attrs.items():
        asked.set_user_attr(name, value)
    ledger.storage.record_heartbeat(asked._trial_id)
    columns = {
        "trials": "study_id, state, datetime_complete",
        "trial_params": "param_name, param_value, distribution_json",
        "trial_user_attributes": "key, value_json",
        "trial_system_attributes": "key, value_json",
        "trial_heartbeats": "1",
    }
    with ledger.storage.engine.connect() as connection:
        for table, named in columns.items():
            ours, theirs = (
                connection.execute(sa.text(f"SELECT {named} FROM {table} WHERE trial_id = {trial._trial_id}")).all()
                for trial in (claim.trial, asked)
            )
            assert ours == theirs, table
            assert ours or table == "trial_system_attributes"


@pytest.mark.parametrize(
    "measured", [(float("nan"), {}), (float("inf"), {}), (0.5, {"mean": float("nan")}), (0.5, {"mean": 1j})]
)
def test_what_cannot_be_kept_is_told_as_such(url, measured, caplog):
    ledger = opened(url)
    claim = ledger.claim(0)
    with pytest.raises(ValueError, match="what was measured of parameter set 0 cannot be kept .* expected finite numbers"):
        ledger.complete(claim, *measured)
    assert not caplog.text and ledger.study.trials[0].state == TrialState.RUNNING
    assert ledger.complete(claim, 0.5, {})
    assert ledger.complete(claim, 0.5, {})  # again, as after an outage that hid the first answer
    assert ledger.completed(1) == 1 and not caplog.text


def test_a_refusal_of_a_trial_that_is_still_ours_is_no_loss(url, monkeypatch, caplog):
    ledger = opened(url)
    claim = ledger.claim(0)
    monkeypatch.setattr(ledger.study, "tell", lambda *told: (_ for _ in ()).throw(ValueError("two objectives")))
    with pytest.raises(ValueError, match="two objectives"):
        ledger.complete(claim, 0.5, {})
    assert not caplog.text


def test_a_sign_of_life_that_cannot_be_sent_is_told_and_the_next_is_tried(url, caplog):
    ledger = opened(url)
    claim, ledger.heartbeat_seconds = ledger.claim(0), 0.02

    def sql(statement):
        with ledger.storage.engine.begin() as connection:
            result = connection.exec_driver_sql(statement)
            return result.scalars().all() if result.returns_rows else None

    sql("UPDATE trial_heartbeats SET heartbeat = datetime(heartbeat, '-1 hour')")
    before = sql("SELECT heartbeat FROM trial_heartbeats")
    sql("ALTER TABLE trial_heartbeats RENAME TO elsewhere")
    with ledger.held([claim]):
        _wait_until(lambda: "no sign of life could be sent" in caplog.text)
        assert sql("SELECT heartbeat FROM elsewhere") == before
        sql("ALTER TABLE elsewhere RENAME TO trial_heartbeats")
        _wait_until(lambda: sql("SELECT heartbeat FROM trial_heartbeats") > before)
    assert "the next is tried soon" in caplog.text
    assert ledger.complete(claim, 0.5, {}) and ledger.completed(1) == 1


def _wait_until(happened):
    until = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql+psycopg://me:s3cret@host/search", "postgresql+psycopg://me:***@host/search"),
        (
            "postgresql+psycopg://h/db?user=me&password=s3cret&passfile=s3cret&sslpassword=s3cret&host=/tmp",
            "postgresql+psycopg://h/db?host=%2Ftmp&user=me",
        ),
        ("postgresql+psycopg://me:s3/cret@h/db", "postgresql+psycopg://me:***@h/db"),
        ("postgresql+psycopg://me:s3/cret@h:x/db", "postgresql+psycopg://…"),
        ("postgresql+psycopg://me:s3@cr/et@h", "postgresql+psycopg://…"),
        ("postgresql+psycopg://me:s3:cr@et@h/db", "postgresql+psycopg://…"),
        ("postgresql:me:s3cret@h", "'…'"),
        ("search.db", "'search.db'"),
        ("sqlite:///a/search.db", "sqlite:///a/search.db"),
    ],
)
def test_passwords_are_not_shown(url, shown):
    assert shown_url(url) == shown


def test_a_storage_that_cannot_be_made_is_named():
    with pytest.raises(ValueError, match="cannot open the storage sqlite:////nowhere/at/all.db"):
        Ledger("sqlite:////nowhere/at/all.db", SPACE, {})
