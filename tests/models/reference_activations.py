"""What is at every hook point of a model, worked out from its weights alone: the oracle for both lines of TransformerLens."""

import torch
import torch.nn.functional as F
from einops import einsum
from torch import Tensor

from models.config import ModelConfig

Activations = dict[str, Tensor]


def reference_activations(config: ModelConfig, state: dict[str, Tensor], tokens: Tensor) -> Activations:
    """Every hook point of the 3.x grammar that a model of this configuration passes, and its `logits`."""
    length, found = tokens.shape[1], {}

    def norm(name: str, x: Tensor, there: bool) -> Tensor:
        if not there:
            return x
        centred = x - x.mean(-1, keepdim=True)
        found[f"{name}.hook_scale"] = (centred.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt()
        found[f"{name}.hook_normalized"] = centred / found[f"{name}.hook_scale"]
        return found[f"{name}.hook_normalized"] * state[f"{name}.w"] + state[f"{name}.b"]

    positions = state.get("pos_embed.W_pos", torch.zeros(config.context, config.width, dtype=state["embed.W_E"].dtype))
    found["hook_embed"] = state["embed.W_E"][tokens]
    found["hook_pos_embed"] = positions[:length].expand(len(tokens), -1, -1)
    x = found["hook_embed"] + found["hook_pos_embed"]
    pre, branch = config.norm == "pre", config.norm == "branch"
    for layer in range(config.layers):
        at = f"blocks.{layer}"
        found[f"{at}.hook_resid_pre"] = x
        read = norm(f"{at}.ln1", x, pre)
        for kind in "qkv":
            weight, bias = state[f"{at}.attn.W_{kind.upper()}"], state[f"{at}.attn.b_{kind.upper()}"]
            found[f"{at}.attn.hook_{kind}"] = einsum(read, weight, "b p w, h w d -> b p h d") + bias
        q, k, v = (found[f"{at}.attn.hook_{kind}"] for kind in "qkv")
        scores = einsum(q, k, "b i h d, b j h d -> b h i j") / config.head_width**0.5
        scores = scores.masked_fill(torch.ones(length, length).triu(1).bool(), -torch.inf)
        found[f"{at}.attn.hook_attn_scores"] = scores
        found[f"{at}.attn.hook_pattern"] = scores.exp() / scores.exp().sum(-1, keepdim=True)
        found[f"{at}.attn.hook_z"] = einsum(found[f"{at}.attn.hook_pattern"], v, "b h i j, b j h d -> b i h d")
        written = einsum(found[f"{at}.attn.hook_z"], state[f"{at}.attn.W_O"], "b p h d, h d w -> b p w")
        found[f"{at}.hook_attn_out"] = norm(f"{at}.ln1_post", written + state[f"{at}.attn.b_O"], branch)
        x = x + found[f"{at}.hook_attn_out"]
        if config.mlp_width:
            found[f"{at}.hook_resid_mid"] = x
            read = norm(f"{at}.ln2", x, pre)
            found[f"{at}.mlp.hook_pre"] = read @ state[f"{at}.mlp.W_in"] + state[f"{at}.mlp.b_in"]
            found[f"{at}.mlp.hook_post"] = F.gelu(found[f"{at}.mlp.hook_pre"])
            written = found[f"{at}.mlp.hook_post"] @ state[f"{at}.mlp.W_out"] + state[f"{at}.mlp.b_out"]
            found[f"{at}.hook_mlp_out"] = norm(f"{at}.ln2_post", written, branch)
            x = x + found[f"{at}.hook_mlp_out"]
        found[f"{at}.hook_resid_post"] = x
    found["logits"] = norm("ln_final", x, config.final_norm) @ state["unembed.W_U"] + state["unembed.b_U"]
    return found
