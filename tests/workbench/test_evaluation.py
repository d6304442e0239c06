"""Evaluation against closed forms, against one pass a length, and at its edges."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from models.config import TaskConfig
from models.hooked import load
from models.importers import import_checkpoint
from models.othello.task import OthelloTask
from models.set_complement.task import SetComplementTask
from models.streams import Draw
from models.tasks import make_task
from probes.subject import subject
from workbench.comparison_table import COLUMNS
from workbench.evaluation import as_json, evaluate
from workbench.metrics import METRICS, position_metrics

from .saved_runs import gap_model, save_run

VOCAB = 9


def table_of(frame: pd.DataFrame, column: str = "value") -> pd.DataFrame:
    return frame.pivot(index="length", columns="metric", values=column)


@pytest.mark.parametrize(("gamma", "bias"), [(4.0, 0.0), (30.0, 0.0), (2.0, 1.5), (4.0, -0.5)])
def test_closed_form_of_a_hand_set_model(gamma, bias):
    task = SetComplementTask(VOCAB)
    table = table_of(evaluate(gap_model(VOCAB, gamma, bias), task, sequences=50, batch=16))
    for s in range(1, VOCAB):
        # the query is displaced by gamma / s + bias, the s - 1 tokens before it by gamma / s
        weight = (s - 1) * math.exp(-gamma / s) + math.exp(-gamma / s - bias)
        mass = weight / (weight + VOCAB - s)
        assert table.loc[s, "illegal_mass"] == pytest.approx(mass, rel=1e-9)
        assert table.loc[s, "total_variation"] == pytest.approx(mass, rel=1e-9)
        assert table.loc[s, "uniformity_kl"] == pytest.approx(0, abs=1e-9)
        gap = gamma / s + min(bias, 0) if s > 1 else gamma + bias
        assert table.loc[s, "margin"] == pytest.approx(gap, rel=1e-9)
        assert table.loc[s, "misordered"] == (gap <= 0)
        assert table.loc[s, "dispersion"] == pytest.approx(math.log(s), abs=1e-9)
        assert table.loc[s, "normalised_dispersion"] == pytest.approx(float(s > 1))
        assert table.loc[s, "effective_tokens"] == pytest.approx(s)


def test_gap_is_the_issue_formula():
    table = table_of(evaluate(gap_model(16, 24.0), SetComplementTask(16), sequences=10))
    for s in range(1, 16):
        delta = 24.0 / s
        assert table.loc[s, "illegal_mass"] == pytest.approx(s * math.exp(-delta) / (s * math.exp(-delta) + 16 - s))


def test_one_causal_pass_is_a_pass_a_length(tmp_path):
    model = load(save_run(tmp_path, "run", layers=2))
    task = make_task(model.card.task)
    table = table_of(evaluate(model, sequences=40))
    tokens = task.sequences(Draw.EVALUATION.stream(0), 0, 40)
    for s in range(1, 8):
        logits = model(tokens[:, :s])[:, -1:].detach()
        expected = position_metrics(logits, task.legal(tokens[:, :s])[:, -1:])
        for name, value in expected.items():
            assert table.loc[s, name] == pytest.approx(value.mean().item(), rel=1e-5), (name, s)


def test_batch_size_and_choice_of_lengths_change_nothing(tmp_path):
    run = save_run(tmp_path, "run")
    whole = evaluate(run, sequences=30)
    numbers = ["value", "ci_low", "ci_high"]
    for batch in (1, 7, 100):
        np.testing.assert_allclose(evaluate(run, sequences=30, batch=batch)[numbers], whole[numbers], rtol=1e-4, atol=1e-6)
    some = evaluate(run, sequences=30, lengths=[6, 2, 2])
    expected = whole[whole["length"].isin([2, 6])].reset_index(drop=True)
    pd.testing.assert_frame_equal(some, expected, rtol=1e-4)


def test_same_arguments_same_frame_and_seeds_differ(tmp_path):
    run = save_run(tmp_path, "run")
    pd.testing.assert_frame_equal(evaluate(run, sequences=30), evaluate(run, sequences=30), check_exact=True)
    assert not evaluate(run, sequences=30, seed=1)["value"].equals(evaluate(run, sequences=30)["value"])


def test_evaluation_never_sees_a_training_stream():
    task = SetComplementTask(12)
    assert not torch.equal(task.sequences(Draw.EVALUATION.stream(0), 0, 5), task.sequences(0, 0, 5))


def test_columns_and_labels(tmp_path):
    frame = evaluate(save_run(tmp_path, "run", seed=None, train_length=3), sequences=5, weights="ema")
    assert tuple(frame.columns) == COLUMNS
    row = frame.iloc[0]
    assert (row["checkpoint"], row["task"], row["vocab"], row["weights"]) == ("run", "set-complement", 8, "ema")
    assert (row["train_length"], row["step"], row["dropout"]) == (3, 100, "none")
    assert row["seed"] is pd.NA
    assert row["averaging"] == "constant 0.999, eta 0.2"
    assert row["shape"] == "1 layer, 1 head, width 12, attention-only, positions none, norm none"
    assert len(frame) == 7 * len(METRICS)
    assert (frame["ci_low"] <= frame["value"] + 1e-12).all() and (frame["value"] <= frame["ci_high"] + 1e-12).all()


def test_othello_leaves_out_ended_games(tmp_path):
    run = save_run(tmp_path, "mini", vocab=61, train_length=30)
    frame = evaluate(run, sequences=200)
    task = OthelloTask()
    tokens = task.sequences(Draw.EVALUATION.stream(0), 0, 200)[:, :59]
    going_on = task.legal(tokens).any(dim=-1).sum(dim=0)
    counts = frame[frame["metric"] == "illegal_mass"].set_index("length")["sequences"]
    assert counts.tolist() == going_on.tolist()
    assert counts[1] == 200 and counts[59] < 200
    assert frame["value"].notna().all()


@pytest.mark.parametrize(("games", "slack"), [(200, 0.35), pytest.param(2000, 0.0, marks=pytest.mark.slow)])
def test_the_real_othello_gpt(othello_gpt_file, tmp_path, games, slack):
    import_checkpoint(str(othello_gpt_file), tmp_path / "othello-gpt")
    frame = evaluate(tmp_path / "othello-gpt", sequences=games)
    overall = frame.groupby("metric")[["value", "sequences"]].apply(
        lambda rows: np.average(rows["value"], weights=rows["sequences"])
    )
    assert 0.0012 * (1 - slack) < overall["illegal_top1"] < 0.0025 * (1 + slack)
    assert 0.012 * (1 - slack) < overall["illegal_mass"] < 0.017 * (1 + slack)


def test_learned_positions_end_at_the_context(tmp_path):
    run = save_run(tmp_path, "run", context=5, positions="learned")
    assert evaluate(run, sequences=5)["length"].max() == 5
    with pytest.raises(ValueError, match=r"length 6: expected lengths in 1 \.\. 5"):
        evaluate(run, sequences=5, lengths=[6])


def test_json_is_plain_and_complete(tmp_path):
    import json

    frame = evaluate(save_run(tmp_path, "run"), sequences=1, weights="bema")
    data = json.loads(json.dumps(as_json(frame, 1), allow_nan=False))
    assert data["lengths"] == list(range(1, 8))
    assert set(data["metrics"]) == set(data["ci_low"]) == set(data["ci_high"]) == set(METRICS)
    assert (data["weights"], data["sequences"], data["sequences_at_length"]) == ("bema", 1, [1] * 7)
    assert data["ci_low"]["illegal_mass"] == [None] * 7  # one sequence shows no spread
    assert data["metrics"]["illegal_mass"] == pytest.approx(list(table_of(frame)["illegal_mass"]))
    assert data["ci_high"]["illegal_top1"][0] is not None


def test_zero_of_many_is_no_certainty():
    frame = evaluate(gap_model(VOCAB, 60.0), SetComplementTask(VOCAB), sequences=200)
    rows = frame[frame["metric"] == "illegal_top1"]
    assert (rows["value"] == 0).all() and (rows["ci_low"] == 0).all()
    assert rows["ci_high"].to_numpy() == pytest.approx(1 - 0.025 ** (1 / 200))


def test_a_diverged_model_shows():
    model = gap_model(VOCAB, 4.0)
    with torch.no_grad():
        model.unembed.b_U.fill_(torch.nan)
    frame = evaluate(model, SetComplementTask(VOCAB), sequences=20)
    assert frame[~frame["metric"].str.contains("dispersion|tokens")]["value"].isna().all()


def test_progress_is_shown_on_request(tmp_path, capsys):
    run = save_run(tmp_path, "run")
    evaluate(run, sequences=5)
    assert capsys.readouterr().err == ""
    evaluate(run, sequences=5, progress=True)
    assert "5/5" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sequences": 0}, "0 sequences are too few, expected at least 1"),
        ({"batch": 0}, "0 sequences a batch are too few"),
        ({"lengths": [0]}, r"length 0: expected lengths in 1 \.\. 8"),
        ({"lengths": []}, "length list is empty"),
        ({"seed": -1}, r"seed -1 is outside"),
        ({"seed": 2**32}, r"seed 4294967296 is outside"),
        ({"task": None}, "no card to tell its task"),
        ({"task": SetComplementTask(5)}, "the model has 9 tokens, its task set-complement has 5"),
    ],
)
def test_errors_are_one_sentence(arguments, message):
    with pytest.raises(ValueError, match=message):
        evaluate(gap_model(VOCAB, 4.0), **{"task": SetComplementTask(VOCAB), "sequences": 5, **arguments})


def test_training_mode_is_refused():
    with pytest.raises(ValueError, match="training mode"):
        evaluate(gap_model(VOCAB, 4.0).train(), SetComplementTask(VOCAB), sequences=5)


def test_threads_are_given_back(tmp_path):
    torch.set_num_threads(2)
    try:
        evaluate(save_run(tmp_path, "run"), sequences=5)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


def test_task_of_the_card(tmp_path):
    model = load(save_run(tmp_path, "run", vocab=6))
    given = evaluate(model, make_task(TaskConfig(name="set-complement", vocab=6)), sequences=5)
    pd.testing.assert_frame_equal(given, evaluate(model, sequences=5))


def test_plain_and_hooked_models_are_evaluated_alike():
    name, common = "set-complement-v16-none-seed0", dict(sequences=20, lengths=[3, 15])
    hooked, plain = load(name, weights="ema"), subject(name, weights="ema").model
    of_path = evaluate(name, weights="ema", **common)
    pd.testing.assert_frame_equal(evaluate(plain, **common), of_path)
    pd.testing.assert_frame_equal(evaluate(hooked, **common), of_path, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="training mode"):
        evaluate(plain.train(), **common)
