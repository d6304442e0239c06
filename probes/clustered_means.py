"""Means over sequences with 95 % intervals, from streamed sums: memory does not grow with the number of sequences.

Positions of one sequence are not independent, so the sequence is the unit: an interval never treats 59 positions of a game as
59 observations. The mean is a ratio of sums over sequences and its variance the linearised one (Cochran 1977, "Sampling
Techniques", section 6.3; the same as resampling sequences, to first order). For shares, in [0, 1], the interval is Wilson's
with the number of observations that would give that variance (the design effect of Korn and Graubard 1998), so that all right
on 600 sequences is not [1, 1].
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Float64
from torch import Tensor

Interval = tuple[Float64[np.ndarray, "*shape"], Float64[np.ndarray, "*shape"]]

Z = 1.959963984540054
"""The 97.5 % point of the normal distribution."""


class ClusteredMeans:
    """Running ratios of sums, one for each cell of a shape."""

    def __init__(self, *shape: int):
        """Memory is seven float64 numbers a cell."""
        zeros = torch.zeros(shape, dtype=torch.float64)
        self._total, self._weight, self._total2, self._cross, self._weight2, self._present = (zeros.clone() for _ in range(6))

    def add(
        self, total: Float[Tensor, "sequence *shape"], weight: Float[Tensor, "sequence *shape"], at: int | None = None
    ) -> None:
        """Adds a batch of sequences: of each, the sum of its values and how many they are (0 where it has none).

        `at` is the index on the first axis of the cells they go to; when not given, they go to all cells.
        """
        where = ... if at is None else at
        total, weight = total.double().cpu(), weight.double().cpu()
        self._total[where] += total.sum(0)
        self._weight[where] += weight.sum(0)
        self._total2[where] += (total * total).sum(0)
        self._cross[where] += (total * weight).sum(0)
        self._weight2[where] += (weight * weight).sum(0)
        self._present[where] += (weight > 0).sum(0)

    @property
    def sequences(self) -> Float64[np.ndarray, "*shape"]:
        """How many sequences had a value in each cell."""
        return self._present.numpy()

    def means(self) -> Float64[np.ndarray, "*shape"]:
        """The means; NaN where no sequence had a value."""
        return (self._total / self._weight).numpy()

    def variances(self) -> Float64[np.ndarray, "*shape"]:
        """Sampling variances of the means over sequences; NaN where fewer than two had a value."""
        mean = self._total / self._weight
        spread = (self._total2 - 2 * mean * self._cross + mean**2 * self._weight2).clamp(min=0)
        n = self._present
        return torch.where(n > 1, n / (n - 1) * spread / self._weight**2, torch.nan).numpy()

    def intervals(self) -> Interval:
        """Mean -+ 1.96 standard errors."""
        mean, half = self.means(), Z * np.sqrt(self.variances())
        return mean - half, mean + half

    def frame(self, metric: str, *, shares: bool = False, **axes: Sequence) -> pd.DataFrame:
        """Tidy: one row a cell, with a column for each axis, `metric`, `value`, `ci_low`, `ci_high` and `sequences`.

        Args:
            metric: what the column `metric` says.
            shares: the values are in [0, 1], so that their interval is `share_intervals`.
            axes: the name of each axis of the shape, in order, and its values.
        """
        cells: pd.DataFrame = pd.MultiIndex.from_product(list(axes.values()), names=list(axes)).to_frame(index=False)
        low, high = self.share_intervals() if shares else self.intervals()
        numbers = {"value": self.means(), "ci_low": low, "ci_high": high, "sequences": self.sequences.astype(np.int64)}
        return cells.assign(metric=metric, **{name: array.ravel() for name, array in numbers.items()})

    def share_intervals(self) -> Interval:
        """Wilson's interval for means of values in [0, 1]; inside [0, 1] and never of no width."""
        mean, variance, n = self.means(), self.variances(), self.sequences
        with np.errstate(divide="ignore", invalid="ignore"):
            observations = np.minimum(mean * (1 - mean) / variance, self._weight.numpy())
        observations = np.where(variance > 0, observations, n)
        observations = np.where(np.isnan(variance), np.nan, observations)
        centre = (mean + Z**2 / (2 * observations)) / (1 + Z**2 / observations)
        half = Z / (1 + Z**2 / observations) * np.sqrt(mean * (1 - mean) / observations + Z**2 / (4 * observations**2))
        return centre - half, centre + half
