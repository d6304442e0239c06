"""Quantiles of many cells at once from a histogram of fixed bins: memory does not grow with the number of values.

A quantile is within one bin width, (high - low) / bins, of the exact one; inside a bin values count as spread evenly, and no
quantile lies outside the least and greatest value.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

BINS = 512


class StreamedQuantiles:
    """Running histograms over [low, high], one for each cell of a shape; values outside count as the end they are beyond."""

    def __init__(self, *shape: int, low: float = 0.0, high: float = 1.0, bins: int = BINS):
        """Memory is `bins` int64 numbers a cell."""
        self.low, self.high, self.bins = low, high, bins
        self.counts = torch.zeros(*shape, bins, dtype=torch.int64)
        self._least, self._greatest = torch.full(shape, torch.inf), torch.full(shape, -torch.inf)

    @property
    def resolution(self) -> float:
        """The greatest error of a quantile."""
        return (self.high - self.low) / self.bins

    def add(
        self, values: Float[Tensor, "sequence *shape"], present: Bool[Tensor, "sequence *shape"], at: int | None = None
    ) -> None:
        """Adds a batch; values that are not present are left out.

        `at` is the index on the first axis of the cells they go to; when not given, they go to all cells.
        """
        cells = ... if at is None else at
        counts, least, greatest = self.counts[cells], self._least[cells], self._greatest[cells]
        values, present = values.cpu(), present.cpu()
        bin_of = ((values - self.low) / self.resolution).floor().clamp(0, self.bins - 1).long()
        cell = torch.arange(counts[..., 0].numel()).reshape(counts.shape[:-1])
        flat = (cell * self.bins + bin_of)[present]
        torch.minimum(least, values.masked_fill(~present, torch.inf).amin(0), out=least)
        torch.maximum(greatest, values.masked_fill(~present, -torch.inf).amax(0), out=greatest)
        counts += torch.bincount(flat, minlength=counts.numel()).reshape(counts.shape)

    def quantile(self, share: float) -> Float64[np.ndarray, "*shape"]:
        """The value below which `share` in (0, 1) of each cell's values lie; NaN for a cell without values."""
        counts = self.counts.double()
        below = counts.cumsum(-1)
        total = below[..., -1:]
        wanted = share * total
        at = (below < wanted).sum(-1, keepdim=True).clamp(max=self.bins - 1)
        here = counts.gather(-1, at)
        inside = (wanted - (below.gather(-1, at) - here)) / here
        found = (self.low + (at + inside) * self.resolution)[..., 0]
        within = found.clamp(self._least.double(), self._greatest.double())
        return torch.where(total[..., 0] > 0, within, torch.nan).numpy()
