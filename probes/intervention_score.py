"""Does the model move as if the board were the edited one? The published score of interventions, with its null beside it.

Score (Li et al. 2022, arXiv 2210.13382): with N legal moves on the edited board, the errors of a case are the false positives
plus false negatives of the model's N most probable moves; so 0 if they are the legal ones, and at most 2 N. Null: the same
without the edit. Two more arms tell what a null hides: a random direction of the edit's length at the same places, and the
unedited model on the unedited board, below which no edit should be expected to come.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from tqdm.auto import tqdm

from models.config import WeightsName
from models.othello.board import PAD
from models.whole_numbers import require_whole
from probes.board_fit import fit_probes
from probes.board_probe import BoardProbe
from probes.board_state import FIT_GAMES
from probes.clustered_means import ClusteredMeans
from probes.harvest import BATCH, Games, Target
from probes.intervention import METHODS, STRENGTH, Change, Method, board_edit, editing
from probes.intervention_cases import Cases, draw_cases
from probes.residual_stream import Model, require_layers
from probes.subject import Address, OthelloSubject, othello_subject

Arm = Literal["edited", "null", "random direction", "unedited board"]
CASES = 600


def board_interventions(
    model: Address,
    probe: BoardProbe | None = None,
    methods: Sequence[Method] = METHODS,
    layers: Sequence[int] | None = None,
    *,
    strength: float = STRENGTH,
    cases: int = CASES,
    fit_games: int = FIT_GAMES,
    seed: int = 0,
    weights: WeightsName = "raw",
    device: torch.device | str = "cpu",
    batch: int = BATCH,
    progress: bool = False,
) -> pd.DataFrame:
    """The published score of editing one square of the board inside the model, and its controls.

    Args:
        model: a checkpoint folder, run or bundled name, or a hooked model in eval mode.
        probe: linear, in the frame `to_move`; None fits one in closed form on `fit_games` games.
        methods: flip a disc, erase one, add one.
        layers: where to edit; None for those from three eighths to three quarters of the depth (3, 4, 5 of 8).
        strength: how far, in units of the probe's scores (`intervention.intervene`).
        cases: games to draw, one edit each; the few that allow none give no case.
        fit_games: games to fit on where no probe is given; the cases are games after these, and after those that a given
            probe was fitted on.
        seed: which games.
        weights: which weights of a checkpoint; no effect on a loaded model, as has `device`.
        device: where a checkpoint is loaded to.
        batch: cases a forward pass; no effect on the results but for rounding.
        progress: show a progress bar.

    Returns:
        One row a method and arm: the labels of the checkpoint, `method`, `layers`, `strength`, `arm`, `metric` (always
        "errors", mean false positives + false negatives a case), `value`, `ci_low`, `ci_high` (over cases, each a game of its
        own), `cases`.

    Raises:
        ValueError: what `othello_subject`, `intervene` and `Games` refuse; a probe of another frame; no case found.
        ProbeError: a nonlinear probe.
    """
    unknown = [method for method in methods if method not in METHODS]
    if unknown or not methods:
        raise ValueError(f"method '{unknown[0] if unknown else ''}' is unknown; choose from {', '.join(METHODS)}")
    require_whole("cases", cases, least=2)
    require_whole("games to fit on", fit_games, least=2)
    subject = othello_subject(model, weights, device)
    chosen = middle_layers(subject.model) if layers is None else tuple(layers)
    require_layers(subject.model, chosen)
    if probe is None:
        fitted = fit_probes(subject, Games(seed, 0, fit_games), [Target("to_move")], batch=batch, progress=progress)
        probe = fitted.probes["closed-form", Target("to_move")]
    if probe.card.frame != "to_move":
        raise ValueError(f"the probe reads the frame '{probe.card.frame}', the score needs 'to_move'; fit one in that frame")
    fitted_to = probe.card.games if probe.card.seed == seed else 0
    first = max(fit_games, fitted_to)
    games = Games(seed, first, first + cases)
    rows = []
    with tqdm(total=cases * len(methods), unit="case", desc="interventions", disable=not progress) as bar:
        for method in methods:
            drawn = draw_cases(subject.task, method, games, subject.longest)
            errors = _errors(subject, probe, method, drawn, chosen, strength, batch, bar)
            rows += [
                {"method": method, "layers": ", ".join(map(str, chosen)), "strength": strength, "arm": arm, **_summary(values)}
                for arm, values in errors.items()
            ]
            bar.update(cases - len(drawn.length))
    return subject.named(pd.DataFrame(rows))


def middle_layers(model: Model) -> tuple[int, ...]:
    """The layers from three eighths to three quarters of the depth: 3, 4, 5 of 8 blocks; at least one."""
    blocks = len(model.blocks)
    first = max(1, 3 * blocks // 8)
    return tuple(range(first, max(first + 1, 3 * blocks // 4)))


def top_errors(logits: Float[Tensor, "case vocab"], legal: Bool[Tensor, "case vocab"]) -> Int64[Tensor, "case"]:
    """False positives + false negatives of the N most probable tokens against N legal ones: 2 (N - hits), in [0, 2 N]."""
    rank = logits.argsort(dim=-1, descending=True).argsort(dim=-1)
    count = legal.sum(-1)
    hits = (legal & (rank < count[:, None])).sum(-1)
    return 2 * (count - hits)


def _errors(
    subject: OthelloSubject,
    probe: BoardProbe,
    method: Method,
    cases: Cases,
    layers: Sequence[int],
    strength: float,
    batch: int,
    bar: tqdm,
) -> dict[Arm, Int64[Tensor, "case"]]:
    if not len(cases.length):
        raise ValueError(f"no game gave a case for '{method}'; ask for more cases")
    model, linear = subject.model, probe.linear
    generator = torch.Generator().manual_seed(0)
    errors: dict[Arm, list[Tensor]] = {arm: [] for arm in get_args(Arm)}
    for part in torch.arange(len(cases.length)).split(batch):
        length, legal = cases.length[part], cases.legal_after[part]
        tokens = cases.tokens[part, : int(length.max())].to(subject.device)
        edit = board_edit(linear, method, cases.square[part], cases.state[part], strength)
        null = _last_logits(model, tokens, length)
        with editing(model, edit, layers, length - 1):
            edited = _last_logits(model, tokens, length)
        with editing(model, random_direction(edit, generator), layers, length - 1):
            control = _last_logits(model, tokens, length)
        errors["edited"].append(top_errors(edited, legal))
        errors["null"].append(top_errors(null, legal))
        errors["random direction"].append(top_errors(control, legal))
        errors["unedited board"].append(top_errors(null, cases.legal_before[part]))
        bar.update(len(part))
    return {arm: torch.cat(values) for arm, values in errors.items()}


def _last_logits(
    model: Model, tokens: Int64[Tensor, "case position"], length: Int64[Tensor, "case"]
) -> Float[Tensor, "case vocab"]:
    """The padding token is never a move, so it is left out of the ranking."""
    with torch.no_grad():
        logits = model(tokens)[torch.arange(len(tokens)), length - 1].cpu()
    return logits.index_fill(1, torch.tensor([PAD]), -torch.inf)


def random_direction(edit: Change, generator: torch.Generator) -> Change:
    """A change as long as the edit's would be at the same place, in a random direction."""

    def change(layer: int, rows: Float[Tensor, "batch width"]) -> Float[Tensor, "batch width"]:
        noise = torch.randn(rows.shape, generator=generator).to(rows)
        return noise * (edit(layer, rows).norm(dim=1, keepdim=True) / noise.norm(dim=1, keepdim=True))

    return change


def _summary(errors: Int64[Tensor, "case"]) -> dict[str, float | str]:
    mean = ClusteredMeans(1)
    mean.add(errors[:, None].double(), torch.ones(len(errors), 1))
    low, high = mean.intervals()
    numbers = {"value": mean.means(), "ci_low": low.clip(min=0), "ci_high": high}
    return {"metric": "errors", **{name: float(number[0]) for name, number in numbers.items()}, "cases": len(errors)}
