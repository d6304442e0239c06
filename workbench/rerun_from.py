"""Forward passes that differ from a clean one in one component: only what follows the component is computed again.

For: maps over all components of a model (`ablation_map.py`, `patching.py`). Runs start from the residual stream of the clean
pass, and those that change the same layer share a batch. What follows is run by the plain model, whose attention is fused, but
only while nothing is hooked to the hooked model and the plain one gives its logits; otherwise each run is a full pass of the
hooked model, so that every hook acts as it does there.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from jaxtyping import Float, Int64
from torch import Tensor

from models.hooked import HookedTransformer, plain
from models.hooked.own_hooks import keeping
from models.hooked.users_hooks import users_hooks
from models.transformer import Attention, Block, Transformer
from probes.residual_stream import require_input
from workbench.components import Replace, Site, What, component_name, find_sites, replacing

SEQUENCES_AT_ONCE = 256
"""How many sequences share a batch, counting those of each run."""
CLOSE = 1e-4
"""How far the plain model's logits may be from the hooked one's, relative to their norm."""


@dataclass(frozen=True)
class Cell:
    """One component, at all positions or one: what one run changes, and one row of a map."""

    layer: int
    head: int | None = None
    position: int | None = None


def cells_of(model: HookedTransformer, what: What, positions: Sequence[int] | None = None) -> list[Cell]:
    """Every component of a kind, layer by layer, changed at all positions together or, where given, at each alone.

    Raises ValueError for an unknown kind and for MLPs of a model that has none.
    """
    heads = range(model.cfg.n_heads) if what == "heads" else [None]
    if what == "mlp" and model.cfg.attn_only:
        raise ValueError("the model has no MLPs; choose heads, attention, layers or stream")
    at = [None] if positions is None else list(positions)
    return [Cell(layer, head, position) for layer in range(model.cfg.n_layers) for head in heads for position in at]


def plain_form(model: HookedTransformer, tokens: Int64[Tensor, "batch position"]) -> Transformer | None:
    """The plain model that may stand in for a hooked one: None while any hook is on it, or where it is not one of ours.

    That it computes the same is tried on the tokens, not believed.
    """
    if users_hooks(model):
        return None
    try:
        candidate = plain(model)
    except ValueError:
        return None
    with torch.no_grad():
        expected, found = model(tokens), candidate(tokens)
    return candidate if float((found - expected).norm()) <= CLOSE * float(expected.norm()) else None


class CleanRun:
    """One batch, run untouched, with what it takes to run it again with a component of a kind replaced."""

    def __init__(
        self, model: HookedTransformer, stand_in: Transformer | None, tokens: Int64[Tensor, "batch position"], what: What
    ):
        """`stand_in` is `plain_form(model, ...)`. Raises ValueError as `require_input` does."""
        require_input(model, tokens)
        self._model, self._plain, self._what, self._tokens = model, stand_in, what, tokens.to(model.cfg.device)
        names = {f"blocks.{layer}.{point}" for layer in range(model.cfg.n_layers) for point in _POINTS[what]}
        wanted = {name for name in names | {"blocks.0.hook_resid_pre"} if name in model.hook_dict}
        with torch.no_grad(), keeping(model, wanted) as self._cache:
            self.logits: Float[Tensor, "batch position vocab"] = model(self._tokens)

    def __getitem__(self, point: str) -> Float[Tensor, "batch ..."]:
        """The clean activation at a hook point of the kind."""
        return self._cache[point]

    def with_replaced(
        self, cells: Sequence[Cell], replace: Replace
    ) -> Iterator[tuple[list[Cell], Float[Tensor, "cell batch position vocab"]]]:
        """The logits with `replace(point, activation)` at one cell at a time, a few cells of one layer at a time."""
        for layer in dict.fromkeys(cell.layer for cell in cells):
            own = [cell for cell in cells if cell.layer == layer]
            at_once = max(1, SEQUENCES_AT_ONCE // len(self._tokens)) if self._plain else 1
            for first in range(0, len(own), at_once):
                chunk = own[first : first + at_once]
                with torch.no_grad():
                    if self._plain is None:
                        yield chunk, self._through_hooks(chunk[0], replace)[None]
                    else:
                        yield chunk, self._through_plain(self._plain, chunk, replace)

    def _sites(self, cell: Cell) -> tuple[Site, ...]:
        name = component_name(self._what, cell.layer)
        return find_sites(self._model, name, head=cell.head, position=cell.position)

    def _stream(self, layer: int) -> Float[Tensor, "batch position width"]:
        """What comes into a layer."""
        return self._cache["blocks.0.hook_resid_pre" if layer == 0 else f"blocks.{layer - 1}.hook_resid_post"]

    def _through_hooks(self, cell: Cell, replace: Replace) -> Float[Tensor, "batch position vocab"]:
        with replacing(self._model, self._sites(cell), replace):
            return self._model(self._tokens)

    def _through_plain(
        self, model: Transformer, cells: Sequence[Cell], replace: Replace
    ) -> Float[Tensor, "cell batch position vocab"]:
        layer = cells[0].layer
        block, *following = (cast(Block, block) for block in list(model.blocks)[layer:])
        changed: dict[str, list[Tensor]] = {}
        for cell in cells:
            for site in self._sites(cell):
                clean = self._cache[site.point]
                changed.setdefault(site.point, []).append(site.put(clean, replace(site.point, clean)))

        def value(point: str) -> Tensor:
            name = f"blocks.{layer}.{point}"
            if name in changed:
                return rearrange(changed[name], "cell batch ... -> (cell batch) ...")
            return repeat(self._cache[name], "batch ... -> (cell batch) ...", cell=len(cells))

        if self._what == "stream":
            x = block(value("hook_resid_pre"), None)
        else:
            x = repeat(self._stream(layer), "batch ... -> (cell batch) ...", cell=len(cells))
            if self._what == "heads":
                x = x + block.ln1_post(_written(block.attn, value("attn.hook_z")))
            else:
                x = x + value("hook_attn_out")
            if block.mlp is not None:
                x = x + (value("hook_mlp_out") if self._what in ("mlp", "layers") else block.ln2_post(block.mlp(block.ln2(x))))
        for block in following:
            x = block(x, None)
        logits = F.linear(model.ln_final(x), model.unembed.W_U.T, model.unembed.b_U)
        return rearrange(logits, "(cell batch) position vocab -> cell batch position vocab", cell=len(cells))


_POINTS: dict[What, tuple[str, ...]] = {
    "heads": ("hook_resid_post", "attn.hook_z"),
    "attention": ("hook_resid_post", "hook_attn_out"),
    "mlp": ("hook_resid_post", "hook_attn_out", "hook_mlp_out"),
    "layers": ("hook_resid_post", "hook_attn_out", "hook_mlp_out"),
    "stream": ("hook_resid_post", "hook_resid_pre"),
}
"""What of a layer has to be kept of the clean pass."""


def _written(attention: Attention, z: Float[Tensor, "batch position head head_width"]) -> Float[Tensor, "batch position width"]:
    weight = rearrange(attention.W_O, "head head_width width -> width (head head_width)")
    return F.linear(rearrange(z, "batch position head head_width -> batch position (head head_width)"), weight, attention.b_O)
