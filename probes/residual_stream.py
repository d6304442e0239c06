"""The residual stream at every layer, handed over while a forward pass runs; nothing is kept.

For: reading and editing the stream of a plain or a hooked model through one function. Layer 0 is the stream before the first
block (embedding plus positions), layer l the stream after block l, so a model of L blocks has the layers 0 .. L; in
TransformerLens's names `blocks.0.hook_resid_pre` and `blocks.{l-1}.hook_resid_post`. Not for: what is inside a block.

The plain model is faster (fused attention); the hooked one shows what any other hook on it does.
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from models.hooked import HookedTransformer
from models.hooked.own_hooks import at_points
from models.hooked.temporary_hooks import PutOn, TakeOff, temporary_hooks
from models.token_input import require_token_matrix
from models.transformer import Transformer

Model = Transformer | HookedTransformer
Stream = Float[Tensor, "batch position width"]
Visit = Callable[[int, Stream], Stream | None]
"""Called with a layer and its stream; returns None to leave it as it is, or a new tensor to put in its place."""


def layers_of(model: Model) -> range:
    """The layers of a model's residual stream: 0 .. number of blocks."""
    return range(len(model.blocks) + 1)


def context_of(model: Model) -> int:
    """The longest input the model takes, in tokens."""
    return model.config.context if isinstance(model, Transformer) else model.cfg.n_ctx


def vocab_of(model: Model) -> int:
    """The number of tokens the model takes."""
    return model.config.vocab if isinstance(model, Transformer) else model.cfg.d_vocab


def width_of(model: Model) -> int:
    """The width of the residual stream."""
    return model.config.width if isinstance(model, Transformer) else model.cfg.d_model


def device_of(model: Model) -> torch.device:
    """Where the model is."""
    return next(model.parameters()).device


def require_eval(model: Model) -> None:
    """Raises ValueError for what is no model, and for one in training mode, whose dropout would be in every measurement."""
    if not isinstance(model, Model):
        given = f"'{model}'" if isinstance(model, str) else f"a {type(model).__name__}"
        raise ValueError(f"{given} is no model; give one of load(NAME), or models.hooked.hook(config, state)")
    if any(module.training for module in model.modules()):
        raise ValueError("the model is in training mode, and analysis needs eval mode; call model.eval() first")


def require_layers(model: Model, layers: Collection[int]) -> None:
    """Raises ValueError for what is no list, and naming the first layer that the model does not have."""
    if isinstance(layers, str) or not isinstance(layers, Collection):
        raise ValueError(f"layers {layers!r:.60} are no list; give a list of them, such as [0, 1]")
    for layer in layers:
        if layer not in layers_of(model):
            raise ValueError(
                f"layer {layer} does not exist, expected 0 (embedding) to {len(model.blocks)} (after the last block); choose "
                "one of them"
            )


def require_input(model: Model, tokens: Int64[Tensor, "batch position"]) -> None:
    """Raises ValueError for a model in training mode, for an input longer than its context, and for tokens it does not have."""
    require_eval(model)
    require_token_matrix(tokens)
    length, context, vocab = tokens.shape[1], context_of(model), vocab_of(model)
    if not 1 <= length <= context:
        raise ValueError(f"the input has {length} tokens, the model takes 1 to {context}; shorten the input")
    if tokens.numel() and not 0 <= int(tokens.min()) <= int(tokens.max()) < vocab:
        raise ValueError(
            f"the input has tokens from {int(tokens.min())} to {int(tokens.max())}, the model knows 0 .. {vocab - 1}; use "
            "sequences of the task the model was trained on"
        )


@contextmanager
def visiting(model: Model, visit: Visit, layers: Collection[int] | None = None) -> Iterator[None]:
    """While this is open, every forward pass of the model calls `visit` at each of the layers (all, if None), in order.

    The hooks are removed on the way out whatever happens, and no others. Raises ValueError for a model in training mode, for
    layers it does not have, and for what cannot be called.
    """
    require_eval(model)
    _require_function(visit)
    chosen = layers_of(model) if layers is None else layers
    require_layers(model, chosen)
    if isinstance(model, Transformer):
        hooks: list[PutOn] = [partial(_hook_plain, model, layer, visit) for layer in chosen]
    else:
        hooks = at_points(model, [_hooked_point(layer, visit) for layer in chosen])
    with temporary_hooks([lambda: model.register_forward_pre_hook(_require_what_comes_in).remove, *hooks]):
        yield


def _require_function(given: object) -> None:
    if not callable(given):
        raise ValueError(f"{given!r:.60} is no function; give one that takes a layer and its stream")


def _require_what_comes_in(model: Model, arguments: tuple) -> None:
    if arguments and isinstance(arguments[0], Tensor) and arguments[0].ndim == 2:
        require_input(model, arguments[0])


def _hook_plain(model: Transformer, layer: int, visit: Visit) -> TakeOff:
    def before_first(module: object, arguments: tuple) -> tuple | None:
        changed = visit(0, arguments[0])
        return None if changed is None else (changed, *arguments[1:])

    def after_block(module: object, arguments: tuple, stream: Tensor) -> Tensor | None:
        return visit(layer, stream)

    if layer == 0:
        return model.blocks[0].register_forward_pre_hook(before_first).remove
    return model.blocks[layer - 1].register_forward_hook(after_block).remove


def _hooked_point(layer: int, visit: Visit) -> tuple[str, Callable[..., Tensor | None]]:
    name = "blocks.0.hook_resid_pre" if layer == 0 else f"blocks.{layer - 1}.hook_resid_post"

    def at_point(stream: Tensor, hook: object) -> Tensor | None:
        return visit(layer, stream)

    return name, at_point


def read_streams(model: Model, tokens: Int64[Tensor, "batch position"], read: Callable[[int, Stream], None]) -> None:
    """Runs the model once without gradients and calls `read(layer, stream)` at every layer from 0 on.

    Memory: one layer's stream at a time, as in a plain forward pass. Raises ValueError as `require_input` does, and for a
    `read` that cannot be called.
    """
    require_input(model, tokens)
    _require_function(read)
    with torch.no_grad(), visiting(model, lambda layer, stream: read(layer, stream)):
        model(tokens)
