"""Attention dispersion: the entropy of each attention row, read without keeping a pattern.

Source of the quantity: entropy of the attention distribution of a query over the s tokens it sees; it is between 0 (all on
one token) and ln s (uniform), and exp(entropy) is the number of tokens that uniform attention of that entropy would cover.
"""

import torch
from einops import rearrange
from jaxtyping import Float, Int64
from torch import Tensor

from probes.attention_pattern import reading_patterns
from probes.residual_stream import Model, require_input


def row_entropy(pattern: Float[Tensor, "*rows key"]) -> Float[Tensor, "*rows"]:
    """Entropy -sum p ln p of each row, in nats, in [0, ln keys]; 0 ln 0 is 0, so causal zeros add nothing."""
    return torch.special.entr(pattern).sum(dim=-1)


def normalised(entropy: Float[Tensor, "batch position *rest"]) -> Float[Tensor, "batch position *rest"]:
    """Entropy / ln s, in [0, 1], where s = position + 1 tokens are seen; at s = 1, where both are 0, it is defined as 0."""
    length = torch.arange(1, entropy.shape[1] + 1, device=entropy.device, dtype=entropy.dtype)
    most = torch.where(length > 1, length.log(), 1).reshape(-1, *[1] * (entropy.ndim - 2))
    return entropy / most


def effective_tokens(entropy: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """exp(entropy): how many tokens a uniform row of that entropy attends to, in [1, s]."""
    return entropy.exp()


def logits_and_entropy(
    model: Model, tokens: Int64[Tensor, "batch position"]
) -> tuple[Float[Tensor, "batch position vocab"], Float[Tensor, "batch position layer head"]]:
    """Logits, and the entropy in nats of every attention row, from one forward pass.

    Row (position, layer, head) is the attention of a query that sees `position + 1` tokens. Patterns are reduced as
    they come and dropped. The hooks are removed whatever happens, and no others. Raises ValueError for a model in training
    mode, for an input longer than its context, and for tokens it does not have.
    """
    require_input(model, tokens)
    layers: list[Float[Tensor, "batch head query"]] = []
    with torch.no_grad(), reading_patterns(model, lambda layer, pattern: layers.append(row_entropy(pattern))):
        logits = model(tokens)
    return logits, rearrange(layers, "layer batch head position -> batch position layer head")
