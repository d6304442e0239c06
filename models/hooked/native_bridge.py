"""The hooked form on TransformerLens 4.x: a TransformerBridge around its native model, with the hook names of 3.x.

`TransformerBridge.boot_native` makes a native model and bridges it; so does `build`, with the model of `native_model.py`.
"""

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor
from transformer_lens.config import TransformerBridgeConfig
from transformer_lens.model_bridge import TransformerBridge as HookedTransformer
from transformer_lens.model_bridge.architecture_adapter import ArchitectureAdapter
from transformer_lens.model_bridge.generalized_components import AttentionBridge, NormalizationBridge
from transformer_lens.model_bridge.generalized_components.base import GeneralizedComponent
from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module
from transformer_lens.utilities.tl_checkpoint_conversion import convert_tl_checkpoint

from models.config import ModelConfig
from models.hooked.native_model import native_model
from models.hooked.settings import settings
from models.native_keys import plain_keys

__all__ = ["HookedTransformer", "build", "plain_state"]


def build(config: ModelConfig, state: Mapping[str, Tensor]) -> HookedTransformer:
    """A TransformerBridge with a copy of `state`, which has every key of the plain model and `pos_embed.W_pos`."""
    like = state["embed.W_E"]
    scale = math.sqrt(config.head_width)  # 3.x fills it in too; the default here stays -1
    native = TransformerBridgeConfig(**settings(config, like), attn_scale=scale)
    bridge = build_bridge_from_module(
        native_model(config, native).to(like.device, like.dtype),
        "TransformerLensNative",
        tl_config=native,
        model_name="native",
        post_adapter_hook=lambda adapter: _adapt(adapter, config),
    )
    if config.final_norm:
        bridge.cfg.normalization_type = "LN"  # what ActivationCache asks before it applies the final norm
    bridge.load_state_dict(convert_tl_checkpoint(dict(state), native), strict=True)
    return bridge


def plain_state(model: HookedTransformer) -> dict[str, Tensor]:
    """The model's own tensors under the plain model's keys; what the plain model lacks keeps its name."""
    return plain_keys(model.state_dict(), model.cfg.n_heads)


def _adapt(adapter: ArchitectureAdapter, config: ModelConfig) -> None:
    """Hook points, under the names of 3.x, for what `native_model` has and TransformerLens's native model has not."""
    mapping: Any = adapter.component_mapping
    final = NormalizationBridge if config.final_norm else GeneralizedComponent
    mapping["ln_final"] = final("ln_out", adapter.cfg)
    block = mapping["blocks"]
    parts: dict[str, GeneralizedComponent] = {"attn": _ScoresBridge("attn", adapter.cfg, block.submodules["attn"].submodules)}
    aliases = {}
    if config.norm == "branch":
        parts["ln1_post"], aliases["hook_attn_out"] = NormalizationBridge("ln1_post", adapter.cfg), "ln1_post.hook_out"
    if config.mlp_width:
        parts["resid_mid"], aliases["hook_resid_mid"] = GeneralizedComponent("resid_mid", adapter.cfg), "resid_mid.hook_out"
    if config.mlp_width and config.norm == "branch":
        parts["ln2_post"], aliases["hook_mlp_out"] = NormalizationBridge("ln2_post", adapter.cfg), "ln2_post.hook_out"
    block.submodules |= parts
    block.hook_aliases = block.hook_aliases | aliases


class _ScoresBridge(AttentionBridge):
    """Hands `hook_attn_scores` to the attention it wraps, as `hook_pattern` is handed to it."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return super().forward(*args, scores_fn=self.hook_attn_scores, **kwargs)
