"""What an ablated activation is replaced with: zero, the mean over reference sequences, or the activation on one of them.

For: `ablate` and the maps alike, so that both mean the same by a method.
"""

from collections.abc import Callable, Collection
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from models.hooked import HookedTransformer
from models.hooked.own_hooks import keeping
from models.random_stream import draws
from models.streams import Draw
from probes.residual_stream import require_input

Method = Literal["zero", "mean", "resample"]
"""zero: 0; mean: the mean over the reference sequences; resample: the activation on one reference sequence, drawn for each."""
METHODS: tuple[Method, ...] = get_args(Method)
MeanOver = Literal["position", "all"]
"""position: a mean for each position; all: one mean over sequences and positions."""
MEAN_OVER: tuple[MeanOver, ...] = get_args(MeanOver)

BATCH = 64

_reading: ContextVar[bool] = ContextVar("_reading", default=False)


@dataclass(frozen=True)
class Replacement:
    """What is put at each of some hook points."""

    method: Method
    values: dict[str, Float[Tensor, "reference ..."]] = field(default_factory=dict)
    """by hook point, of the reference sequences; for a mean one row; for zero nothing"""
    length: int | None = None
    """tokens of a reference sequence, where inputs may be no longer; None where it does not matter"""
    stream: int = Draw.RESAMPLE
    """of resample: which references are drawn"""

    def at(self, point: str, value: Float[Tensor, "batch ..."], first: int = 0) -> Float[Tensor, "..."]:
        """What goes in the place of `value`, the activation of sequences number `first`, `first` + 1, ...; it broadcasts.

        While another ablation reads its reference, that is `value` itself.
        Which reference a sequence gets is a function of (stream, its number). Raises ValueError for an input longer than the
        reference.
        """
        if _reading.get():
            return value
        if self.method == "zero":
            return torch.zeros((), dtype=value.dtype, device=value.device)
        tokens = value.shape[2] if point.endswith("hook_pattern") else value.shape[1]
        if self.length is not None and tokens > self.length:
            raise ValueError(
                f"the input has {tokens} tokens, the reference {self.length}; give a reference at least as long as the input"
            )
        kept = self.values[point]
        if self.method == "resample":
            kept = kept[self._drawn(len(value), first, len(kept)).to(kept.device)]
        return kept[(slice(None), *(slice(size) for size in value.shape[1:]))]

    def _drawn(self, count: int, first: int, references: int) -> Int64[Tensor, "count"]:
        # 2**63 values over a few references: the remainder is as good as uniform
        numbers = draws(self.stream, torch.arange(first, first + count), 1)[:, 0]
        return (numbers & ((1 << 63) - 1)) % references


def read_replacement(
    model: HookedTransformer,
    points: Collection[str],
    method: Method,
    reference: Int64[Tensor, "reference position"] | None,
    mean_over: MeanOver = "position",
    seed: int = 0,
    report: Callable[[], None] = lambda: None,
) -> Replacement:
    """Runs the model on the reference, where the method needs one, and keeps what it needs of the activations at the points.

    The model runs with the hooks that are on it, but without the ablations that are open, so that nesting them in another order
    makes no difference. Memory: a reference's activations for resample, one row for mean. `report` is called after every few
    sequences and may raise to end it.

    Raises:
        ValueError: an unknown method or mean_over; no reference where one is needed; one that the model does not take; a seed
            out of range.
    """
    if method not in METHODS:
        raise ValueError(f"method '{method}' is unknown; choose one of {', '.join(METHODS)}")
    if mean_over not in MEAN_OVER:
        raise ValueError(f"mean_over '{mean_over}' is unknown; choose one of {', '.join(MEAN_OVER)}")
    if method == "zero":
        return Replacement("zero")
    if reference is None or not len(reference):
        raise ValueError(f"method '{method}' needs reference sequences; pass reference=tokens, of the same task")
    require_input(model, reference)
    stream = Draw.RESAMPLE.stream(seed)
    values: dict[str, list[Tensor]] = {point: [] for point in points}
    for tokens in reference.to(model.cfg.device).split(BATCH):
        for point, value in _activations(model, points, tokens).items():
            values[point].append(value.sum(0, keepdim=True) if method == "mean" else value)
        report()
    if method == "resample":
        return Replacement(method, {point: torch.cat(parts) for point, parts in values.items()}, reference.shape[1], stream)
    means = {point: torch.stack(parts).sum(0) / len(reference) for point, parts in values.items()}
    if mean_over == "all":
        return Replacement(method, {point: _over_positions(point, mean) for point, mean in means.items()})
    return Replacement(method, means, reference.shape[1])


def _over_positions(point: str, mean: Float[Tensor, "1 position ..."]) -> Float[Tensor, "1 1 ..."]:
    if point.endswith("hook_pattern"):
        raise ValueError("an attention edge is between two positions and has no mean over all; use mean_over='position'")
    return mean.mean(1, keepdim=True)


def _activations(model: HookedTransformer, points: Collection[str], tokens: Tensor) -> dict[str, Tensor]:
    with torch.no_grad(), keeping(model, points) as found:
        try:
            _reading.set(True)  # in the try, and without a context: Ctrl-C between two steps must not leave ablations off
            model(tokens, return_type=None)
        finally:
            _reading.set(False)
    return found
