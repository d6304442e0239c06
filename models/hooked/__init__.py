"""Wraps a plain model as TransformerLens's model with hook points, for analysis. Only this folder imports transformer_lens.

The two forms compute the same function (a test proves it over a table of configurations); the hooked one has hook points, a
cache, and no dropout whatever its mode, so it comes in eval mode and analysis refuses a model that was put in training mode.

Which class it is depends on the installed TransformerLens: a HookedTransformer on 3.x (`hooked_transformer.py`), a
TransformerBridge around TransformerLens's own native model on 4.x, which has no HookedTransformer (`native_bridge.py`). Code of
ours uses what both have and gives both the name `HookedTransformer`; `docs/transformer-lens.md` says where they differ.

TransformerLens takes three times as long to import as torch, so it is imported when the first hooked model is made, and whoever
evaluates a checkpoint, which needs none, does not wait for it.
"""

import importlib
import os
import re
import sys
from collections.abc import Mapping
from importlib.metadata import version
from types import ModuleType
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from models.checkpoint import find_checkpoint, read_card, read_weights
from models.config import ModelConfig, WeightsName
from models.device import usable_device
from models.float_type import require_float
from models.transformer import Transformer, require_fit

TRANSFORMER_LENS: str = version("transformer-lens")
"""the installed version"""

if re.match(r"3\.(9|\d\d)", TRANSFORMER_LENS):
    _LINE = "models.hooked.hooked_transformer"
elif TRANSFORMER_LENS.startswith("4."):
    _LINE = "models.hooked.native_bridge"
else:
    raise ImportError(
        f"TransformerLens {TRANSFORMER_LENS} is installed, expected 3.9 to 4.x; pip install 'transformer-lens>=3.9,<5'"
    )


def _line() -> ModuleType:
    """The module for the installed line of TransformerLens; the first call imports both."""
    return importlib.import_module(_LINE)


if TYPE_CHECKING:
    from models.hooked.hooked_transformer import HookedTransformer
else:

    class _Hooked(type):
        def __instancecheck__(cls, instance: object) -> bool:
            # whoever holds a hooked model has imported TransformerLens
            return "transformer_lens" in sys.modules and isinstance(instance, _line().HookedTransformer)

    class HookedTransformer(metaclass=_Hooked):
        """Stands for the class of hooked models, in annotations and `isinstance`; `hook` and `load` make one."""


__all__ = ["TRANSFORMER_LENS", "HookedTransformer", "hook", "load", "plain", "plain_state"]


def load(
    path: str | os.PathLike[str],
    weights: WeightsName = "raw",
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> HookedTransformer:
    """A checkpoint as a hooked model in eval mode, with its card at `.card` and the name of its weights at `.weights`.

    Args:
        path: a checkpoint folder, a run (its last step is taken) or a bundled name.
        weights: `raw`, `ema` or `bema`.
        device: where the model is put; nothing is chosen silently.
        dtype: float32, or float64 for exact comparisons; bfloat16 and float16 too.

    Raises:
        CheckpointError: nothing is found there, or it is damaged, or has no such weights.
        ValueError: a device that is unknown or not usable here; another dtype.
    """
    device = usable_device(device)
    require_float(dtype)
    folder = find_checkpoint(path)
    card = read_card(folder)
    state = {name: tensor.to(device, dtype) for name, tensor in read_weights(folder, weights, card).items()}
    model = hook(card.model, state)
    model.card = card  # type: ignore[assignment]  # torch types every attribute of a module as tensor or module
    model.weights = weights  # type: ignore[assignment]
    return model


@torch.no_grad()
def hook(config: ModelConfig, state: Mapping[str, Tensor]) -> HookedTransformer:
    """The hooked form of a plain model's configuration and state dict, in eval mode, on the state's device and dtype.

    Hook names and shapes are those of TransformerLens 3 on both lines (`blocks.0.attn.hook_pattern` [batch, head, query, key]).
    Weights are not folded or centred. Without positions `pos_embed.W_pos` is zero and frozen, since TransformerLens has no
    switch for it. Raises ValueError naming missing, unexpected and mis-shaped keys, and for no config and no state dict.
    """
    require_fit(config, state)
    full, like = dict(state), state["embed.W_E"]
    if config.positions == "none":
        full["pos_embed.W_pos"] = like.new_zeros(config.context, config.width)
    model: HookedTransformer = _line().build(config, full)
    if config.positions == "none":
        model.pos_embed.W_pos.requires_grad_(False)
    return model.eval()


def plain(model: HookedTransformer) -> Transformer:
    """The plain form of a hooked model, on the same tensors, in eval mode, with a card or without.

    The inverse of `hook`, but that positions that are none become learned ones of zero. Its shape is read off the weights, so
    of a model that is not made by `hook` it may compute another function (another activation, scale or mask); compare logits.
    Hooks are left behind. Raises ValueError for weights that no plain model has, and for what is no hooked model.
    """
    _require_hooked(model)
    state = plain_state(model)
    before, after = "blocks.0.ln1.w" in state, "blocks.0.ln1_post.w" in state
    config = ModelConfig(
        vocab=model.cfg.d_vocab,
        context=model.cfg.n_ctx,
        layers=model.cfg.n_layers,
        heads=model.cfg.n_heads,
        width=model.cfg.d_model,
        head_width=model.cfg.d_head,
        mlp_width=0 if model.cfg.attn_only else model.cfg.d_mlp,
        positions="learned",
        norm="pre" if before else "branch" if after else "none",
        final_norm="ln_final.w" in state,
    )
    form = Transformer(config, seed=None)
    try:
        form.load_state_dict(state, assign=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"the weights fit no plain model ({reason}); use the hooked model itself") from error
    return form.eval()


def plain_state(model: Transformer | HookedTransformer) -> dict[str, Tensor]:
    """A model's own tensors under the plain model's keys; what the plain model lacks keeps its name.

    Raises ValueError for what is no model.
    """
    if isinstance(model, Transformer):
        return dict(model.state_dict())
    _require_hooked(model)
    return _line().plain_state(model)


def _require_hooked(model: object) -> None:
    if not isinstance(model, HookedTransformer):
        raise ValueError(f"a {type(model).__name__} is no hooked model; give one of load(NAME), or hook(config, state)")
