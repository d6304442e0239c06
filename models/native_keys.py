"""The keys of TransformerLens 4: the weights of its native model, renamed and reshaped to the plain model's.

For: state dicts of a native TransformerBridge, on disk (`models/importers.py`) and in memory (`models/hooked/`). The other way
TransformerLens has a converter itself, `convert_tl_checkpoint`.
"""

import re
from collections.abc import Mapping

from einops import rearrange
from torch import Tensor

_LAYOUTS = {
    "embed.weight": ("embed.W_E", "token width -> token width"),
    "pos_embed.weight": ("pos_embed.W_pos", "position width -> position width"),
    "attn.q.weight": ("attn.W_Q", "(head d) width -> head width d"),
    "attn.k.weight": ("attn.W_K", "(head d) width -> head width d"),
    "attn.v.weight": ("attn.W_V", "(head d) width -> head width d"),
    "attn.o.weight": ("attn.W_O", "width (head d) -> head d width"),
    "attn.q.bias": ("attn.b_Q", "(head d) -> head d"),
    "attn.k.bias": ("attn.b_K", "(head d) -> head d"),
    "attn.v.bias": ("attn.b_V", "(head d) -> head d"),
    "attn.o.bias": ("attn.b_O", "width -> width"),
    "mlp.in.weight": ("mlp.W_in", "neuron width -> width neuron"),
    "mlp.in.bias": ("mlp.b_in", "neuron -> neuron"),
    "mlp.out.weight": ("mlp.W_out", "width neuron -> neuron width"),
    "mlp.out.bias": ("mlp.b_out", "width -> width"),
    "unembed.weight": ("unembed.W_U", "logit width -> width logit"),
    "unembed.bias": ("unembed.b_U", "logit -> logit"),
}


def plain_keys(state: Mapping[str, Tensor], heads: int) -> dict[str, Tensor]:
    """A native state dict (`blocks.0.attn.q.weight` [head * d, width]) as the plain model's; the tensors are views.

    Keys that the plain model has no counterpart for stay as they are, so that who loads them names them.
    """
    plain = {}
    for native, tensor in state.items():
        block, part = re.fullmatch(r"(blocks\.\d+\.)?(.*)", native).groups(default="")  # type: ignore[union-attr]
        if part in _LAYOUTS:
            name, layout = _LAYOUTS[part]
            plain[block + name] = rearrange(tensor, layout, **({"head": heads} if "head" in layout else {}))
        else:
            plain[re.sub(r"(ln\w+)\.(w|b)(eight|ias)$", r"\1.\2", native)] = tensor
    return plain
