"""Linear probes of the board: one linear reading of the residual stream a layer, square and state; fitted in closed form.

For: the probe itself, and its exact least-squares fit from streamed moments, for every layer and square together. Not for:
probes fitted by gradient (`gradient_fit.py`), nor their scores (`board_scores.py`).
"""

from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float, Float64
from torch import Tensor

RIDGE = 1e-4


@dataclass(frozen=True)
class LinearProbe:
    """Scores = stream @ weight + bias; the state read is the one of the greatest score."""

    weight: Float[Tensor, "layer width square state"]
    bias: Float[Tensor, "layer square state"]
    pattern: Float[Tensor, "layer width square state"]
    """covariance of the stream @ weight: how the stream moves where a score is high (Haufe et al. 2014, "On the interpretation
    of weight vectors of linear models in multivariate neuroimaging"). The weight is the direction to read along; to move the
    stream the way the model does, one moves it along the pattern."""

    def scores(self, layer: int, stream: Float[Tensor, "row width"]) -> Float[Tensor, "row square state"]:
        """The score of each state of each square; in closed form an estimate of its probability, though not inside [0, 1]."""
        flat = torch.addmm(self.bias[layer].flatten(), stream, self.weight[layer].flatten(1))
        return flat.unflatten(1, self.bias.shape[1:])


class Moments:
    """Running second moments of the stream and its targets, of every layer: all that a least-squares fit needs.

    Products of a batch are float32 matrix products of features shifted by their mean over the first batch, and are summed in
    float64; so the fit is within float32 rounding of one batch, however many batches there are.
    """

    def __init__(self, layers: int, width: int, columns: int, device: torch.device | str = "cpu"):
        """Memory is layers x width x (width + columns) float64 numbers, whatever the number of positions."""
        self.layers, self.width = layers, width
        self.rows = [0] * layers
        self._shift = torch.zeros(layers, width, dtype=torch.float32, device=device)
        shapes = ((width,), (columns,), (width, width), (width, columns))
        sums = (torch.zeros(layers, *shape, dtype=torch.float64, device=device) for shape in shapes)
        self._x, self._y, self._xx, self._xy = sums

    def add(self, layer: int, stream: Float[Tensor, "row width"], target: Float[Tensor, "row column"]) -> None:
        """Adds a batch of positions to one layer; a batch without positions adds nothing."""
        if not len(stream):
            return
        if not self.rows[layer]:
            self._shift[layer] = stream.mean(0)
        shifted = stream - self._shift[layer]
        self.rows[layer] += len(stream)
        self._x[layer] += shifted.sum(0)
        self._y[layer] += target.sum(0)
        self._xx[layer] += shifted.T @ shifted
        self._xy[layer] += shifted.T @ target

    def mean(self, layer: int) -> Float64[Tensor, "width"]:
        """The mean stream."""
        return self._shift[layer] + self._x[layer] / self.rows[layer]

    def target_mean(self, layer: int) -> Float64[Tensor, "column"]:
        """The mean target."""
        return self._y[layer] / self.rows[layer]

    def covariance(self, layer: int) -> Float64[Tensor, "width width"]:
        """The covariance of the stream (divided by the number of rows)."""
        rows = self.rows[layer]
        return (self._xx[layer] - torch.outer(self._x[layer], self._x[layer]) / rows) / rows

    def cross_covariance(self, layer: int) -> Float64[Tensor, "width column"]:
        """The covariance of stream and target."""
        rows = self.rows[layer]
        return (self._xy[layer] - torch.outer(self._x[layer], self._y[layer]) / rows) / rows


def with_penalty(covariance: Float64[Tensor, "width width"], ridge: float) -> Float64[Tensor, "width width"]:
    """The covariance plus `ridge` times its mean diagonal on the diagonal; the identity where the stream never varies."""
    scale = covariance.diagonal().mean()
    scale = torch.where(scale > 0, ridge * scale, 1.0)
    return covariance + scale * torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)


def require_ridge(ridge: float) -> None:
    """Raises ValueError for a penalty that is not > 0."""
    if not ridge > 0:
        raise ValueError(
            f"ridge {ridge} leaves a stream of lower rank without a unique fit, expected a value > 0; use {RIDGE:g}"
        )


def closed_form(moments: Moments, squares: int, target: int = 0, ridge: float = RIDGE) -> LinearProbe:
    """The least-squares probe of every layer and square: ridge regression onto the indicators of the states.

    Minimises mean |indicator - stream @ weight - bias|^2 + penalty |weight|^2 with an unpenalised bias, solved in float64. The
    penalty is `ridge` times the mean variance of a stream coordinate, so that it means the same at every layer. Limits: a
    stream that never varies gives weight 0 and the base rates as bias; ridge -> 0 gives ordinary least squares.

    Args:
        moments: with columns (target, state 0 or 1, square), as `Positions.indicators` has them. State 2 is 1 minus the others,
            and so is its fit, exactly.
        squares: number of squares.
        target: which target of the moments.
        ridge: > 0, relative penalty.
    """
    require_ridge(ridge)
    columns = slice(2 * squares * target, 2 * squares * (target + 1))
    fits = [_solve(moments, layer, columns, ridge) for layer in range(moments.layers)]
    weight, bias, pattern = (_third_state(torch.stack(parts), squares) for parts in zip(*fits, strict=True))
    bias[..., 2] += 1
    return LinearProbe(weight.float(), bias.float(), pattern.float())


def _solve(moments: Moments, layer: int, columns: slice, ridge: float) -> tuple[Tensor, Tensor, Tensor]:
    covariance = moments.covariance(layer)
    weight = torch.linalg.solve(with_penalty(covariance, ridge), moments.cross_covariance(layer)[:, columns])
    bias = moments.target_mean(layer)[columns] - moments.mean(layer) @ weight
    return weight, bias, covariance @ weight


def _third_state(two: Float64[Tensor, "layer *rest column"], squares: int) -> Float64[Tensor, "layer *rest square state"]:
    """Columns (state 0 or 1, square) to square and state 0, 1, 2, where the three states sum to 0."""
    two = rearrange(two, "... (state square) -> ... square state", square=squares)
    return torch.cat([two, -two.sum(-1, keepdim=True)], dim=-1)
