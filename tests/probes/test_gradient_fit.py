import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression

from probes.gradient_fit import Whitening, logistic_fits, logistic_probe, nonlinear_fits, nonlinear_probe
from probes.linear_probe import Moments, closed_form

from .othello_models import indicators, planted


def moments_of(streams, states):
    moments = Moments(1, streams.shape[1], 2 * states.shape[1])
    moments.add(0, streams, indicators(states))
    return moments


def trained(start, finish, streams, states, passes):
    moments = moments_of(streams, states)
    linear = closed_form(moments, states.shape[1])
    fits = start(moments, linear, steps=max(passes, 1) * 20)
    for _ in range(passes):
        for x, y in zip(streams.chunk(20), states.chunk(20), strict=True):
            fits[0].step(x, y)
    return finish(fits), linear


def loss(probe, streams, states) -> float:
    return float(F.cross_entropy(probe.scores(0, streams).flatten(0, 1), states.flatten().long()))


def test_whitened_streams_have_unit_covariance_and_unfold_undoes_it():
    states, streams, _ = planted(squares=2, width=7, rows=800, noise=0.3)
    streams = streams * torch.logspace(-1, 2, 7)
    whitening = Whitening(moments_of(streams, states), 0)
    white = whitening(streams).double()
    covariance = white.T @ white / len(white)
    assert torch.linalg.eigvalsh(covariance).max() == pytest.approx(1, abs=1e-2)
    weight, bias = torch.randn(7, 3), torch.randn(3)
    own, own_bias = whitening.unfold(weight, bias)
    torch.testing.assert_close(streams.double() @ own + own_bias, white @ weight.double() + bias, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("start", "finish"), [(logistic_fits, logistic_probe), (nonlinear_fits, nonlinear_probe)])
def test_fits_start_at_what_the_closed_form_reads(start, finish):
    states, streams, _ = planted(squares=4, width=10, rows=400, noise=0.5)
    begun, linear = trained(start, finish, streams, states, passes=0)
    agree = begun.scores(0, streams).argmax(-1) == linear.scores(0, streams).argmax(-1)
    assert agree.float().mean() > 0.999


def test_logistic_reaches_the_least_cross_entropy():
    states, streams, _ = planted(squares=2, width=6, rows=2000, noise=0.5)
    probe, linear = trained(logistic_fits, logistic_probe, streams, states, passes=30)
    for square in range(2):
        reference = LogisticRegression(C=1e6, max_iter=2000).fit(streams.numpy(), states[:, square].numpy())
        best = -reference.predict_log_proba(streams.numpy())[np.arange(2000), states[:, square].long().numpy()].mean()
        ours = float(F.cross_entropy(probe.scores(0, streams)[:, square], states[:, square].long()))
        assert best - 1e-4 <= ours <= best + 0.01
    assert loss(probe, streams, states) < loss(linear, streams, states)
    torch.testing.assert_close(probe.weight.sum(-1), torch.zeros(1, 6, 2), rtol=0, atol=1e-5)


def test_the_pattern_of_a_logistic_probe_is_how_the_stream_moves_with_its_scores():
    states, streams, _ = planted(squares=2, width=6, rows=600, noise=0.5)
    probe, _ = trained(logistic_fits, logistic_probe, streams, states, passes=2)
    scores = probe.scores(0, streams).double().flatten(1)
    x = streams.double()
    moved = (x - x.mean(0)).T @ (scores - scores.mean(0)) / len(x)
    torch.testing.assert_close(probe.pattern[0].double().flatten(1), moved, rtol=1e-2, atol=1e-3)


def test_a_nonlinear_probe_reads_what_no_linear_one_can():
    random = torch.Generator().manual_seed(0)
    streams = torch.randn(4000, 4, generator=random)
    states = ((streams[:, :1] * streams[:, 1:2] > 0).long() + (streams[:, 2:3] > 0.5)).to(
        torch.int8
    )  # a product of coordinates
    nonlinear, linear = trained(nonlinear_fits, nonlinear_probe, streams, states, passes=30)
    logistic, _ = trained(logistic_fits, logistic_probe, streams, states, passes=5)
    right = [float((probe.scores(0, streams).argmax(-1) == states).float().mean()) for probe in (linear, logistic, nonlinear)]
    assert max(right[:2]) < 0.55 and right[2] > 0.75


def test_minibatches_without_positions_are_skipped():
    states, streams, _ = planted(squares=2, width=6, rows=100)
    moments = moments_of(streams, states)
    fit = logistic_fits(moments, closed_form(moments, 2), steps=3)[0]
    before = [part.clone() for part in fit.arrived()]
    fit.step(streams[:0], states[:0])
    assert all(torch.equal(now, then) for now, then in zip(fit.arrived(), before, strict=True))
