"""What each part of a model does for an answer: logit lens by half block, removal of every head and MLP, direct attribution.

For: one move at one position, and the same summed over many. The answer is the *advantage* of some favoured tokens: their mean
logit minus the mean logit of all others. Favouring one move asks about that move; favouring the legal ones asks what tells
legal from illegal. Logits themselves have no zero, differences have.
"""

from dataclasses import dataclass, fields

import numpy as np
import torch
from einops import rearrange, reduce, repeat
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from models.transformer import Transformer
from workbench.logit_attribution import Component, attribute
from workbench.rerun_from import CleanRun, cells_of, plain_form
from workbench.widgets.othello_explorer.lens import Changes, Lens, stream_points


@dataclass(frozen=True, eq=False)
class Effects:
    """Sums over positions; `mean` of a field divides by their number."""

    positions: int
    advantage: float
    """mean favoured logit - mean other logit, in logits"""
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


def effects(
    lens: Lens,
    tokens: Int64[Tensor, "game position"],
    favoured: Bool[Tensor, "game position vocab"],
    legal: Bool[Tensor, "game position vocab"],
    asked: Bool[Tensor, "game position"],
    changes: Changes | None = None,
    stand_in: Transformer | None = None,
) -> Effects:
    """Measures everything at the asked positions of some games.

    Args:
        lens: the model.
        tokens: games, no longer than the model takes.
        favoured: whose advantage; at least one token and not all at every asked position.
        legal: which tokens may come next.
        asked: which positions count.
        changes: what else is done to the model in every pass.
        stand_in: `plain_form` of the model, for speed, where there are no changes.
    """
    model, changes = lens.model, changes or Changes()
    device = model.cfg.device
    tokens, favoured, legal, asked = (value.to(device) for value in (tokens, favoured, legal, asked))
    with lens.changed(changes), torch.no_grad():
        points = stream_points(model)
        _, cache = model.run_with_cache(tokens, names_filter=lambda name: name in points)
        stacked = rearrange([cache[point][asked] for point in points], "depth row width -> depth row width")
        by_depth = lens.depth_logits(stacked)
        direct = attribute(model, tokens, favoured)
        heads, clean = _removals(lens, tokens, "heads", favoured, legal, asked, stand_in)
        mlps, _ = ([], clean) if model.cfg.attn_only else _removals(lens, tokens, "mlp", favoured, legal, asked, stand_in)
    mass = by_depth.double().softmax(-1)
    changed = torch.stack([sums for _, sums in sorted([*heads, *mlps], key=lambda found: _order(found[0]))]) - clean
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
    """The mean logit of the favoured tokens minus that of the others."""
    share = favoured / favoured.sum(-1, keepdim=True) - ~favoured / (~favoured).sum(-1, keepdim=True)
    return (logits * share).sum(-1)


Sums = Float[Tensor, "quantity"]


def _removals(
    lens: Lens,
    tokens: Int64[Tensor, "game position"],
    what: str,
    favoured: Bool[Tensor, "game position vocab"],
    legal: Bool[Tensor, "game position vocab"],
    asked: Bool[Tensor, "game position"],
    stand_in: Transformer | None,
) -> tuple[list[tuple[tuple[int, int | None], Sums]], Sums]:
    """The summed advantage and illegal mass without each head or MLP, and as it is."""

    def sums(logits: Float[Tensor, "game position vocab"]) -> Sums:
        rows = logits[asked].double()
        illegal = (rows.softmax(-1) * ~legal[asked]).sum()
        return torch.stack([advantage(rows, favoured[asked]).sum(), illegal])

    run = CleanRun(lens.model, stand_in, tokens, what)  # type: ignore[arg-type]
    found: list[tuple[tuple[int, int | None], Sums]] = []
    for cells, logits in run.with_replaced(cells_of(lens.model, what), lambda point, value: torch.zeros(())):  # type: ignore[arg-type]
        found += [((cell.layer, cell.head), sums(one)) for cell, one in zip(cells, logits, strict=True)]
    return found, sums(run.logits)


def _order(part: tuple[int, int | None]) -> tuple[int, int]:
    """Heads of a layer before its MLP, as `Lens.parts` has them."""
    return part[0], 1 << 30 if part[1] is None else part[1]


def one_position(
    lens: Lens,
    tokens: tuple[int, ...],
    changes: Changes,
    favoured: Bool[np.ndarray, "vocab"],
    legal: Bool[np.ndarray, "vocab"],
) -> Effects:
    """The effects after the last of some moves; kept by the lens."""
    key = (tokens, changes, favoured.tobytes(), legal.tobytes())
    if key not in lens.effects:
        shape = "vocab -> 1 position vocab"
        wanted, allowed = (repeat(torch.from_numpy(mask), shape, position=len(tokens)) for mask in (favoured, legal))
        asked = torch.arange(len(tokens))[None] == len(tokens) - 1
        moves = torch.tensor([tokens])
        stand_in = None if changes != Changes() else plain_form(lens.model, moves.to(lens.subject.device))
        lens.keep(lens.effects, key, effects(lens, moves, wanted, allowed, asked, changes, stand_in))
    return lens.effects[key]
