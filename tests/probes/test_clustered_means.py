import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from probes.clustered_means import ClusteredMeans


def clustered(rows: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Shares of sequences that differ in their own rate, with 5 to 20 values each."""
    random = np.random.default_rng(seed)
    weight = random.integers(5, 21, rows)
    total = random.binomial(weight, random.beta(8, 2, rows))
    return torch.tensor(total)[:, None].double(), torch.tensor(weight)[:, None].double()


def test_mean_is_the_ratio_of_sums_and_the_variance_that_of_resampled_sequences():
    total, weight = clustered(300, seed=0)
    means = ClusteredMeans(1)
    means.add(total, weight)
    random = np.random.default_rng(1)
    picks = random.integers(0, 300, (4000, 300))
    resampled = (total.numpy()[picks, 0].sum(1) / weight.numpy()[picks, 0].sum(1)).std()
    assert means.means()[0] == pytest.approx(float(total.sum() / weight.sum()))
    assert np.sqrt(means.variances()[0]) == pytest.approx(resampled, rel=0.05)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=5))
@settings(max_examples=25, deadline=None)
def test_batches_do_not_matter(sizes):
    total, weight = clustered(sum(sizes), seed=sum(sizes))
    whole, parts = ClusteredMeans(1), ClusteredMeans(1)
    whole.add(total, weight)
    for part_total, part_weight in zip(total.split(sizes), weight.split(sizes), strict=True):
        parts.add(part_total, part_weight)
    np.testing.assert_allclose(whole.share_intervals(), parts.share_intervals(), rtol=1e-9, equal_nan=True)


@pytest.mark.parametrize("kind", ["intervals", "share_intervals"])
def test_intervals_cover_the_true_mean(kind):
    hits = 0
    for seed in range(400):
        means = ClusteredMeans(1)
        means.add(*clustered(60, seed))
        low, high = getattr(means, kind)()
        hits += bool(low[0] <= 0.8 <= high[0])
    assert 0.92 <= hits / 400 <= 0.98


def test_an_interval_of_equal_shares_has_a_width_and_stays_inside():
    means = ClusteredMeans(3)
    means.add(torch.tensor([[10.0, 0.0, 5.0]] * 50), torch.full((50, 3), 10.0))
    low, high = means.share_intervals()
    assert (low >= 0).all() and (high <= 1).all() and (high - low > 0.01).all()
    assert high[0] == pytest.approx(1) and low[1] == pytest.approx(0)


def test_cells_without_enough_sequences_are_nan():
    means = ClusteredMeans(2)
    means.add(torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0]]))
    assert means.means()[0] == 1 and np.isnan(means.means()[1])
    assert np.isnan(means.share_intervals()[0]).all()
    assert means.sequences.tolist() == [1, 0]
