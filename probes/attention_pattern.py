"""The attention pattern of every block, handed over while a forward pass runs; nothing is kept.

For: reading patterns of a plain or a hooked model through one function. Not for: changing them, which takes a hooked model and
`blocks.0.attn.hook_pattern`. The plain model's fused attention makes no pattern, so there it is computed beside the pass; the
hooked one shows what any other hook on it does.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial

from jaxtyping import Float
from torch import Tensor, nn

from models.hooked.own_hooks import HookFunction, own_hooks
from models.hooked.temporary_hooks import TakeOff, temporary_hooks
from models.transformer import Attention, Transformer
from probes.residual_stream import Model

Pattern = Float[Tensor, "batch head query key"]
Read = Callable[[int, Pattern], None]
"""Called with a block, from 0, and its pattern: each row sums to 1 over the tokens seen."""


def heads_of(model: Model) -> int:
    """How many heads each block has."""
    return model.config.heads if isinstance(model, Transformer) else model.cfg.n_heads


def reading_patterns(model: Model, read: Read) -> AbstractContextManager[None]:
    """While this is open, every forward pass of the model calls `read` for each block, in order.

    The hooks are removed on the way out whatever happens, and no others.
    """
    if isinstance(model, Transformer):
        return temporary_hooks([partial(_hook_plain, model, layer, read) for layer in range(len(model.blocks))])
    points = [(f"blocks.{layer}.attn.hook_pattern", _at_point(layer, read)) for layer in range(model.cfg.n_layers)]
    return own_hooks(model, points)


def _hook_plain(model: Transformer, layer: int, read: Read) -> TakeOff:
    def before_attention(attention: nn.Module, arguments: tuple) -> None:
        assert isinstance(attention, Attention)
        read(layer, attention.pattern(arguments[0]))

    return model.get_submodule(f"blocks.{layer}.attn").register_forward_pre_hook(before_attention).remove


def _at_point(layer: int, read: Read) -> HookFunction:
    def at_point(pattern: Pattern, hook: object) -> None:
        read(layer, pattern)

    return at_point
