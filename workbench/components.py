"""The components of a model that can be ablated or patched: their names, and where they are in a forward pass.

For: turning "head 2 of blocks.3.attn, at position 5" into hook points and the part of their activations that is meant. Not for:
what is put there (`ablation_methods.py`).
"""

from collections.abc import Callable, Collection, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, SupportsIndex, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from models.hooked import HookedTransformer
from models.hooked.own_hooks import own_hooks

What = Literal["heads", "attention", "mlp", "layers", "stream"]
"""heads: one head's output before W_O; attention, mlp: what either adds to the residual stream, all heads together; layers:
both of a layer; stream: the residual stream before a layer."""
WHATS: tuple[What, ...] = get_args(What)

Indices = SupportsIndex | Collection[SupportsIndex] | None
"""One or several, or all; numpy's, torch's and pandas' whole numbers are taken as Python's are."""
Edge = tuple[SupportsIndex, SupportsIndex]
"""(query, key), both positions from 0."""
Replace = Callable[[str, Tensor], Tensor]
"""From the name of a hook point and its activation to a tensor that broadcasts to it: what is put in its place."""

_STREAM_AXES = ("position", "width")


@dataclass(frozen=True)
class Site:
    """The part of one hook point's activation that is meant."""

    point: str
    """TransformerLens's name of the hook point"""
    axes: tuple[str, ...]
    """names of the activation's axes after the batch"""
    chosen: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """which indices of an axis, of those that are not meant whole; from the end where negative"""

    def put(self, value: Float[Tensor, "batch *axes"], replacement: Float[Tensor, "..."]) -> Float[Tensor, "batch *axes"]:
        """A new tensor: the replacement, which broadcasts, where this site is, and the value elsewhere.

        Raises ValueError for a position that the value does not have.
        """
        return torch.where(self._mask(value), replacement.to(value), value)

    def _mask(self, value: Tensor) -> Bool[Tensor, "*axes"]:
        mask = torch.ones((), dtype=torch.bool, device=value.device)
        for at, axis in enumerate(self.axes):
            if axis in self.chosen:
                size = value.shape[1 + at]
                require_indices(self.chosen[axis], size, axis)
                row = torch.zeros(size, dtype=torch.bool, device=value.device)
                row[list(self.chosen[axis])] = True
                mask = mask & row.reshape(-1, *[1] * (len(self.axes) - 1 - at))
        return mask


def component_name(what: What, layer: int) -> str:
    """The name of a layer's component: `blocks.3.attn`."""
    return (
        f"blocks.{layer}"
        + {"heads": ".attn", "attention": ".attn", "mlp": ".mlp", "layers": "", "stream": ".hook_resid_pre"}[what]
    )


def component_names(model: HookedTransformer) -> list[str]:
    """The names of all components of a model, layer by layer."""
    return [name for layer in range(model.cfg.n_layers) for name in _points(model, layer)]


def _points(model: HookedTransformer, layer: int) -> dict[str, tuple[str, ...]]:
    block = f"blocks.{layer}"
    attention, mlp = f"{block}.hook_attn_out", f"{block}.hook_mlp_out"
    before, between, after = (f"{block}.hook_resid_{where}" for where in ("pre", "mid", "post"))
    if model.cfg.attn_only:  # TransformerLens has the other hook points all the same, and never comes by them
        return {block: (attention,), f"{block}.attn": (attention,), before: (before,), after: (after,)}
    written = {block: (attention, mlp), f"{block}.attn": (attention,), f"{block}.mlp": (mlp,)}
    return written | {before: (before,), between: (between,), after: (after,)}


def find_sites(
    model: HookedTransformer,
    component: str,
    head: Indices = None,
    edge: Edge | None = None,
    position: Indices = None,
) -> tuple[Site, ...]:
    """Where a component is; the arguments are those of `ablation.ablate`. Raises ValueError for one that does not exist."""
    points = {name: found for layer in range(model.cfg.n_layers) for name, found in _points(model, layer).items()}
    if component not in points:
        raise ValueError(
            f"the model has no component '{component}'; it has {', '.join(_points(model, 0))}, and likewise up to "
            f"blocks.{model.cfg.n_layers - 1}"
        )
    if (head is not None or edge is not None) and not component.endswith(".attn"):
        raise ValueError(
            f"component '{component}' has no heads and no attention edges; name an attention, such as blocks.0.attn"
        )
    heads = None if head is None else as_indices(head, "head")
    positions = None if position is None else as_indices(position, "position")
    if heads is not None:
        require_indices(heads, model.cfg.n_heads, "head")
    if edge is not None:
        return (_edge(component, heads, edge, positions),)
    chosen = {} if positions is None else {"position": positions}
    if heads is not None:
        return (Site(f"{component}.hook_z", ("position", "head", "head_width"), {**chosen, "head": heads}),)
    return tuple(Site(point, _STREAM_AXES, chosen) for point in points[component])


def _edge(attention: str, heads: tuple[int, ...] | None, edge: object, positions: tuple[int, ...] | None) -> Site:
    try:
        query, key = as_indices(edge, "edge")
    except ValueError:
        raise ValueError(f"edge {edge!r} is no pair of positions; give (query, key) with 0 <= key <= query") from None
    if positions is not None:
        raise ValueError("an attention edge has its own two positions; leave out position")
    if not 0 <= key <= query:
        raise ValueError(f"no attention goes from query {query} to key {key}; give (query, key) with 0 <= key <= query")
    chosen = {"query": (query,), "key": (key,)} | ({} if heads is None else {"head": heads})
    return Site(f"{attention}.hook_pattern", ("head", "query", "key"), chosen)


def as_indices(given: object, noun: str) -> tuple[int, ...]:
    """One index or several as Python's whole numbers, whatever their type: those of numpy, torch and pandas are taken too.

    Raises ValueError for what is no whole number (a mask has none), and for none at all.
    """
    several: tuple
    try:
        several = tuple(given)  # type: ignore[arg-type]
    except TypeError:  # one, also as an array without axes
        several = (given,)
    if not several:
        raise ValueError(f"no {noun} was given, and nothing would be replaced; leave {noun} out to mean all of them")
    whole = tuple(index.item() if getattr(index, "ndim", None) == 0 else index for index in several)
    if not all(type(index) is int for index in whole):
        raise ValueError(f"{noun} {given!r} is no index, expected whole numbers; give {noun}=2 or {noun}=[0, 2]")
    return whole


def require_indices(given: Collection[int], size: int, noun: str) -> None:
    """Raises ValueError for an index outside -size .. size - 1."""
    for index in given:
        if not -size <= index < size:
            raise ValueError(f"{noun} {index} does not exist, expected 0 .. {size - 1}; choose one of them")


@contextmanager
def replacing(model: HookedTransformer, sites: Collection[Site], replace: Replace):
    """While this is open, forward passes have `replace(point, activation)` at each site. Removes its own hooks alone."""

    def hook_for(site: Site):
        def hook(value: Tensor, hook: object) -> Tensor:
            return site.put(value, replace(site.point, value))

        return hook

    with own_hooks(model, [(site.point, hook_for(site)) for site in sites]):
        yield
