"""Intervals over trials: bootstrap of means, medians, regression coefficients, rank correlations and best-k, with one seed.

The trial is the unit that is drawn again: its seed and its parameters are what another search would have changed. Not for:
intervals over sequences (`workbench/intervals.py`), whose Poisson weights are used here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, UInt8
from scipy import stats

from workbench.intervals import CONFIDENCE, poisson_weights

REPLICATES = 100_000
"""So that the widened intervals of some seventy checks rest on some forty replicates beyond each end."""
AT_ONCE = 10_000
"""Replicates that are in memory as numbers of eight bytes."""
RANK_REPLICATES = 2_000
SEED = 0
RIDGE = 1e-9
"""Added to the normal equations, relative to their size: a replicate may have missed a level altogether."""


@dataclass(frozen=True)
class Estimate:
    """A number with its bootstrap replicates."""

    value: float
    replicates: Float[np.ndarray, "replicate"]
    trials: int
    """how many trials it rests on"""

    def interval(self, confidence: float = CONFIDENCE) -> tuple[float, float]:
        """The central share of the replicates; NaN where there is no value, or one trial, which shows no spread."""
        if self.trials < 2 or np.isnan(self.value):
            return np.nan, np.nan
        tail = (1 - confidence) / 2
        low = np.nanquantile(self.replicates, tail, method="lower")  # no mean of a number and infinity
        return float(low), float(np.nanquantile(self.replicates, 1 - tail, method="higher"))

    def __sub__(self, other: "Estimate") -> "Estimate":
        """The difference of two estimates whose replicates drew the same trials with the same weights, or disjoint trials."""
        with np.errstate(invalid="ignore"):  # two infinite ones tell nothing of their difference
            replicates = self.replicates - other.replicates
        return Estimate(self.value - other.value, replicates, self.trials + other.trials)


def trial_weights(numbers: np.ndarray) -> Iterator[Float[np.ndarray, "replicate trial"]]:
    """Poisson(1) weights of every trial in every replicate, `AT_ONCE` replicates at a time.

    A weight is a pure function of (trial's number, replicate).
    """
    weights = _weights_of(tuple(int(number) for number in numbers))
    for first in range(0, REPLICATES, AT_ONCE):
        yield weights[first : first + AT_ONCE].astype(float)


@lru_cache(maxsize=1)
def _weights_of(numbers: tuple[int, ...]) -> UInt8[np.ndarray, "replicate trial"]:
    return np.stack([_weights_of_one(number) for number in numbers], axis=1)


@lru_cache(maxsize=8192)
def _weights_of_one(number: int) -> UInt8[np.ndarray, "replicate"]:
    return poisson_weights(SEED, torch.tensor([number]), REPLICATES)[0].to(torch.uint8).numpy()  # none is near 255


def mean(values: Float[np.ndarray, "trial"], numbers: np.ndarray) -> Estimate:
    """The mean over trials; of paired differences, the mean paired difference.

    Its replicates are studentised (bootstrap-t), so that an interval is long on the side of the long tail, where the plain
    percentiles of a skewed difference fall short: value - t x its standard error, with t the replicate's distance from the
    value in standard errors of its own. A replicate that drew equal values alone puts no bound on its side: the interval is
    infinite there if few trials differ from the rest.
    """
    if len(values) == 0:
        return Estimate(np.nan, np.full(REPLICATES, np.nan), 0)
    value = float(np.mean(values))
    centred = values - value
    error = np.sqrt(np.mean(centred**2) / len(values))
    if error == 0:
        return Estimate(value, np.full(REPLICATES, value), len(values))
    shifts, errors = zip(*(_shift_and_error(weights, centred) for weights in trial_weights(numbers)), strict=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        distance = np.concatenate(shifts) / np.concatenate(errors)
    return Estimate(value, value - distance * error, len(values))


def _shift_and_error(
    weights: Float[np.ndarray, "replicate trial"], centred: Float[np.ndarray, "trial"]
) -> tuple[Float[np.ndarray, "replicate"], Float[np.ndarray, "replicate"]]:
    """Each replicate's mean, and its standard error."""
    with np.errstate(invalid="ignore"):
        drawn = weights.sum(axis=1)
        shift = weights @ centred / drawn
        variance = weights @ centred**2 / drawn - shift**2
    tied = variance <= np.finfo(float).eps * np.max(centred**2)  # nothing but rounding
    return shift, np.where(tied, 0, np.sqrt(np.where(tied, 0, variance) / drawn))


def median(values: Float[np.ndarray, "trial"]) -> Estimate:
    """The median over trials; those of two rows of values, of the same trials in the same order, can be subtracted."""
    if len(values) == 0:
        return Estimate(np.nan, np.full(RANK_REPLICATES, np.nan), 0)
    again = np.random.default_rng(SEED).integers(0, len(values), (RANK_REPLICATES, len(values)))
    return Estimate(float(np.median(values)), np.median(values[again], axis=1), len(values))


def regression(
    design: Float[np.ndarray, "trial term"], values: Float[np.ndarray, "trial outcome"], numbers: np.ndarray
) -> list[list[Estimate]]:
    """Least-squares coefficients of every outcome on the same terms: `result[outcome][term]`; bootstrap over trials."""
    terms = design.shape[1]
    outer = (design[:, :, None] * design[:, None, :]).reshape(len(design), -1)

    def coefficients(weights: Float[np.ndarray, "replicate trial"]) -> Float[np.ndarray, "replicate term outcome"]:
        normal = (weights @ outer).reshape(-1, terms, terms)
        normal += RIDGE * np.einsum("rtt->r", normal)[:, None, None] * np.eye(terms)
        return np.linalg.solve(normal, np.stack([weights @ (design * one[:, None]) for one in values.T], axis=-1))

    replicates = np.concatenate([coefficients(weights) for weights in trial_weights(numbers)])
    fitted = np.linalg.lstsq(design, values, rcond=None)[0]
    return [
        [Estimate(float(fitted[term, outcome]), replicates[:, term, outcome], len(design)) for term in range(terms)]
        for outcome in range(values.shape[1])
    ]


def rank_correlation(
    first: Float[np.ndarray, "trial"],
    second: Float[np.ndarray, "trial"],
    held_equal: Float[np.ndarray, "trial term"] | None = None,
) -> Estimate:
    """Spearman's rank correlation, in [-1, 1]; NaN where either is constant. Trials are drawn again with their ranks anew.

    With `held_equal`, terms of which one is constant, the partial one: of what the terms leave of both ranks in least squares.
    """
    if len(first) < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return Estimate(np.nan, np.full(RANK_REPLICATES, np.nan), len(first))
    terms = np.ones((len(first), 1)) if held_equal is None else held_equal
    again = np.random.default_rng(SEED).integers(0, len(first), (RANK_REPLICATES, len(first)))
    drawn = np.concatenate([np.arange(len(first))[None], again])
    basis = np.linalg.qr(terms[drawn])[0]
    left = []
    for values in (first, second):
        rank = stats.rankdata(values[drawn], axis=1)
        left.append(rank - np.einsum("rtb,rsb,rs->rt", basis, basis, rank, optimize=True))
    spread = np.sqrt((left[0] ** 2).sum(axis=1) * (left[1] ** 2).sum(axis=1))
    with np.errstate(invalid="ignore"):
        correlation = (left[0] * left[1]).sum(axis=1) / np.where(spread > 0, spread, np.nan)
    return Estimate(float(correlation[0]), correlation[1:], len(first))


def best_mean(values: Float[np.ndarray, "trial"], k: int, draws: int, seed: int) -> Estimate:
    """Mean of the k least of `draws` trials drawn from those there are.

    The value is the mean over draws without replacement, the interval comes from draws with it. Equal `draws` make groups of
    different sizes comparable: the best of more trials is better by itself.
    """
    random = np.random.default_rng((SEED, seed))

    def best(drawn: np.ndarray) -> np.ndarray:
        return np.sort(values[drawn], axis=1)[:, :k].mean(axis=1)

    order = random.random((RANK_REPLICATES, len(values))).argsort(axis=1)[:, :draws]
    again = random.integers(0, len(values), (RANK_REPLICATES, draws))
    return Estimate(float(best(order).mean()), best(again), len(values))
