"""Fits board probes of several kinds and frames on one model: one pass in closed form, further passes for gradient fits.

For: getting from a model to fitted probes. Not for: how well they read (`board_scores.py`), nor the whole job with its controls
(`board_state.py`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from models.othello.labels import STATES
from probes.board_probe import BoardProbe, ProbeCard, ProbeKind
from probes.drawn_sequences import batches
from probes.gradient_fit import GradientFit, logistic_fits, logistic_probe, nonlinear_fits, nonlinear_probe
from probes.harvest import BATCH, Consume, Games, Positions, Target, harvest
from probes.linear_probe import RIDGE, LinearProbe, Moments, closed_form, require_ridge
from probes.nonlinear_probe import NonlinearProbe
from probes.residual_stream import layers_of, width_of
from probes.subject import OthelloSubject

PASSES: dict[ProbeKind, int] = {"closed-form": 0, "logistic": 1, "nonlinear": 4}
"""Passes over the games after the first, which gives the closed form that the others start from."""

AnyProbe = LinearProbe | NonlinearProbe
Start = Callable[[Moments, LinearProbe, int], list[GradientFit]]
Finish = Callable[[list[GradientFit]], AnyProbe]
GRADIENT_FITS: dict[ProbeKind, tuple[Start, Finish]] = {
    "logistic": (logistic_fits, logistic_probe),
    "nonlinear": (nonlinear_fits, nonlinear_probe),
}
"""How a gradient fit starts and what it ends as."""


@dataclass(frozen=True)
class Fitted:
    """Probes by kind and target, and how often each state was seen, which is what guessing can know."""

    probes: dict[tuple[ProbeKind, Target], BoardProbe]
    counts: dict[Target, Int64[Tensor, "length square state"]]


def fit_probes(
    subject: OthelloSubject,
    games: Games,
    targets: Sequence[Target],
    kinds: Sequence[ProbeKind] = ("closed-form",),
    *,
    ridge: float = RIDGE,
    batch: int = BATCH,
    progress: bool = False,
    report: Callable[[int], None] = lambda games: None,
) -> Fitted:
    """Fits every kind of probe for every target on the same games, all layers at once.

    Args:
        subject: the model and its task.
        games: which games to fit on.
        targets: what to fit; a shuffled one is fitted in closed form only.
        kinds: which kinds; the closed form is always fitted, as the others start from it.
        ridge: penalty of the closed form, relative to the mean variance of a stream coordinate.
        batch: games a forward pass and, for gradient fits, a step.
        progress: show a progress bar for every pass.
        report: called with the number of games done so far in the pass; may raise to end the fit.

    Raises:
        ValueError: an unknown kind, no target, a ridge that is not > 0, a batch < 1.
    """
    for kind in kinds:
        if kind not in PASSES:
            raise ValueError(f"probe '{kind}' is unknown; choose from {', '.join(PASSES)}")
    if not targets:
        raise ValueError("no target was given to fit a probe to; give at least one")
    require_ridge(ridge)
    model, squares, device = subject.model, subject.task.board.squares, subject.device
    moments = Moments(len(layers_of(model)), width_of(model), 2 * squares * len(targets), device)
    counts = {target: torch.zeros(subject.longest, squares, 3, dtype=torch.int64, device=device) for target in targets}
    run = partial(harvest, subject, games, batch=batch, progress=progress, report=report)
    run(targets, _taking(moments, counts), description="closed-form fit")
    closed = {target: closed_form(moments, squares, at, ridge) for at, target in enumerate(targets)}
    probes: dict[tuple[ProbeKind, Target], AnyProbe] = {("closed-form", target): closed[target] for target in targets}
    plain = [target for target in targets if not target.shuffled]
    for kind in dict.fromkeys(kinds):
        if kind == "closed-form":
            continue
        start, finish = GRADIENT_FITS[kind]
        steps = PASSES[kind] * len(batches(games.start, games.stop, batch))
        fits = {target: start(moments, closed[target], steps) for target in plain}
        for number in range(1, PASSES[kind] + 1):
            run(plain, _stepping(fits), description=f"{kind} fit, pass {number} of {PASSES[kind]}")
        probes |= {(kind, target): finish(layers) for target, layers in fits.items()}
    return Fitted({key: BoardProbe(_card(subject, games, *key, moments), probe) for key, probe in probes.items()}, counts)


def _taking(moments: Moments, counts: dict[Target, Int64[Tensor, "length square state"]]) -> Consume:
    def take(layer: int, stream: Float[Tensor, "row width"], positions: Positions) -> None:
        moments.add(layer, stream, positions.indicators)
        if layer == 0:
            for target, state in positions.states.items():
                hot = torch.nn.functional.one_hot(state.long(), 3)
                counts[target].index_add_(0, positions.length - 1, hot)

    return take


def _stepping(fits: dict[Target, list[GradientFit]]) -> Consume:
    def step(layer: int, stream: Float[Tensor, "row width"], positions: Positions) -> None:
        for target, layers in fits.items():
            layers[layer].step(stream, positions.states[target])

    return step


def _card(subject: OthelloSubject, games: Games, kind: ProbeKind, target: Target, moments: Moments) -> ProbeCard:
    return ProbeCard(
        kind=kind,
        frame=target.frame,
        states=STATES[target.frame],
        layers=tuple(range(moments.layers)),
        width=moments.width,
        squares=subject.task.board.squares,
        seed=games.seed,
        games=games.stop - games.start,
        checkpoint=str(subject.labels["checkpoint"]),
        weights=subject.weights,
        checkpoint_sha256=subject.sha256,
    )
