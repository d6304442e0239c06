"""Intervals: coverage by simulation and enumeration, agreement with scipy, and what streaming must not change."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from models.random_stream import draws
from models.streams import Draw
from workbench.intervals import (
    BootstrapMeans,
    DiscordantPairs,
    exact_binomial_interval,
    paired_rate_interval,
    percentile_interval,
    poisson_weights,
)


def means_of(values: torch.Tensor, present=None, seed=0, batch=1000, replicates=400, start=0) -> BootstrapMeans:
    """Sums of [sequence, metric, length] values fed in batches."""
    present = torch.ones(len(values), values.shape[2], dtype=torch.bool) if present is None else present
    sums = BootstrapMeans(*values.shape[1:], replicates)
    for at in range(0, len(values), batch):
        part = slice(at, at + batch)
        indices = torch.arange(start, start + len(values))[part]
        sums.add(values[part], present[part], poisson_weights(seed, indices, replicates))
    return sums


def test_weights_are_poisson_and_uncorrelated():
    weights = poisson_weights(3, torch.arange(4000), 50).numpy()
    counts = np.bincount(np.minimum(weights, 6).astype(int).ravel(), minlength=7)
    expected = np.append(stats.poisson.pmf(range(6), 1), stats.poisson.sf(5, 1)) * weights.size
    assert stats.chisquare(counts, expected).pvalue > 1e-3
    correlations = np.corrcoef(weights, rowvar=False)[np.triu_indices(50, 1)]
    assert np.abs(correlations).max() < 5 / np.sqrt(4000)


def test_weights_are_a_pure_function_of_seed_index_and_replicate():
    whole = poisson_weights(3, torch.arange(20), 30)
    torch.testing.assert_close(whole[7:9, :11], poisson_weights(3, torch.tensor([7, 8]), 11), rtol=0, atol=0)
    assert not torch.equal(whole, poisson_weights(4, torch.arange(20), 30))


@pytest.mark.parametrize("draw", [Draw.TRAINING, Draw.EVALUATION])
def test_weights_have_nothing_to_do_with_the_sequences_of_their_seed(draw):
    indices = torch.arange(4000)
    drawn = draws(draw.stream(3), indices, 50).numpy().view(np.uint64)
    correlations = [stats.spearmanr(*pair).statistic for pair in zip(drawn.T, poisson_weights(3, indices, 50).T, strict=True)]
    assert np.abs(correlations).max() < 5 / np.sqrt(4000)


@pytest.mark.parametrize("batch", [1, 7, 64])
def test_batch_size_does_not_matter(batch):
    values = torch.rand(64, 2, 3, dtype=torch.float64)
    present = torch.rand(64, 3) < 0.7
    whole, split = means_of(values, present, batch=64), means_of(values, present, batch=batch)
    assert torch.equal(whole.count, split.count)
    np.testing.assert_allclose(split.means(), whole.means(), rtol=1e-12)
    np.testing.assert_allclose(split.replicate_means(), whole.replicate_means(), rtol=1e-12)


def test_against_explicit_resampling():
    values = torch.rand(50, 1, 2, dtype=torch.float64)
    present = torch.ones(50, 2, dtype=torch.bool)
    present[10:, 1] = False
    weights = poisson_weights(0, torch.arange(50), 400).numpy()
    for length, kept in ((0, 50), (1, 10)):
        explicit = np.array([np.average(values[:kept, 0, length], weights=w) for w in weights[:kept].T])
        got = means_of(values, present)
        np.testing.assert_allclose(got.replicate_means()[:, 0, length], explicit)
        np.testing.assert_allclose(got.means()[0, length], values[:kept, 0, length].mean())
        bounds = percentile_interval(got.replicate_means())
        np.testing.assert_allclose([bound[0, length] for bound in bounds], np.quantile(explicit, [0.025, 0.975]))


@pytest.mark.parametrize("draw", ["normal", "exponential"])
def test_bootstrap_coverage(draw):
    generator = np.random.default_rng(0)
    studies, sequences = 600, 300
    samples = getattr(generator, draw)(size=(sequences, 1, studies)) + (draw == "normal")  # the true mean is 1 either way
    low, high = percentile_interval(means_of(torch.from_numpy(samples)).replicate_means())
    covered = ((low < 1) & (high > 1)).mean()
    assert 0.92 < covered < 0.98  # one weight table for all studies, so a little looser than binomial error


def test_paired_difference_is_narrower_than_unpaired():
    generator = torch.Generator().manual_seed(0)
    hard = torch.rand(500, 1, 1, generator=generator, dtype=torch.float64)
    first, second = hard + 0.01 * torch.rand(hard.shape, generator=generator, dtype=torch.float64), hard
    paired = percentile_interval(means_of(first).replicate_means() - means_of(second).replicate_means())
    apart = percentile_interval(means_of(first).replicate_means() - means_of(second, seed=1).replicate_means())
    assert (paired[1] - paired[0]).item() < 0.05 * (apart[1] - apart[0]).item()
    assert paired[0].item() < (first - second).mean().item() < paired[1].item()


def test_too_few_sequences_have_no_interval():
    values = torch.rand(3, 1, 3, dtype=torch.float64)
    present = torch.tensor([[True, True, False], [True, False, False], [True, False, False]])
    sums = means_of(values, present)
    assert sums.count.tolist() == [3, 1, 0]
    low, high = percentile_interval(sums.replicate_means())
    assert np.isnan(low).tolist() == np.isnan(high).tolist() == [[False, True, True]]
    assert np.isnan(sums.means()).tolist() == [[False, False, True]]


def test_a_diverged_value_shows():
    values = torch.ones(30, 1, 2, dtype=torch.float64)
    values[3, 0, 1] = torch.nan
    sums = means_of(values)
    assert np.isnan(sums.means()).tolist() == [[False, True]]
    assert np.isnan(percentile_interval(sums.replicate_means())[0]).tolist() == [[False, True]]


@given(st.integers(1, 3000), st.floats(0, 1))
def test_exact_binomial_against_scipy(trials, share):
    successes = round(share * trials)
    expected = stats.binomtest(successes, trials).proportion_ci(0.95, "exact")
    low, high = exact_binomial_interval(successes, trials)
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert low <= successes / trials <= high


def test_exact_binomial_edges():
    low, high = exact_binomial_interval([0, 2000, 0, np.nan], [2000, 2000, 0, 5])
    assert (low[0], high[1]) == (0, 1)
    assert high[0] == pytest.approx(1 - 0.025 ** (1 / 2000)) and low[1] == pytest.approx(0.025 ** (1 / 2000))
    assert np.isnan(low[2:]).all() and np.isnan(high[2:]).all()


@pytest.mark.parametrize("trials", [5, 40])
def test_exact_binomial_coverage(trials):
    low, high = exact_binomial_interval(np.arange(trials + 1), trials)
    for rate in np.linspace(0.001, 0.999, 57):
        inside = (low <= rate) & (rate <= high)
        assert stats.binom.pmf(np.arange(trials + 1), trials, rate)[inside].sum() >= 0.95


@pytest.mark.parametrize("rates", [(0.05, 0.05), (0.02, 0.2), (0.001, 0.001), (0.4, 0.1)])
def test_paired_rate_coverage(rates):
    first, second = rates
    counts = np.random.default_rng(0).multinomial(200, [first, second, 1 - first - second], size=20_000)
    low, high = paired_rate_interval(counts[:, 0], counts[:, 1], 200)
    assert ((low <= first - second) & (first - second <= high)).mean() > 0.94


@given(st.integers(1, 2000), st.floats(0, 1), st.floats(0, 1))
def test_paired_rate_properties(pairs, discordant, share):
    total = round(discordant * pairs)
    first = round(share * total)
    second = total - first
    low, high = paired_rate_interval(first, second, pairs)
    assert -1 <= low <= (first - second) / pairs <= high <= 1
    assert low < high
    mirrored = paired_rate_interval(second, first, pairs)
    assert (low, high) == pytest.approx((-mirrored[1], -mirrored[0]))
    wider = paired_rate_interval(0, 0, pairs)
    assert wider[1] == pytest.approx(min(1, stats.norm.ppf(0.975) * 2**0.5 / (pairs + 2)))


@given(st.integers(1, 300), st.floats(0, 1), st.floats(0, 1))
def test_paired_rate_is_the_wald_interval_with_one_more_pair_each_way(pairs, discordant, share):
    first = round(share * round(discordant * pairs))
    second = round(discordant * pairs) - first
    differences = np.repeat([1, -1, 0], [first + 1, second + 1, pairs - first - second])
    expected = stats.norm.interval(0.95, differences.mean(), differences.std() / np.sqrt(len(differences)))
    assert paired_rate_interval(first, second, pairs) == pytest.approx(tuple(np.clip(expected, -1, 1)), rel=1e-12, abs=1e-12)


def test_no_pairs_is_nan():
    assert np.isnan(paired_rate_interval(0, 0, 0)).all()


def test_discordant_pairs_count_what_is_present():
    first = torch.tensor([1.0, 0.0, 1.0, 1.0]).double().reshape(4, 1, 1)
    second = torch.tensor([0.0, 1.0, 1.0, 0.0]).double().reshape(4, 1, 1)
    counts = DiscordantPairs(1, 1)
    counts.add(first[:2], second[:2], torch.ones(2, 1, dtype=torch.bool))
    counts.add(first[2:], second[2:], torch.tensor([[True], [False]]))
    assert (counts.only_first.item(), counts.only_second.item()) == (1, 1)
    assert counts.interval([3])[0].item() == paired_rate_interval(1, 1, 3)[0]
