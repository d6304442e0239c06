"""Displacement as behaviour: against closed forms, loops, and the tables the behaviour comes from."""

import tracemalloc

import numpy as np
import pandas as pd
import pytest
import torch

from models.hooked import load
from models.set_complement.closed_form import closed_form
from models.set_complement.task import SetComplementTask
from models.streams import Draw
from probes.drawn_sequences import whole_sequences
from probes.logit_displacement import added_token, displacement, power_law, token_displacement

from .set_complement_models import margins, model_logits, random_model, trained_model


def column(frame: pd.DataFrame, measure: str, name: str = "value") -> np.ndarray:
    return frame[frame["measure"] == measure][name].to_numpy()


def test_the_closed_form_follows_every_law():
    vocab, gap = 12, 0.5
    frame = displacement(closed_form(vocab, gap=gap), sequences=16)
    lengths = np.arange(1, vocab)
    push = gap * (vocab - 1) / lengths
    np.testing.assert_allclose(column(frame, "context"), push[1:], rtol=1e-12)
    np.testing.assert_allclose(column(frame, "query"), push + gap, rtol=1e-12)
    np.testing.assert_allclose(column(frame, "margin"), np.append(push[0] + gap, push[1:]), rtol=1e-12)
    np.testing.assert_allclose(column(frame, "control"), 0, atol=1e-13)
    for measure in ("context", "query", "control"):
        np.testing.assert_allclose(column(frame, measure, "law"), column(frame, measure), rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(column(frame, "margin", "law")[1:], push[1:], rtol=1e-12)
    assert not column(frame, "margin", "not_positive").any()


@pytest.mark.parametrize("model", [random_model(6, 0, solved=8.0), trained_model(6, 1)], ids=["random", "trained"])
def test_against_plain_loops(model):
    sequences, vocab = 12, 6
    permutations = SetComplementTask(vocab).sequences(Draw.PROBES.stream(5), 0, sequences).numpy()
    frame = displacement(model, sequences=sequences, seed=5).set_index(["measure", "length"])
    for length in range(1, vocab):
        tokens = permutations[:, :length]
        logits = model_logits(model, tokens)
        pushed = np.array([np.delete(row, seen).mean() - row[seen] for row, seen in zip(logits, tokens, strict=True)])
        expected = {"query": pushed[:, -1], "margin": margins(logits, tokens)}
        if length >= 2:
            expected["context"] = pushed[:, :-1]
        for measure, values in expected.items():
            row = frame.loc[measure, length]
            assert row["value"] == pytest.approx(values.mean(), abs=1e-11)
            assert row["not_positive"] == (values <= 0).mean()
            means = values.reshape(sequences, -1).mean(axis=1)
            half = 1.96 * means.std(ddof=1) / np.sqrt(sequences)
            assert row["ci_high"] - row["value"] == pytest.approx(half, abs=1e-11)


def test_a_model_that_ignores_its_input_has_no_displacement():
    model = closed_form(6)
    model.W_E.data.zero_()
    model.unembed.b_U.data = 0.1 * model.unembed.b_U.new_tensor(range(6))
    frame = displacement(model, sequences=400)
    for measure in ("context", "query", "control"):
        rows = frame[frame["measure"] == measure]
        assert ((rows["ci_low"] <= 0.02) & (rows["ci_high"] >= -0.02)).all()
    assert (column(frame, "margin", "not_positive") > 0).all(), "misordered inputs are counted"


def test_token_displacement_averages_to_displacement():
    model = trained_model(7, 0)
    tokens, summary = token_displacement(model, sequences=32), displacement(model, sequences=32)
    for (length, role), rows in tokens.groupby(["length", "role"]):
        row = summary[(summary["length"] == length) & (summary["measure"] == role)].iloc[0]
        assert np.average(rows["displacement"], weights=rows["count"]) == pytest.approx(row["value"], rel=1e-12)
        assert np.average(rows["not_positive"], weights=rows["count"]) == pytest.approx(row["not_positive"])
        assert rows["count"].sum() == 32 * (1 if role == "query" else length - 1)


def test_the_slope_of_the_closed_form_is_minus_one():
    fit = power_law(token_displacement(closed_form(12), sequences=64)).iloc[0]
    assert fit["slope"] == pytest.approx(-1, abs=1e-11)
    assert fit["ci_high"] - fit["ci_low"] < 1e-10
    assert (fit["tokens"], fit["not_positive"]) == (12, 0)


def test_the_slope_is_recovered_and_what_a_logarithm_cannot_show_is_counted():
    rng = np.random.default_rng(0)
    length, token = (grid.ravel() for grid in np.meshgrid(np.arange(2, 12), np.arange(30)))
    pushed = (1 + token) * length**-0.7 * np.exp(0.05 * rng.normal(size=length.size))
    pushed[::10] *= -1
    frame = pd.DataFrame({"length": length, "token": token, "role": "context", "displacement": pushed})
    fit = power_law(frame).iloc[0]
    assert fit["ci_low"] < -0.7 < fit["ci_high"]
    assert fit["ci_high"] - fit["ci_low"] < 0.05
    assert fit["not_positive"] == pytest.approx(0.1)


def test_a_slope_that_cannot_be_fitted_is_nan_and_says_so():
    frame = pd.DataFrame({"length": [2, 3], "token": [0, 0], "role": "context", "displacement": [-1.0, 0.0]})
    fit = power_law(frame).iloc[0]
    assert np.isnan(fit["slope"]) and fit["not_positive"] == 1 and fit["tokens"] == 0


def test_adding_a_token_to_the_closed_form():
    vocab, gap = 9, 0.5
    gamma = gap * (vocab - 1)
    frame = added_token(closed_form(vocab, gap=gap), sequences=8).set_index(["length", "logit"])["change"]
    np.testing.assert_allclose(frame.xs("absent", level="logit"), 0, atol=1e-13)
    for length in range(2, vocab):
        assert frame[length, "added"] == pytest.approx(-gamma / length, rel=1e-11)
        assert frame[length, "query"] == pytest.approx(gamma / (length * (length - 1)), rel=1e-10)
        if length >= 3:
            assert frame[length, "context"] == pytest.approx(gamma / (length * (length - 1)), rel=1e-10)
    assert frame[1, "added"] == pytest.approx(-(gamma + gap), rel=1e-11)


def test_adding_a_token_against_plain_loops():
    model, vocab, length = random_model(6, 2, solved=5.0, attention=2.0), 6, 4
    tokens = SetComplementTask(vocab).sequences(Draw.PROBES, 0, 10).numpy()[:, :length]
    changes: dict[str, list[float]] = {"added": [], "query": [], "context": [], "absent": []}
    for first, second, added, query in tokens:
        after = model_logits(model, np.array([[first, second, added, query]]))[0]
        before = model_logits(model, np.array([[first, second, query]]))[0]
        change = after - before
        change -= np.delete(change, [first, second, added, query]).mean()
        for role, logits in (("added", [added]), ("query", [query]), ("context", [first, second])):
            changes[role].extend(change[logits])
        changes["absent"].extend(np.delete(change, [first, second, added, query]))
    frame = added_token(model, [length], sequences=10).set_index("logit")
    for role, values in changes.items():
        assert frame.loc[role, "change"] == pytest.approx(np.mean(values), abs=1e-11)
        assert frame.loc[role, "spread"] == pytest.approx(np.std(values), abs=1e-11)


def test_lengths_out_of_range_are_refused():
    with pytest.raises(ValueError, match="length 6: expected lengths in 1 .. 5"):
        added_token(closed_form(6), [2, 6])
    with pytest.raises(ValueError, match="1 sequences are too few"):
        displacement(closed_form(6), sequences=1)


def test_a_context_shorter_than_the_vocabulary_is_measured_as_far_as_it_goes():
    frame = displacement(random_model(8, 0, context=3), sequences=4)
    assert frame["length"].max() == 3


def test_a_bundled_name_is_measured_with_its_labels_on_inputs_that_training_never_draws():
    name = "set-complement-v16-none-seed0"
    by_name, loaded = displacement(name, 8, weights="ema"), displacement(load(name, "ema"), 8)
    pd.testing.assert_frame_equal(by_name, loaded)
    assert set(by_name["checkpoint"]) == {name} and set(by_name["weights"]) == {"ema"} and set(by_name["seed"]) == {0}
    task = SetComplementTask(16)
    assert not torch.equal(next(whole_sequences(task, 8, 0, 8)), task.sequences(0, 0, 8))
    fit = power_law(token_displacement(name, 8))
    assert fit["checkpoint"].item() == name and len(fit) == 1


@pytest.mark.parametrize("probe", [displacement, token_displacement, added_token])
def test_batches_change_nothing_but_rounding_and_bound_the_memory(probe, capsys):
    model = random_model(16, seed=0)
    whole = probe(model, sequences=101, seed=3, batch=101)
    pd.testing.assert_frame_equal(probe(model, sequences=101, seed=3, batch=10), whole, rtol=1e-9, atol=1e-12)

    def peak(sequences: int) -> int:
        tracemalloc.start()
        probe(model, sequences=sequences, batch=50, progress=True)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(100)  # what is only made once
    assert peak(2000) < 1.5 * peak(200)
    assert "2000/2000" in capsys.readouterr().err
