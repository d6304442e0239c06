"""Wraps a plain model as a TransformerLens HookedTransformer, for analysis. The only file that imports transformer_lens.

The two forms compute the same function (a test proves it over a table of configurations); the hooked one has hook points, a
cache, and no dropout whatever its mode, so it comes in eval mode and analysis refuses a model that was put in training mode.
"""

import os
import warnings
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from transformer_lens import HookedTransformer, HookedTransformerConfig
from transformer_lens.components import LayerNorm as HookedLayerNorm

from models.checkpoint import find_checkpoint, read_card, read_weights
from models.config import ModelConfig, WeightsName
from models.transformer import Transformer

__all__ = ["HookedTransformer", "hook", "load", "plain"]


def load(
    path: str | os.PathLike[str],
    weights: WeightsName = "raw",
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> HookedTransformer:
    """A checkpoint as a HookedTransformer in eval mode, with its card at `.card` and the name of its weights at `.weights`.

    Args:
        path: a checkpoint folder, a run (its last step is taken) or a bundled name.
        weights: `raw`, `ema` or `bema`.
        device: where the model is put; nothing is chosen silently.
        dtype: float32, or float64 for exact comparisons.

    Raises:
        CheckpointError: nothing is found there, or it is damaged, or has no such weights.
    """
    folder = find_checkpoint(path)
    card = read_card(folder)
    state = {name: tensor.to(device, dtype) for name, tensor in read_weights(folder, weights, card).items()}
    model = hook(card.model, state)
    model.card = card  # type: ignore[assignment]  # torch types every attribute of a module as tensor or module
    model.weights = weights  # type: ignore[assignment]
    return model


def _hooked_config(config: ModelConfig, dtype: torch.dtype, device: torch.device) -> HookedTransformerConfig:
    attention_only = config.mlp_width == 0
    return HookedTransformerConfig(
        d_model=config.width,
        d_head=config.head_width,
        n_heads=config.heads,
        n_layers=config.layers,
        n_ctx=config.context,
        d_vocab=config.vocab,
        d_vocab_out=config.vocab,
        d_mlp=None if attention_only else config.mlp_width,
        attn_only=attention_only,
        act_fn="gelu",
        normalization_type="LN" if config.norm == "pre" else None,
        use_normalization_before_and_after=config.norm == "branch",
        positional_embedding_type="standard",
        init_weights=False,
        dtype=dtype,
        device=str(device),
    )


def hook(config: ModelConfig, state: Mapping[str, Tensor]) -> HookedTransformer:
    """The HookedTransformer of a plain model's configuration and state dict, in eval mode, on the state's device and dtype.

    Hook names and shapes are TransformerLens's (`blocks.0.attn.hook_pattern` [batch, head, query, key]). Weights are not
    folded or centred. Without positions `pos_embed.W_pos` is zero and frozen, since TransformerLens 3 has no switch for it.
    Raises ValueError naming missing, unexpected and mis-shaped keys.
    """
    like = state["embed.W_E"]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*HookedTransformer.*", category=DeprecationWarning)
        model = HookedTransformer(_hooked_config(config, like.dtype, like.device))
    _place_norms(model, config)
    model.setup()
    _load(model, config, state)
    if config.positions == "none":
        model.pos_embed.W_pos.requires_grad_(False)
    return nn.Module.to(model, like.dtype).eval()  # TransformerLens's own .to() prints


def plain(model: HookedTransformer) -> Transformer:
    """The plain form of a hooked model, on the same tensors, in eval mode, with a card or without.

    The inverse of `hook`, but that positions that are none become learned ones of zero. Its shape is read off the weights, so
    of a model that is not made by `hook` it may compute another function (another activation, scale or mask); compare logits.
    Hooks are left behind. Raises ValueError for weights that no plain model has.
    """
    state = {name: tensor for name, tensor in model.state_dict().items() if not name.endswith((".mask", ".IGNORE"))}
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
    form = Transformer(config)
    try:
        form.load_state_dict(state, assign=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"the weights fit no plain model ({reason}); use the hooked model itself") from error
    return form.eval()


def _place_norms(model: HookedTransformer, config: ModelConfig) -> None:
    """Puts LayerNorm exactly where the plain model has it.

    TransformerLens 3.9 couples norm and final norm in one `normalization_type` and cannot build branch norm with 'LN'; its
    forward pass only asks whether the type is None before it calls `ln_final`.
    """
    if config.norm == "branch":
        for block in model.blocks:
            block.ln1_post = HookedLayerNorm(model.cfg)
            if config.mlp_width:
                block.ln2_post = HookedLayerNorm(model.cfg)
    if config.norm == "pre" and not config.final_norm:
        model.ln_final = nn.Identity()
    if config.norm != "pre" and config.final_norm:
        model.ln_final = HookedLayerNorm(model.cfg)
        model.cfg.normalization_type = "LN"


@torch.no_grad()
def _load(model: HookedTransformer, config: ModelConfig, state: Mapping[str, Tensor]) -> None:
    full = dict(state)
    if config.positions == "none":
        full["pos_embed.W_pos"] = torch.zeros_like(model.pos_embed.W_pos)
    own = {name: tensor for name, tensor in model.state_dict().items() if not name.endswith((".mask", ".IGNORE"))}
    missing = sorted(own.keys() - full.keys())
    unexpected = sorted(full.keys() - own.keys())
    misshaped = [
        f"{name} {tuple(full[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in own.items()
        if name in full and full[name].shape != tensor.shape
    ]
    if missing or unexpected or misshaped:
        raise ValueError(
            f"weights do not fit the model config: missing {missing}, unexpected {unexpected}, mis-shaped {misshaped}; "
            "use the config the weights were saved with"
        )
    model.load_state_dict(full, strict=False)  # strict would ask for the mask buffers
