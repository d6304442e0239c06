"""What each part of a model does for an answer: logit lens by half block, removal of every head and MLP, direct attribution.

For: one move at one position, and the same summed over many. The answer is the *advantage* of some favoured moves: their mean
logit minus the mean logit of all other moves (padding is none). Favouring one move asks about that move; favouring the legal
ones asks what tells legal from illegal. Logits themselves have no zero, differences have.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
import torch
from einops import rearrange, reduce, repeat
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from models.hooked.own_hooks import keeping
from models.othello.board import PAD
from models.transformer import Transformer
from workbench.components import What
from workbench.logit_attribution import Component, attribute
from workbench.rerun_from import CleanRun, cells_of, plain_form
from workbench.widgets.background import Progress
from workbench.widgets.othello_explorer.lens import Changes, Lens, Part, stream_points

Sums = Float[Tensor, "quantity"]
"""Of the advantage and of the illegal mass, over the asked positions."""


@dataclass(frozen=True)
class Question:
    """What is asked about one position."""

    tokens: tuple[int, ...]
    """the moves before it"""
    changes: Changes
    """what is done to the model"""
    favoured: tuple[int, ...]
    """whose advantage"""
    legal: tuple[int, ...]
    """which tokens may come next"""


@dataclass(frozen=True, eq=False)
class Effects:
    """Sums over positions; `mean` of a field divides by their number."""

    positions: int
    advantage: float
    """mean favoured logit - mean logit of the other moves, in logits"""
    probability: Float[np.ndarray, "depth"]
    """of the favoured tokens together, read off the stream at every half block, in [0, 1]"""
    lens: Float[np.ndarray, "depth"]
    """the advantage, read off likewise"""
    illegal_mass: Float[np.ndarray, "depth"]
    """probability on illegal tokens, read off likewise"""
    removed: Float[np.ndarray, "part"]
    """change of the advantage when a part of `Lens.parts` is removed"""
    removed_illegal_mass: Float[np.ndarray, "part"]
    """change of the illegal mass of the prediction when it is removed"""
    direct: dict[Component, float]
    """what each component adds to the advantage by itself; without edits they sum to it"""

    def __add__(self, other: "Effects") -> "Effects":
        """Both sets of positions together."""
        direct = {component: value + other.direct[component] for component, value in self.direct.items()}
        rest = [field.name for field in fields(self) if field.name != "direct"]
        return Effects(direct=direct, **{name: getattr(self, name) + getattr(other, name) for name in rest})

    def mean(self, name: str) -> Float[np.ndarray, "*shape"]:
        """A field divided by the number of positions; NaN where there is none."""
        with np.errstate(invalid="ignore"):
            return np.asarray(getattr(self, name), dtype=float) / np.float64(self.positions)

    def mean_direct(self) -> Float[np.ndarray, "component"]:
        """The values of `direct` divided by the number of positions, in its order."""
        return np.array(list(self.direct.values())) / self.positions


def effects(
    lens: Lens,
    tokens: Int64[Tensor, "game position"],
    favoured: Bool[Tensor, "game position vocab"],
    legal: Bool[Tensor, "game position vocab"],
    asked: Bool[Tensor, "game position"],
    stand_in: Transformer | None = None,
    progress: Callable[[float], None] = lambda _: None,
) -> Effects:
    """Measures everything at the asked positions of some games, of the model as it is while this runs.

    Args:
        lens: the model.
        tokens: games, no longer than the model takes.
        favoured: whose advantage; at least one move and not all at every asked position.
        legal: which tokens may come next.
        asked: which positions count.
        stand_in: `plain_form` of the model, for speed.
        progress: called with the share done after every few removals; may raise to stop.
    """
    model, device = lens.model, lens.model.cfg.device
    tokens, favoured, legal, asked = (value.to(device) for value in (tokens, favoured, legal, asked))
    removed: dict[Part, Sums] = {}

    def remove(what: What) -> Sums:
        """Adds to `removed`; returns the sums without a removal."""
        run = CleanRun(model, stand_in, tokens, what)
        for cells, logits in run.with_replaced(cells_of(model, what), lambda point, value: torch.zeros(())):
            progress(len(removed) / len(lens.parts))
            removed.update({(cell.layer, cell.head): sums(one) for cell, one in zip(cells, logits, strict=True)})
        return sums(run.logits)

    def sums(logits: Float[Tensor, "game position vocab"]) -> Sums:
        rows = logits[asked].double()
        illegal = (rows.softmax(-1) * ~legal[asked]).sum()
        return torch.stack([advantage(rows, favoured[asked]).sum(), illegal])

    with torch.no_grad():
        points = stream_points(model)
        with keeping(model, points) as cache:
            model(tokens)
        stacked = rearrange([cache[point][asked] for point in points], "depth row width -> depth row width")
        by_depth = lens.depth_logits(stacked)
        direct = attribute(model, tokens, favoured, others(favoured))
        clean = remove("heads")
        if not model.cfg.attn_only:
            remove("mlp")
    mass = by_depth.double().softmax(-1)
    changed = torch.stack([removed[part] for part in lens.parts]) - clean
    return Effects(
        positions=int(asked.sum()),
        advantage=float(clean[0]),
        probability=(mass * favoured[asked]).sum((1, 2)).cpu().numpy(),
        lens=reduce(advantage(by_depth, favoured[asked]).double(), "depth row -> depth", "sum").cpu().numpy(),
        illegal_mass=(mass * ~legal[asked]).sum((1, 2)).cpu().numpy(),
        removed=changed[:, 0].cpu().numpy(),
        removed_illegal_mass=changed[:, 1].cpu().numpy(),
        direct={component: float(value[asked].double().sum()) for component, value in direct.items()},
    )


def advantage(logits: Float[Tensor, "*lead row vocab"], favoured: Bool[Tensor, "row vocab"]) -> Float[Tensor, "*lead row"]:
    """The mean logit of the favoured moves minus that of the other moves."""
    rest = others(favoured)
    share = favoured / favoured.sum(-1, keepdim=True) - rest / rest.sum(-1, keepdim=True)
    return (logits * share).sum(-1)


def others(favoured: Bool[Tensor, "*rows vocab"]) -> Bool[Tensor, "*rows vocab"]:
    """All moves that are not favoured; padding is no move."""
    return (~favoured).index_fill(-1, torch.tensor([PAD], device=favoured.device), False)


def one_position(lens: Lens, question: Question, progress: Progress = lambda *_: None) -> Effects:
    """The effects after the last of some moves; kept by the lens. `progress` may raise to stop."""
    if question not in lens.effects:
        moves, positions = torch.tensor([question.tokens]), len(question.tokens)
        vocab = torch.arange(lens.subject.task.vocab)
        masks = (torch.isin(vocab, torch.tensor(tokens)) for tokens in (question.favoured, question.legal))
        favoured, legal = (repeat(mask, "vocab -> 1 position vocab", position=positions) for mask in masks)
        asked = torch.arange(positions)[None] == positions - 1

        def told(share: float) -> None:
            progress(share, f"measuring what each head and MLP of {lens.name} does here")

        told(0.0)
        with lens.changed(question.changes):
            # an edit acts through hooks, which the plain model has not
            stand_in = None if question.changes.edits else plain_form(lens.model, moves.to(lens.subject.device))
            lens.keep(lens.effects, question, effects(lens, moves, favoured, legal, asked, stand_in, told))
    return lens.effects[question]
