"""The search as a whole on SQLite, with real fleets, and what it keeps of every trial."""

import json
import threading
import time

import numpy as np
import pandas as pd
import pytest
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
from workbench.search_result import SCALED_TO_BEMA, SCALED_TO_NEED, measure, objective
from workbench.search_space import SearchSpace
from workbench.search_storage import shown_url

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

    class StopsInTheFleet(threading.Event):
        looks = 0

        def is_set(self) -> bool:
            self.looks += 1
            return self.looks > 1  # after the look before the fleet

    assert search(SPACE, 2, ledger, sequences=SEQUENCES, stop=StopsInTheFleet()) == 0
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
    assert result["scale"][SCALED_TO_BEMA] == pytest.approx(0.9 / 0.5, rel=1e-4)
    assert result["scale"][SCALED_TO_BEMA] == pytest.approx(pushed["bema"]["mean"] / pushed["raw"]["mean"], rel=1e-4)
    need = needed_gap(0.01, config.train_length, 8)
    at_train_length = pushed["raw"]["by_length"][config.train_length - 1]
    assert result["scale"][SCALED_TO_NEED] == pytest.approx(need / at_train_length, rel=1e-4)
    metrics = pd.DataFrame({name: result["metrics"][name]["illegal_mass"] for name in ("raw", "bema", SCALED_TO_BEMA)})
    np.testing.assert_allclose(metrics[SCALED_TO_BEMA], metrics["bema"], rtol=1e-4)  # here scaling is all there is to bema
    assert (metrics["raw"] > metrics["bema"]).all()
    assert result["metrics"][SCALED_TO_BEMA]["misordered"] == result["metrics"]["raw"]["misordered"]
    assert ("certified" in result) == (norm == "none")


def test_lengths_of_weights_beyond_float64_are_not_counted_as_certified():
    config = SPACE.config(with_norm("none"))
    states = states_of(with_norm("none"))
    sound = measure(states, config, SEQUENCES)["certified"]
    states["bema"] = dict(states["bema"]) | {"unembed.b_U": torch.full((8,), 1e14)}
    result = measure(states, config, SEQUENCES)
    assert sound["bema"] is not None and result["certified"] == sound | {"bema": None}
    assert json.loads(json.dumps(result, allow_nan=False)) == result


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


def test_passwords_are_not_shown():
    shown = shown_url("postgresql+psycopg://me:secret@host/search")
    assert "secret" not in shown
    assert "me" in shown
    with pytest.raises(ValueError, match="cannot open the storage"):
        Ledger("sqlite:////nowhere/at/all.db", SPACE, {})
