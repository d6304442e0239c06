"""The hooked form on TransformerLens 3.x: a HookedTransformer, whose state dict has the plain model's keys."""

import warnings
from collections.abc import Mapping

from torch import Tensor, nn
from transformer_lens import HookedTransformer, HookedTransformerConfig
from transformer_lens.components import LayerNorm as HookedLayerNorm

from models.config import ModelConfig
from models.hooked.settings import settings

__all__ = ["HookedTransformer", "build", "plain_state"]

_BUFFERS = (".mask", ".IGNORE")
"""TransformerLens's causal masks and what fills them: saved with the weights, and no weights"""


def build(config: ModelConfig, state: Mapping[str, Tensor]) -> HookedTransformer:
    """A HookedTransformer with a copy of `state`, which has every key of the plain model and `pos_embed.W_pos`."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*HookedTransformer.*", category=DeprecationWarning)
        both = settings(config, state["embed.W_E"])
        model = HookedTransformer(HookedTransformerConfig(**both, use_normalization_before_and_after=config.norm == "branch"))
    _place_norms(model, config)
    model.setup()
    model = nn.Module.to(model, state["embed.W_E"].dtype)  # TransformerLens's own .to() prints
    model.load_state_dict(state, strict=False)  # strict would ask for the mask buffers
    return model


def plain_state(model: HookedTransformer) -> dict[str, Tensor]:
    """The model's own tensors under the plain model's keys; what the plain model lacks keeps its name."""
    return {name: tensor for name, tensor in model.state_dict().items() if not name.endswith(_BUFFERS)}


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
    if not config.final_norm:
        model.ln_final = nn.Identity()  # there on 4.x too
    elif config.norm != "pre":
        model.ln_final = HookedLayerNorm(model.cfg)
        model.cfg.normalization_type = "LN"
