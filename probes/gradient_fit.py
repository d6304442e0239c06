"""Probes fitted by gradient: multinomial logistic, and two-layer nonlinear; minibatches stream by, nothing is kept.

For: fits that minimise the cross-entropy of the states. Both start at the closed-form linear probe and see whitened streams
(each direction of variance 1), so that few passes over few games suffice and one learning rate serves every layer: Adam (Kingma
and Ba 2015), its rate falling linearly to 0. Not for: the loop over games (`harvest.py`).
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Float64, Int8
from torch import Tensor

from probes.linear_probe import RIDGE, LinearProbe, Moments, with_penalty
from probes.nonlinear_probe import NonlinearProbe

LEARNING_RATE = 3e-3
SHARPNESS = 6.0
"""Closed-form scores times this are logits of about the least cross-entropy: where both fits start from."""
HIDDEN_PER_SQUARE = 8


class Whitening:
    """The change of coordinates (stream - mean) @ matrix in which the stream of a layer has about unit covariance."""

    def __init__(self, moments: Moments, layer: int):
        """Directions of almost no variance (below `RIDGE` of the mean) are not blown up."""
        self.mean = moments.mean(layer)
        self.covariance = moments.covariance(layer)
        variance, axes = torch.linalg.eigh(with_penalty(self.covariance, RIDGE))
        self.matrix: Float64[Tensor, "width width"] = axes * variance.rsqrt()
        self.inverse: Float64[Tensor, "width width"] = (axes * variance.sqrt()).T
        self._mean, self._matrix = self.mean.float(), self.matrix.float()

    def __call__(self, stream: Float[Tensor, "row width"]) -> Float[Tensor, "row width"]:
        """The stream in these coordinates."""
        return (stream - self._mean) @ self._matrix

    def unfold(
        self, weight: Float[Tensor, "width column"], bias: Float[Tensor, "column"]
    ) -> tuple[Float64[Tensor, "width column"], Float64[Tensor, "column"]]:
        """Weight and bias on the stream itself, of weight and bias on these coordinates."""
        own = self.matrix @ weight.double()
        return own, bias.double() - self.mean @ own


class GradientFit:
    """The fit of one layer of one probe: Adam on cross-entropy."""

    def __init__(self, whitening: Whitening, start: list[Float[Tensor, "..."]], steps: int):
        """`start` is weight and bias, alternating, of each layer of the net; `steps` is how many minibatches will come."""
        self.whitening = whitening
        self._parameters = [tensor.float().clone().requires_grad_() for tensor in start]
        self._optimiser = torch.optim.Adam(self._parameters, lr=LEARNING_RATE)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._optimiser, lambda step: max(0.0, 1 - step / steps))

    def step(self, stream: Float[Tensor, "row width"], state: Int8[Tensor, "row square"]) -> None:
        """One minibatch; one without positions is skipped."""
        if not len(stream):
            return
        whitened = self.whitening(stream)
        with torch.enable_grad():
            scores = rearrange(self._net(whitened), "row (square state) -> (row square) state", state=3)
            loss = F.cross_entropy(scores, rearrange(state, "row square -> (row square)").long())
            loss.backward()
        self._optimiser.step()
        self._optimiser.zero_grad()
        self._schedule.step()

    def arrived(self) -> list[Float[Tensor, "..."]]:
        """Weight and bias, alternating, as they are now, on whitened coordinates."""
        return [parameter.detach() for parameter in self._parameters]

    def _net(self, x: Float[Tensor, "row width"]) -> Float[Tensor, "row column"]:
        *hidden, weight, bias = self._parameters
        if hidden:
            x = torch.addmm(hidden[1], x, hidden[0]).relu()
        return torch.addmm(bias, x, weight)


def logistic_fits(moments: Moments, start: LinearProbe, steps: int) -> list[GradientFit]:
    """The fit of a multinomial logistic probe for every layer."""
    fits = []
    for layer in range(len(start.weight)):
        whitening = Whitening(moments, layer)
        weight, bias = _whitened(start, layer, whitening)
        fits.append(GradientFit(whitening, [SHARPNESS * weight, SHARPNESS * bias], steps))
    return fits


def logistic_probe(fits: list[GradientFit]) -> LinearProbe:
    """What logistic fits have arrived at, on the stream itself; the scores of a square sum to 0, which fixes the gauge."""
    own = [fit.whitening.unfold(*(_centred(part) for part in fit.arrived())) for fit in fits]
    patterns = [fit.whitening.covariance @ weight for fit, (weight, _) in zip(fits, own, strict=True)]
    weights, biases = zip(*own, strict=True)
    return LinearProbe(*(torch.stack(parts).float().unflatten(-1, (-1, 3)) for parts in (weights, biases, patterns)))


def _centred(scores: Float[Tensor, "*rest column"]) -> Float[Tensor, "*rest column"]:
    scores = rearrange(scores, "... (square state) -> ... square state", state=3)
    return (scores - scores.mean(-1, keepdim=True)).flatten(-2)


def nonlinear_fits(moments: Moments, start: LinearProbe, steps: int) -> list[GradientFit]:
    """The fit of a two-layer probe for every layer.

    Of `HIDDEN_PER_SQUARE` hidden units a square, four are plus and minus the closed-form scores of states 0 and 1, so that the
    probe starts out as the linear one: what it reads more, it reads by its nonlinearity. The others start at random and unread.
    """
    squares = start.bias.shape[1]
    selection = start.bias.new_zeros(2, squares, squares, 3)
    for state in (0, 1):
        selection[state].diagonal()[state] = SHARPNESS  # the diagonal is over squares, its own axis comes last
        selection[state].diagonal()[2] = -SHARPNESS
    selection = rearrange(selection, "two square column state -> (two square) (column state)")
    generator = torch.Generator().manual_seed(0)
    fits = []
    for layer in range(len(start.weight)):
        whitening = Whitening(moments, layer)
        weight, bias = _whitened(start, layer, whitening)
        linear = rearrange(weight, "width (square state) -> width state square", state=3)[:, :2].flatten(1)
        width, free = len(weight), (HIDDEN_PER_SQUARE - 4) * squares
        random = torch.randn(width, free, generator=generator, dtype=torch.float32).to(linear) / width**0.5
        hidden = torch.cat([linear, -linear, random], dim=1)
        out = torch.cat([selection, -selection, selection.new_zeros(free, 3 * squares)])
        fits.append(GradientFit(whitening, [hidden, hidden.new_zeros(hidden.shape[1]), out, SHARPNESS * bias], steps))
    return fits


def nonlinear_probe(fits: list[GradientFit]) -> NonlinearProbe:
    """What nonlinear fits have arrived at, as a probe on the stream itself."""
    hidden = [fit.whitening.unfold(*fit.arrived()[:2]) for fit in fits]
    out = [fit.arrived()[2:] for fit in fits]
    weights = (torch.stack(parts).float() for parts in zip(*hidden, strict=True))
    return NonlinearProbe(*weights, *(torch.stack(parts).unflatten(-1, (-1, 3)) for parts in zip(*out, strict=True)))


def _whitened(probe: LinearProbe, layer: int, whitening: Whitening) -> tuple[Tensor, Tensor]:
    weight, bias = probe.weight[layer].double().flatten(1), probe.bias[layer].double().flatten()
    return whitening.inverse @ weight, bias + whitening.mean @ weight
