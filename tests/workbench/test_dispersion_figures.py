import numpy as np
import pandas as pd
import pytest

from models.config import ModelConfig
from models.set_complement.closed_form import closed_form
from models.set_complement.task import SetComplementTask
from probes.dispersion import dispersion
from probes.exchangeability import exchangeability
from probes.logit_displacement import displacement
from probes.rank_collapse import rank_collapse
from probes.vanishing_variance import vanishing_variance
from workbench.evaluation import evaluate
from workbench.figures import related_diagnostics
from workbench.figures.dispersion import dispersion_and_errors, dispersion_by_head, dispersion_by_length

from .random_weights import random_hooked

VOCAB = 7
TASK = SetComplementTask(VOCAB)


@pytest.fixture(scope="module")
def model():
    """Uniform attention: s effective tokens at length s, displacement gap (v - 1) / s."""
    return closed_form(VOCAB, gap=2.0)


def several(**shape):
    """A shape of two layers."""
    return ModelConfig(**{"vocab": VOCAB, "context": VOCAB - 1, "layers": 2, "width": 8, "head_width": 4} | shape)


@pytest.fixture(scope="module")
def frame(model):
    return dispersion(model, TASK, sequences=20, controls=("uniform attention", "one-hot attention"))


def test_curves_by_length_are_the_frames_values(frame):
    figure = dispersion_by_length(frame, "effective_tokens")
    curves = {trace.name: trace for trace in figure.data}
    assert set(curves) == {"5 % to 95 % of sequences", "layer 0", "uniform attention", "one-hot attention"}
    np.testing.assert_allclose(curves["layer 0"].y, range(1, VOCAB), rtol=1e-5)
    normalised = {trace.name: trace for trace in dispersion_by_length(frame).data}["layer 0"]
    assert list(normalised.x) == list(range(2, VOCAB))
    np.testing.assert_allclose(normalised.y, 1, rtol=1e-5)


def test_several_heads_are_thin_lines_around_the_mean_of_their_layer():
    frame = dispersion(random_hooked(several(heads=2)), TASK, sequences=10, controls=("uniform attention",))
    figure = dispersion_by_length(frame, "effective_tokens")
    own = frame[(frame["metric"] == "effective_tokens") & (frame["control"] == "none")].set_index(["layer", "head"])
    assert own.index.nunique() == 4
    for layer in range(2):
        *heads, mean = (trace for trace in figure.data if trace.name == f"layer {layer}")
        assert [trace.showlegend for trace in heads] == [False, False] and mean.showlegend is None
        for head, trace in enumerate(heads):
            rows = own.loc[(layer, head)]
            np.testing.assert_array_equal(trace.x, rows["length"])
            np.testing.assert_array_equal(trace.y, rows["value"])
            np.testing.assert_array_equal(trace.customdata, rows[["value", "ci_low", "ci_high"]].assign(head=head))
            assert trace.line.width < mean.line.width
        np.testing.assert_allclose(mean.y, own.loc[layer].groupby("length")["value"].mean())
    assert not any(trace.fill for trace in figure.data)


def test_the_map_of_heads_is_that_of_one_length(frame):
    heads = dispersion_by_head(frame, 4, "effective_tokens").data[0]
    assert heads.z.shape == (1, 1) and heads.z[0][0] == pytest.approx(4, rel=1e-5)
    with pytest.raises(ValueError, match="length 99 is not in the frame"):
        dispersion_by_head(frame, 99)


def test_dispersion_displacement_and_illegal_mass_meet_by_length(model, frame):
    evaluation, pushed = evaluate(model, TASK, sequences=20), displacement(model, sequences=20)
    left, right = dispersion_and_errors(frame, evaluation, pushed).data
    assert list(left.customdata) == list(range(2, VOCAB))  # a context token needs two
    np.testing.assert_allclose(left.x, left.customdata, rtol=1e-5)
    np.testing.assert_allclose(left.y, 2.0 * (VOCAB - 1) / left.customdata, rtol=1e-5)
    mass = evaluation[evaluation["metric"] == "illegal_mass"].set_index("length")["value"]
    np.testing.assert_allclose(right.y, mass)
    margins = dispersion_and_errors(frame, evaluation).data[0]
    assert list(margins.customdata) == list(range(1, VOCAB))


def test_related_diagnostics_draw_their_frames(model):
    variance = vanishing_variance(model, TASK, sequences=60)
    lines = [trace for trace in related_diagnostics.vanishing_variance(variance).data if trace.name]
    slope = variance[variance["metric"] == "slope"]["value"].item()
    assert len(lines) == 1 and f"{slope:.2f}" in lines[0].name
    sites = vanishing_variance(random_hooked(several(norm="branch")), TASK, sequences=20)
    drawn = {trace.name.split(":")[0]: trace for trace in related_diagnostics.vanishing_variance(sites).data if trace.name}
    assert list(drawn) == ["layer 0", "layer 1", "layer 0, after its norm", "layer 1, after its norm"]
    for layer in range(2):
        before, after = drawn[f"layer {layer}"], drawn[f"layer {layer}, after its norm"]
        assert after.marker.symbol == f"{before.marker.symbol}-open" and after.line.color == before.line.color
        rows = sites[(sites["site"] == "after its norm") & (sites["layer"] == layer) & (sites["metric"] == "attention_std")]
        np.testing.assert_array_equal(after.y, rows["value"])
    cosine = rank_collapse(model, TASK, sequences=10)
    shown = [trace.name for trace in related_diagnostics.rank_collapse(cosine, [2, 6]).data if trace.name]
    assert shown == ["length 2", "length 6"]
    order = exchangeability(model, TASK, sequences=10)
    figure = related_diagnostics.exchangeability(order)
    assert [trace.name for trace in figure.data if trace.name] == ["reordered", "another sequence"] * 2
    start = pd.DataFrame(
        {"scale": [1.0, 2.0], "layer": 0, "length": 6, "value": [0.9, 0.5], "ci_low": [0.8, 0.4], "ci_high": [1.0, 0.6]}
    )
    curve = related_diagnostics.entropy_at_initialisation(start).data[-1]
    assert list(curve.x) == [1.0, 2.0] and list(curve.y) == [0.9, 0.5]
