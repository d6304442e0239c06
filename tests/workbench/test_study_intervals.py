"""Bootstrap over trials, against closed forms, brute force and scipy."""

import itertools

import numpy as np
import pytest
from scipy import stats

from workbench.study_intervals import Estimate, best_mean, mean, median, rank_correlation, regression


def test_the_interval_of_a_mean_covers_it_as_often_as_it_says():
    random, covered = np.random.default_rng(0), 0
    for _ in range(200):
        low, high = mean(random.exponential(size=60), np.arange(60)).interval()
        covered += low < 1 < high
    assert stats.binomtest(covered, 200, 0.95).pvalue > 1e-3


def test_the_interval_of_a_mean_that_a_few_values_carry_covers_it_nearly_as_often():
    """As of paired differences, most of which are next to nothing: percentiles of the replicates' means cover 4 of 5 here."""
    random, covered = np.random.default_rng(0), 0
    for _ in range(200):
        values = np.where(random.random(87) < 0.15, random.exponential(size=87), 0)
        low, high = mean(values, np.arange(87)).interval()
        covered += low < 0.15 < high
    assert covered >= 0.92 * 200


def test_a_mean_of_equal_values_is_certain_and_one_that_differs_is_not():
    assert mean(np.full(9, 0.3), np.arange(9)).interval() == (0.3, 0.3)
    low, high = mean(np.array([0.0] * 8 + [1.0]), np.arange(9)).interval()
    assert low < 0 and high == np.inf  # a third of the replicates has not seen the one that differs


def test_the_interval_of_a_median_is_that_of_order_statistics():
    values = np.random.default_rng(6).permutation(np.arange(1, 101.0))
    estimate = median(values)
    low, high = estimate.interval()
    assert estimate.value == 50.5 and estimate.trials == 100
    exact = stats.binom.ppf((0.025, 0.975), 100, 0.5)  # the 40th and the 61st of 100 enclose it in 95 % of samples
    assert [low, high] == pytest.approx([exact[0], exact[1] + 1], abs=1.5)
    assert (median(values + 3) - estimate).interval() == (3, 3)
    assert np.isnan([median(np.empty(0)).value, *median(np.empty(0)).interval()]).all()


def test_wider_confidence_gives_wider_intervals_and_no_trials_give_none():
    estimate = mean(np.random.default_rng(1).normal(size=40), np.arange(40))
    narrow, wide = estimate.interval(), estimate.interval(0.999)
    assert wide[0] < narrow[0] < estimate.value < narrow[1] < wide[1]
    for few in (mean(np.empty(0), np.empty(0, dtype=np.int64)), mean(np.ones(1), np.zeros(1, dtype=np.int64))):
        assert np.isnan(few.interval()).all()


def test_paired_differences_are_narrower_than_what_the_two_intervals_suggest():
    random, numbers = np.random.default_rng(2), np.arange(80)
    shared = random.normal(size=80)
    first, second = mean(shared + 0.01 * random.normal(size=80), numbers), mean(shared, numbers)
    low, high = (first - second).interval()
    assert high - low < 0.1 * np.subtract(*reversed(first.interval()))
    assert (first - second).value == pytest.approx(first.value - second.value, abs=1e-15)


def test_regression_agrees_with_scipy_in_value_and_standard_error():
    random, numbers = np.random.default_rng(3), np.arange(400)
    x = random.normal(size=400)
    y = 0.7 * x + random.normal(size=400)
    ((slope, constant),) = regression(np.stack([x, np.ones(400)], axis=1), y[:, None], numbers)
    expected = stats.linregress(x, y)
    assert slope.value == pytest.approx(expected.slope, rel=1e-10)
    assert constant.value == pytest.approx(expected.intercept, rel=1e-10)
    assert slope.replicates.std() == pytest.approx(expected.stderr, rel=0.15)
    assert slope.replicates.mean() == pytest.approx(expected.slope, abs=0.01)


def test_rank_correlation_is_spearmans_and_its_interval_has_the_known_width():
    random = np.random.default_rng(4)
    x = random.normal(size=200)
    y = np.exp(x + random.normal(size=200))
    estimate = rank_correlation(x, y)
    assert estimate.value == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)
    assert estimate.value == pytest.approx(rank_correlation(x**3, np.log(y)).value, abs=1e-12)  # ranks alone matter
    low, high = np.arctanh(estimate.interval())
    width = 2 * 1.96 * np.sqrt((1 + estimate.value**2 / 2) / 197)  # Bonett and Wright 2000
    assert high - low == pytest.approx(width, rel=0.25)
    assert np.isnan(rank_correlation(np.ones(10), x[:10]).value)


def test_a_rank_correlation_with_the_rest_held_equal_is_the_partial_one():
    random = np.random.default_rng(5)
    common = random.normal(size=(300, 2))
    x, y = (np.exp(common @ (1, -0.5) + random.normal(size=300)) for _ in range(2))  # nothing in common but that
    terms = np.column_stack([common, np.ones(300)])
    estimate = rank_correlation(x, y, terms)
    precision = np.linalg.inv(np.cov(np.stack([stats.rankdata(x), stats.rankdata(y), *common.T])))
    assert estimate.value == pytest.approx(-precision[0, 1] / np.sqrt(precision[0, 0] * precision[1, 1]), abs=1e-9)
    low, high = estimate.interval()
    assert low < 0 < high < 0.2 < 0.4 < rank_correlation(x, y).interval()[0]
    driven = rank_correlation(x, y + 3 * x, terms)
    assert driven.interval()[0] > 0.3


def test_the_best_of_fewer_draws_is_the_mean_over_all_subsets():
    values = np.array([3.0, 1.0, 4.0, 1.5, 9.0, 2.6])
    expected = np.mean([sorted(subset)[:2] for subset in itertools.combinations(values, 4)])
    estimate = best_mean(values, 2, 4, seed=0)
    assert estimate.value == pytest.approx(expected, abs=0.03)
    assert best_mean(values, 2, 6, seed=0).value == pytest.approx(1.25)
    assert (best_mean(values, 2, 6, seed=0) - best_mean(values - 1, 2, 6, seed=0)).interval() == pytest.approx((1, 1))


def test_estimates_of_disjoint_trials_subtract():
    first, second = Estimate(2.0, np.array([1.0, 3.0]), 5), Estimate(0.5, np.array([0.0, 1.0]), 7)
    difference = first - second
    assert (difference.value, difference.trials) == (1.5, 12)
    assert difference.replicates.tolist() == [1.0, 2.0]
