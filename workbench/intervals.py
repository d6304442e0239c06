"""95 % intervals over sequences, from streaming sums: memory does not grow with the number of sequences.

Means: Poisson bootstrap. Every replicate gives every sequence an independent Poisson(1) weight (Hanley and MacGibbon 2006,
"Creating non-parametric bootstrap samples using Poisson frequencies"), a pure function of (seed, sequence index, replicate).
So intervals do not depend on the batch size, and checkpoints that see the same sequences share the weights: the interval of a
difference is that of the replicates' differences. Rates: the exact binomial interval of Clopper and Pearson (1934), so that 0
of 2,000 is not [0, 0]. Differences of paired rates: the adjusted Wald interval of Bonett and Price (2012, "Adjusted Wald
Confidence Interval for a Difference of Binomial Proportions Based on Paired Data"), which has a width at zero discordant pairs.

They are intervals over sequences alone; the spread over training seeds is another matter (`comparison`). Not for probes, where
positions of a sequence are averaged (`probes/clustered_means.py`), nor for searches (`study_intervals.py`).
"""

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int64
from numpy.typing import ArrayLike
from scipy import stats
from torch import Tensor

from models.random_stream import draws
from models.streams import Draw

CONFIDENCE = 0.95
REPLICATES = 1000

Interval = tuple[Float[np.ndarray, "*shape"], Float[np.ndarray, "*shape"]]

_TAILS = ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)
_POISSON_CDF = torch.from_numpy(stats.poisson.cdf(np.arange(20), 1))  # 1 - cdf(19) < 2**-53, the grain of the uniforms


def poisson_weights(seed: int, indices: Int64[Tensor, "batch"], replicates: int) -> Float[Tensor, "batch replicate"]:
    """Bootstrap weights: independent Poisson(1) counts in float64, a pure function of (seed, index, replicate)."""
    uniform = ((draws(Draw.BOOTSTRAP.stream(seed), indices, replicates) >> 11) & ((1 << 53) - 1)).double() * 2.0**-53
    return torch.bucketize(uniform, _POISSON_CDF.to(uniform.device), right=True).double()


class BootstrapMeans:
    """Running means of several metrics at several lengths over sequences, with their bootstrap replicates."""

    def __init__(self, metrics: int, lengths: int, replicates: int = REPLICATES):
        """Memory is replicates x metrics x lengths numbers, whatever the number of sequences."""
        self.count = torch.zeros(lengths, dtype=torch.int64)
        self._sum = torch.zeros(metrics, lengths, dtype=torch.float64)
        self._weight = torch.zeros(replicates, lengths, dtype=torch.float64)
        self._weighted = torch.zeros(replicates, metrics * lengths, dtype=torch.float64)

    def add(
        self,
        values: Float[Tensor, "batch metric length"],
        present: Bool[Tensor, "batch length"],
        weights: Float[Tensor, "batch replicate"],
    ) -> None:
        """Adds a batch of sequences; where `present` is False a sequence has no value at that length and is left out of it."""
        values = values.masked_fill(~rearrange(present, "batch length -> batch 1 length"), 0)
        self.count += present.sum(dim=0)
        self._sum += values.sum(dim=0)
        self._weight.addmm_(weights.T, present.double())
        self._weighted.addmm_(weights.T, rearrange(values, "batch metric length -> batch (metric length)"))

    def means(self) -> Float[np.ndarray, "metric length"]:
        """The means; NaN where no sequence was present."""
        return (self._sum / self.count).numpy()

    def replicate_means(self) -> Float[np.ndarray, "replicate metric length"]:
        """The means under each replicate's weights; NaN where fewer than two sequences were present, which show no spread."""
        weight = rearrange(self._weight.masked_fill(self.count < 2, torch.nan), "replicate length -> replicate 1 length")
        weighted = rearrange(self._weighted, "replicate (metric length) -> replicate metric length", length=len(self.count))
        return (weighted / weight).numpy()


def percentile_interval(replicates: Float[np.ndarray, "replicate *shape"]) -> Interval:
    """The central 95 % of bootstrap replicates; a replicate that drew no sequence at all is skipped, all NaN give NaN."""
    with np.errstate(invalid="ignore"):  # infinite values have no distance
        low, high = np.quantile(replicates, _TAILS, axis=0)
    unknown = np.isnan(replicates)
    some = unknown.any(axis=0) & ~unknown.all(axis=0)
    if some.any():
        low[some], high[some] = np.nanquantile(replicates[:, some], _TAILS, axis=0)
    return low, high


def exact_binomial_interval(successes: ArrayLike, trials: ArrayLike) -> Interval:
    """Clopper-Pearson: covers the rate with probability at least 95 % for every rate and number of trials.

    0 of n gives [0, 1 - 0.025^(1/n)], n of n gives [0.025^(1/n), 1]; no trials, or NaN successes, give NaN.
    """
    successes, trials = np.broadcast_arrays(np.asarray(successes, float), np.asarray(trials, float))
    with np.errstate(invalid="ignore"):
        low = np.where(successes == 0, 0.0, stats.beta.ppf(_TAILS[0], successes, trials - successes + 1))
        high = np.where(successes == trials, 1.0, stats.beta.ppf(_TAILS[1], successes + 1, trials - successes))
    unknown = (trials == 0) | np.isnan(successes)
    return np.where(unknown, np.nan, low), np.where(unknown, np.nan, high)


def paired_rate_interval(only_first: ArrayLike, only_second: ArrayLike, pairs: ArrayLike) -> Interval:
    """Bonett and Price's interval of rate(first) - rate(second) over pairs, clipped to [-1, 1]; no pairs give NaN.

    Args:
        only_first: pairs where the first is 1 and the second 0.
        only_second: pairs where the first is 0 and the second 1; with both 0 the interval is +-1.96 sqrt(2) / (pairs + 2).
        pairs: number of pairs in all.
    """
    n = np.asarray(pairs, float) + 2
    first, second = (np.asarray(only_first, float) + 1) / n, (np.asarray(only_second, float) + 1) / n
    centre = first - second
    half_width = stats.norm.ppf(_TAILS[1]) * np.sqrt((first + second - centre**2) / n)
    unknown = np.asarray(pairs) == 0
    low, high = np.clip(centre - half_width, -1, 1), np.clip(centre + half_width, -1, 1)
    return np.where(unknown, np.nan, low), np.where(unknown, np.nan, high)


class DiscordantPairs:
    """Running counts of the sequences on which two models' 0/1 metrics differ."""

    def __init__(self, metrics: int, lengths: int):
        """One count each way for every metric and length."""
        self.only_first = torch.zeros(metrics, lengths, dtype=torch.float64)
        self.only_second = torch.zeros(metrics, lengths, dtype=torch.float64)

    def add(
        self,
        first: Float[Tensor, "batch metric length"],
        second: Float[Tensor, "batch metric length"],
        present: Bool[Tensor, "batch length"],
    ) -> None:
        """Adds a batch of sequences seen by both; values are 0 or 1, a NaN of a present sequence makes the count NaN."""
        difference = (first - second).masked_fill(~rearrange(present, "batch length -> batch 1 length"), 0)
        self.only_first += difference.clamp(min=0).sum(dim=0)
        self.only_second += (-difference).clamp(min=0).sum(dim=0)

    def interval(self, pairs: ArrayLike) -> Interval:
        """The interval of rate(first) - rate(second) for every metric and length, of `pairs` sequences at each length."""
        return paired_rate_interval(self.only_first.numpy(), self.only_second.numpy(), pairs)
