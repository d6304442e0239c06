"""What both lines of TransformerLens ask of a model's shape, in their words."""

from typing import Any

from torch import Tensor

from models.config import ModelConfig


def settings(config: ModelConfig, like: Tensor) -> dict[str, Any]:
    """Keyword arguments of a HookedTransformerConfig and of a TransformerBridgeConfig; dtype and device are those of `like`."""
    attention_only = config.mlp_width == 0
    return dict(
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
        positional_embedding_type="standard",
        init_weights=False,
        dtype=like.dtype,
        device=str(like.device),
    )
