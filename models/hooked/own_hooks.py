"""Hooks of ours on a hooked model: there while a context is open, and alone in going when it closes."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from torch import Tensor

from models.hooked import HookedTransformer

if TYPE_CHECKING:
    from transformer_lens.hook_points import HookPoint

HookFunction = Callable[..., Tensor | None]
"""Called as `function(activation, hook=point)`; returns None to leave the activation, or what goes in its place."""


@contextmanager
def own_hooks(model: HookedTransformer, hooks: Iterable[tuple[str, HookFunction]]) -> Iterator[None]:
    """While this is open, each function is at its hook point; on the way out exactly these are removed.

    So contexts may close in any order, as those of generators do; TransformerLens 3's `model.hooks` then takes off the hooks of
    whichever was opened last.
    """
    points = model.hook_dict
    with ExitStack() as stack:
        for name, function in hooks:
            stack.callback(_added(points[name], function))
        yield


def _added(point: "HookPoint", function: HookFunction) -> Callable[[], None]:
    """Puts a function on a hook point; what is returned takes it off, also where `reset_hooks` has done so already."""
    point.add_hook(function)
    own = point.fwd_hooks[-1]

    def remove() -> None:
        own.hook.remove()
        point.fwd_hooks = [handle for handle in point.fwd_hooks if handle is not own]

    return remove
