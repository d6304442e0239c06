"""Hooks of ours on the hook points of a hooked model."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import TYPE_CHECKING

from torch import Tensor

from models.hooked import HookedTransformer
from models.hooked.temporary_hooks import PutOn, TakeOff, temporary_hooks

if TYPE_CHECKING:
    from transformer_lens.hook_points import HookPoint

HookFunction = Callable[..., Tensor | None]
"""Called as `function(activation, hook=point)`; returns None to leave the activation, or what goes in its place."""


def own_hooks(model: HookedTransformer, hooks: Iterable[tuple[str, HookFunction]]) -> AbstractContextManager[None]:
    """While this is open, each function is at its hook point; on the way out exactly these are removed.

    TransformerLens 3's `model.hooks` takes off the hooks of whichever context was opened last, and on either line a Ctrl-C that
    comes as they are taken off may leave some.
    """
    return temporary_hooks(at_points(model, hooks))


def at_points(model: HookedTransformer, hooks: Iterable[tuple[str, HookFunction]]) -> list[PutOn]:
    """What puts each function on its hook point, for `temporary_hooks`."""
    return [partial(_put_on, model.hook_dict[name], function) for name, function in hooks]


@contextmanager
def keeping(model: HookedTransformer, points: Iterable[str]) -> Iterator[dict[str, Tensor]]:
    """While this is open, forward passes put the activations of the points into the dict that it gives, by these names.

    What a point that is never come by would hold is not there. As `run_with_cache` does, but for how its hooks come and go.
    """
    kept: dict[str, Tensor] = {}

    def keep(point: str) -> HookFunction:
        def read(value: Tensor, hook: object) -> None:
            kept[point] = value.detach()  # not hook.name, which on TransformerLens 4 is another than the hook was added by

        return read

    with own_hooks(model, [(point, keep(point)) for point in points]):
        yield kept


def _put_on(point: "HookPoint", function: HookFunction) -> TakeOff:
    """Puts a function on a hook point; what is returned takes it off, also where `reset_hooks` has done so already."""
    point.add_hook(function)
    own = point.fwd_hooks[-1]

    def take_off() -> None:
        own.hook.remove()
        point.fwd_hooks = [handle for handle in point.fwd_hooks if handle is not own]

    return take_off
