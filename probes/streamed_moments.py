"""Mean and spread of numbers that come in batches: memory does not grow with how many there are.

The sums of squares of batches are joined about their own means (Chan, Golub and LeVeque 1983, "Algorithms for computing the
sample variance"), so that a small spread beside a large mean keeps its digits.
"""

import math

import numpy as np
from jaxtyping import Float64


class StreamedMoments:
    """Running count, mean and sum of squares about the mean of single numbers."""

    def __init__(self) -> None:
        self.count = 0
        self.mean = math.nan
        self._squares = 0.0

    def add(self, values: Float64[np.ndarray, "*shape"]) -> None:
        """Adds a batch of at least one number."""
        mean, count = float(values.mean()), self.count + values.size
        self._squares += float(np.square(values - mean).sum())
        if self.count:
            change = mean - self.mean
            self._squares += change**2 * self.count * values.size / count
            mean = self.mean + change * values.size / count
        self.count, self.mean = count, mean

    @property
    def standard_deviation(self) -> float:
        """Of all the numbers themselves, not of what they are drawn from; 0 where they are equal."""
        return math.sqrt(self._squares / self.count)

    @property
    def standard_error(self) -> float:
        """Of the mean, for independent numbers; NaN for a single one."""
        return math.sqrt(self._squares / (self.count - 1) / self.count) if self.count > 1 else math.nan
