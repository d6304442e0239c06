import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

from probes.linear_probe import Moments, closed_form

from .othello_models import indicators, planted


def fitted(streams, targets, squares, ridge, batches=1, target=0):
    moments = Moments(1, streams.shape[1], targets.shape[1])
    for x, y in zip(streams.chunk(batches), targets.chunk(batches), strict=True):
        moments.add(0, x, y)
    return closed_form(moments, squares, target, ridge), moments


@given(
    squares=st.integers(1, 4),
    width=st.integers(1, 9),
    rows=st.integers(12, 60),
    batches=st.integers(1, 4),
    ridge=st.floats(1e-3, 10),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=40, deadline=None)
def test_closed_form_is_ridge_regression(squares, width, rows, batches, ridge, seed):
    states, streams, _ = planted(squares, width, rows, seed, noise=0.3)
    probe, _ = fitted(streams, indicators(states), squares, ridge, batches)
    x = streams.double().numpy()
    penalty = ridge * x.var(axis=0).mean() * rows
    one_hot = torch.nn.functional.one_hot(states.long(), 3).double().flatten(1).numpy()
    reference = Ridge(alpha=penalty).fit(x, one_hot)
    np.testing.assert_allclose(probe.weight[0].flatten(1).numpy(), reference.coef_.T, atol=2e-4)
    np.testing.assert_allclose(probe.scores(0, streams).flatten(1).numpy(), reference.predict(x), atol=1e-3)


def test_a_planted_linear_representation_is_found():
    states, streams, _ = planted(squares=8, width=40, rows=3000, noise=0.01)
    probe, _ = fitted(streams[:2000], indicators(states[:2000]), 8, 1e-6, batches=7)
    read = probe.scores(0, streams[2000:]).argmax(-1)
    assert (read == states[2000:]).float().mean() > 0.999


def test_streams_far_from_zero_lose_no_precision():
    states, streams, _ = planted(squares=3, width=12, rows=900, noise=0.3)
    near, _ = fitted(streams, indicators(states), 3, 1e-4, batches=9)
    far, moments = fitted(streams + 300.0, indicators(states), 3, 1e-4, batches=9)
    torch.testing.assert_close(far.weight, near.weight, rtol=0, atol=2e-3)
    np.testing.assert_allclose(moments.mean(0).numpy(), streams.double().numpy().mean(0) + 300, rtol=1e-6)


def test_moments_are_those_of_the_streams_and_patterns_those_of_the_scores():
    states, streams, _ = planted(squares=3, width=6, rows=500, noise=0.3)
    probe, moments = fitted(streams, indicators(states), 3, 1e-2, batches=4)
    x, y = streams.double().numpy(), indicators(states).double().numpy()
    np.testing.assert_allclose(moments.covariance(0).numpy(), np.cov(x.T, bias=True), rtol=1e-4, atol=1e-6)
    joint = np.cov(np.concatenate([x, y], axis=1).T, bias=True)
    np.testing.assert_allclose(moments.cross_covariance(0).numpy(), joint[:6, 6:], rtol=1e-3, atol=1e-6)
    scores = probe.scores(0, streams).double().flatten(1).numpy()
    moved = np.cov(np.concatenate([x, scores], axis=1).T, bias=True)[:6, 6:]
    np.testing.assert_allclose(probe.pattern[0].flatten(1).numpy(), moved, atol=1e-4)


def test_scores_of_a_square_sum_to_one():
    states, streams, _ = planted(squares=5, width=6, rows=200, noise=1.0)
    probe, _ = fitted(streams, indicators(states), 5, 1e-2)
    torch.testing.assert_close(probe.scores(0, streams).sum(-1), torch.ones(200, 5), rtol=0, atol=1e-4)


def test_a_stream_that_never_varies_gives_the_base_rates():
    states, _, _ = planted(squares=2, width=3, rows=100)
    probe, _ = fitted(torch.full((100, 3), 2.5), indicators(states), 2, 1e-4)
    assert torch.equal(probe.weight, torch.zeros_like(probe.weight))
    rates = torch.nn.functional.one_hot(states.long(), 3).float().mean(0)
    torch.testing.assert_close(probe.bias[0], rates)


def test_targets_are_fitted_apart_from_one_set_of_moments():
    states, streams, _ = planted(squares=2, width=5, rows=300, noise=0.2)
    other = states.roll(1, dims=0)
    both = torch.cat([indicators(states), indicators(other)], dim=1)
    second, _ = fitted(streams, both, 2, 1e-3, target=1)
    alone, _ = fitted(streams, indicators(other), 2, 1e-3)
    torch.testing.assert_close(second.weight, alone.weight)


def test_batches_without_positions_change_nothing_and_no_ridge_is_refused():
    states, streams, _ = planted(squares=1, width=2, rows=30)
    moments = Moments(1, 2, 2)
    moments.add(0, streams[:0], indicators(states)[:0])
    moments.add(0, streams, indicators(states))
    moments.add(0, streams[:0], indicators(states)[:0])
    assert moments.rows == [30]
    with pytest.raises(ValueError, match="ridge 0"):
        closed_form(moments, 1, ridge=0)
