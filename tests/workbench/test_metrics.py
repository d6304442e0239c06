"""Metrics against closed forms, against scipy, and at the edges of floating point."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import special, stats

from workbench.metrics import DISPERSION_METRICS, METRICS, POSITION_METRICS, dispersion_metrics, position_metrics


def one_position(logits, legal) -> dict[str, float]:
    metrics = position_metrics(torch.as_tensor(logits)[None, None], torch.as_tensor(legal)[None, None])
    return {name: value.item() for name, value in metrics.items()}


@st.composite
def positions(draw, largest=50.0, least_legal=1):
    vocab = draw(st.integers(2, 12))
    logits = draw(hnp.arrays(np.float64, vocab, elements=st.floats(-largest, largest)))
    legal = draw(hnp.arrays(np.bool_, vocab).filter(lambda mask: mask.sum() >= least_legal))
    return logits, legal


@pytest.mark.parametrize("vocab", [3, 16, 61])
@pytest.mark.parametrize("gap", [-2.0, 0.0, 0.7, 12.0, 60.0])
def test_closed_form_of_a_gap(vocab, gap):
    for seen in {1, vocab // 2, vocab - 1}:
        legal = torch.arange(vocab) >= seen
        got = one_position(legal.double() * gap + 5, legal)
        mass = seen * math.exp(-gap) / (seen * math.exp(-gap) + vocab - seen)
        assert got["illegal_mass"] == pytest.approx(mass, rel=1e-12)
        assert got["total_variation"] == pytest.approx(mass, rel=1e-12)
        assert got["uniformity_kl"] == pytest.approx(0, abs=1e-12)
        assert got["margin"] == pytest.approx(gap, rel=1e-12, abs=1e-12)
        assert got["misordered"] == (gap <= 0)
        assert got["illegal_top1"] == (gap <= 0)  # of equal logits the lowest token, here illegal, is the top


@given(positions())
def test_against_scipy(position):
    logits, legal = position
    p = special.softmax(logits)
    target = legal / legal.sum()
    got = one_position(logits, legal)
    assert got["illegal_mass"] == pytest.approx(p[~legal].sum(), abs=1e-12)
    assert got["total_variation"] == pytest.approx(np.abs(p - target).sum() / 2, abs=1e-12)
    restricted = special.softmax(logits[legal])
    assert got["uniformity_kl"] == pytest.approx(stats.entropy(target[legal], restricted), abs=1e-9)
    assert got["illegal_top1"] == (not legal[np.argmax(logits)])
    if not legal.all():
        assert got["margin"] == logits[legal].min() - logits[~legal].max()
        assert got["misordered"] == (got["margin"] <= 0)


@given(positions())
def test_identities_and_ranges(position):
    logits, legal = position
    got = one_position(logits, legal)
    assert 0 <= got["illegal_mass"] <= got["total_variation"] <= 1
    assert got["uniformity_kl"] >= 0
    if got["illegal_top1"]:
        assert got["misordered"]
    if got["illegal_mass"] < 1 - 1e-9:  # else 1 - illegal mass has no digits left
        divergence = -math.log(legal.sum()) - special.log_softmax(logits)[legal].mean()
        assert -math.log1p(-got["illegal_mass"]) + got["uniformity_kl"] == pytest.approx(divergence, rel=1e-6, abs=1e-9)


@given(positions(), st.floats(-100, 100), st.randoms(use_true_random=False))
def test_invariant_to_shift_and_to_relabelling(position, shift, random):
    logits, legal = position
    order = list(range(len(logits)))
    random.shuffle(order)
    before, after = one_position(logits, legal), one_position(logits[order] + shift, legal[order])
    ties = len(np.unique(logits)) < len(logits) or len(np.unique(logits + shift)) < len(logits)
    for name, value in before.items():
        if not (ties and name in ("illegal_top1", "misordered")) and not (
            name == "misordered" and abs(before["margin"]) < 1e-9
        ):
            assert after[name] == pytest.approx(value, rel=1e-6, abs=1e-9), name


@given(positions(largest=1e4))
def test_huge_logits_stay_finite(position):
    logits, legal = position
    got = one_position(logits, legal)
    assert all(math.isfinite(value) for name, value in got.items() if not (name == "margin" and legal.all()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_extremes(dtype):
    for legal_count in (1, 4):
        legal = torch.arange(5) < legal_count
        right = one_position(torch.where(legal, 1e4, -1e4).to(dtype), legal)
        wrong = one_position(torch.where(legal, -1e4, 1e4).to(dtype), legal)
        assert right["illegal_mass"] == right["total_variation"] == right["illegal_top1"] == right["misordered"] == 0
        assert wrong["illegal_mass"] == wrong["total_variation"] == wrong["illegal_top1"] == wrong["misordered"] == 1
        assert max(right["uniformity_kl"], wrong["uniformity_kl"]) < 1e-9


@given(positions(largest=20.0))
def test_single_precision_logits_are_enough(position):
    logits, legal = position
    single, double = one_position(logits.astype(np.float32), legal), one_position(logits, legal)
    for name in ("illegal_mass", "total_variation", "uniformity_kl"):
        assert single[name] == pytest.approx(double[name], abs=1e-5), name


@st.composite
def masked_positions(draw):
    """Logits of which some are -inf, as a hook that masks tokens leaves them; at least one is finite."""
    logits, legal = draw(positions(largest=20.0))
    masked = draw(hnp.arrays(np.bool_, len(logits)).filter(lambda mask: not mask.all()))
    return np.where(masked, -np.inf, logits), legal


@given(masked_positions())
def test_a_logit_of_minus_infinity_is_probability_0(position):
    """Every metric by its definition on p = softmax(logits), which scipy takes of -inf too."""
    logits, legal = position
    p, k = special.softmax(logits), legal.sum()
    got = one_position(logits, legal)
    assert got["illegal_mass"] == pytest.approx(p[~legal].sum(), abs=1e-12)
    assert got["total_variation"] == pytest.approx(np.abs(p - legal / k).sum() / 2, abs=1e-12)
    assert got["illegal_top1"] == (not legal[np.argmax(logits)])
    if k == 1:
        assert got["uniformity_kl"] == 0
    elif p[legal].any():
        assert got["uniformity_kl"] == pytest.approx(stats.entropy(legal[legal] / k, special.softmax(logits[legal])), abs=1e-9)
    else:
        assert math.isnan(got["uniformity_kl"])  # p restricted to legal tokens is 0 / 0
    least, greatest = logits[legal].min(), logits[~legal].max(initial=-np.inf)
    if legal.all():
        assert (got["margin"], got["misordered"]) == (math.inf, 0)
    elif least == greatest == -np.inf:
        assert math.isnan(got["margin"]) and got["misordered"] == 1
    else:
        assert (got["margin"], got["misordered"]) == (least - greatest, least <= greatest)


@given(masked_positions())
def test_what_minus_infinity_gives_is_the_limit_of_lower_and_lower_logits(position):
    logits, legal = position
    got, low = one_position(logits, legal), one_position(np.where(np.isinf(logits), -1e4, logits), legal)
    for name in ("illegal_mass", "illegal_top1", "total_variation"):
        assert got[name] == pytest.approx(low[name], abs=1e-12), name


@pytest.mark.parametrize("logits", [[-math.inf] * 3, [0, math.inf, 1], [-math.inf, 0, math.inf], [math.nan, -math.inf, 0]])
@pytest.mark.parametrize("legal", [[True, False, False], [False, True, True], [True, True, True]])
def test_logits_without_a_softmax_are_nan(logits, legal):
    for dtype in (torch.float32, torch.float64):
        got = one_position(torch.tensor(logits, dtype=dtype), legal)
        assert all(math.isnan(value) for value in got.values()), got


def test_undefined_is_nan():
    logits = torch.zeros(1, 3, 4)
    logits[0, 1, 2] = torch.nan
    legal = torch.ones(1, 3, 4, dtype=torch.bool)
    legal[0, 0] = False
    for name, value in position_metrics(logits, legal).items():
        assert value.isnan().tolist() == [[True, True, False]], name
    assert position_metrics(logits, legal)["margin"][0, 2] == math.inf  # nothing is illegal


def test_one_hot_on_a_legal_token():
    got = one_position(torch.tensor([50.0, 0.0, 0.0, 0.0]).double(), torch.tensor([True, True, True, False]))
    assert got["total_variation"] == pytest.approx(2 / 3)
    assert got["margin"] == 0
    assert (got["misordered"], got["illegal_top1"]) == (1, 0)


def test_dispersion_metrics_of_uniform_and_of_one_hot_attention():
    length = torch.arange(1, 6).double()
    uniform = length.log()[None, :, None, None].expand(1, 5, 2, 3)
    got = dispersion_metrics(uniform)
    torch.testing.assert_close(got["dispersion"], length.log()[None])
    torch.testing.assert_close(got["normalised_dispersion"], torch.tensor([[0.0, 1, 1, 1, 1]]).double())
    torch.testing.assert_close(got["effective_tokens"], length[None])
    got = dispersion_metrics(torch.zeros_like(uniform))
    assert [value.unique().item() for value in got.values()] == [0, 0, 1]


def test_registry_is_complete():
    assert tuple(METRICS) == POSITION_METRICS + DISPERSION_METRICS
    assert {name for name, metric in METRICS.items() if metric.rate} == {"illegal_top1", "misordered"}
    assert METRICS["margin"].axis.endswith("(logits)")
    assert METRICS["illegal_mass"].axis == "illegal mass"
