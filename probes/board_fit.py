"""Fits board probes of several kinds and frames on one model: one pass for everything in closed form, more for gradient fits.

For: getting from a model to fitted probes. Not for: how well they read (`board_scores.py`), nor the whole job with its controls
(`board_state.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import torch
from einops import rearrange
from jaxtyping import Float, Int64
from torch import Tensor

from models.othello.labels import STATES, Frame
from probes.board_probe import BoardProbe, ProbeCard, ProbeKind
from probes.gradient_fit import GradientFit, logistic_fits, logistic_probe, nonlinear_fits, nonlinear_probe
from probes.harvest import BATCH, Games, Positions, Target, batches, harvest
from probes.linear_probe import RIDGE, Moments, closed_form
from probes.residual_stream import Model, layers_of, width_of
from probes.subject import Subject

EPOCHS: dict[ProbeKind, int] = {"closed-form": 0, "logistic": 1, "nonlinear": 4}
"""Passes over the games after the first, which gives the closed form that the others start from."""


@dataclass(frozen=True)
class Fitted:
    """Probes by kind and target, and how often each state was seen, which is what guessing can know."""

    probes: dict[tuple[ProbeKind, Target], BoardProbe]
    counts: dict[Target, Int64[Tensor, "length square state"]]


def fit_probes(
    subject: Subject,
    games: Games,
    targets: Sequence[Target],
    kinds: Sequence[ProbeKind] = ("closed-form",),
    *,
    model: Model | None = None,
    ridge: float = RIDGE,
    batch: int = BATCH,
    progress: bool = False,
) -> Fitted:
    """Fits every kind of probe for every target on the same games, all layers at once.

    Args:
        subject: the model and its task.
        games: which games to fit on.
        targets: what to fit; a shuffled one is fitted in closed form only.
        kinds: which kinds; the closed form is always fitted, as the others start from it.
        model: fit on this model in place of the subject's (the control with random weights).
        ridge: penalty of the closed form, relative to the mean variance of a stream coordinate.
        batch: games a forward pass and, for gradient fits, a step.
        progress: show a progress bar for every pass.

    Raises:
        ValueError: an unknown kind or frame; see also `harvest`.
    """
    _require_known(kinds, targets)
    studied = model or subject.model
    squares = subject.task.board.squares
    device = next(iter(studied.parameters())).device
    moments = Moments(len(layers_of(studied)), width_of(studied), 2 * squares * len(targets), device)
    counts = torch.zeros(len(targets), subject.longest, 2 * squares, device=device)

    def take(layer: int, stream: Float[Tensor, "row width"], positions: Positions) -> None:
        moments.add(layer, stream, positions.indicators)
        if layer == 0:
            add_counts(counts, positions)

    harvest(subject, games, targets, take, model=studied, batch=batch, progress=progress, description="closed-form fit")
    linear = [closed_form(moments, squares, at, ridge) for at in range(len(targets))]
    probes = {("closed-form", target): linear[at] for at, target in enumerate(targets)}
    for kind in ("logistic", "nonlinear"):
        if kind not in kinds:
            continue
        steps = EPOCHS[kind] * len(batches(games, batch))
        start = logistic_fits if kind == "logistic" else nonlinear_fits
        plain = [target for target in targets if not target.shuffled]
        fits = {target: start(moments, probes["closed-form", target], steps) for target in plain}
        for epoch in range(EPOCHS[kind]):
            description = f"{kind} fit, pass {epoch + 1} of {EPOCHS[kind]}"
            harvest(subject, games, plain, _stepping(fits), model=studied, batch=batch, progress=progress, description=description)
        for target, layers in fits.items():
            like = probes["closed-form", target]
            probes[kind, target] = logistic_probe(layers, like) if kind == "logistic" else nonlinear_probe(layers, squares)
    cards = {key: _card(subject, games, *key, len(layers_of(studied)), width_of(studied)) for key in probes}
    return Fitted(
        {key: BoardProbe(cards[key], probe) for key, probe in probes.items()},
        {target: _with_third(counts[at], squares) for at, target in enumerate(targets)},
    )
