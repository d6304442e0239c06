"""Weights, written down rather than trained, that solve the set-complement task at every length.

For: a model whose answers are known exactly, to hold probes and training against. Not for: a prediction of what training finds.
"""

import math

import torch
from scipy.linalg import helmert

from models.config import ModelConfig
from models.hooked import HookedTransformer, hook


def closed_form(vocab: int, width: int | None = None, gap: float = 1.0) -> HookedTransformer:
    """One attention-only head with d = d_v = v - 1 whose worst gap over all lengths is `gap` logits, in float64 and eval mode.

    The rows of E are a regular simplex (E E' = I - 11'/v), U = -gap E', W_V W_O = (v - 1) I and W_Q = W_K = 0. So attention is
    uniform, the bias is -gap I and the displacement -gap (v - 1) I, up to constants that the softmax does not see. At length s
    absent logits are tied; a context token lies gap (v - 1) / s below them and the last token that plus `gap`. The smallest
    gap is reached by the context tokens at the longest length, s = v - 1, and there it is `gap`.

    Args:
        vocab: v >= 3, the number of tokens.
        width: d, the width of the residual stream; v - 1 when not given, and whatever is above it stays empty.
        gap: the worst gap between an absent and a present logit, > 0.

    Raises:
        ValueError: where vocab < 3, gap <= 0, or width < v - 1. No weights with d < v - 1 can do it: the unembedding vectors
            are v points of R^d, and every non-empty proper subset of tokens, once it is the input, has to be cut from the rest
            by a hyperplane; by Radon's theorem d + 2 points always have a split that none cuts.
    """
    if vocab < 3:
        raise ValueError(f"vocab {vocab} is too small for the set-complement task, expected v >= 3; use a larger vocabulary")
    if not (gap > 0 and math.isfinite(gap)):
        raise ValueError(f"gap {gap} orders nothing, expected a finite gap > 0 in logits; choose a positive gap")
    needed = vocab - 1
    width = needed if width is None else width
    if width < needed:
        raise ValueError(
            f"width {width} cannot solve the set-complement task over {vocab} tokens, expected d >= v - 1 = {needed}, because "
            f"by Radon's theorem {width + 2} unembedding vectors in {width} dimensions have a split into present and absent "
            f"tokens that no hyperplane separates; use width >= {needed}"
        )
    config = ModelConfig(vocab=vocab, context=needed, width=width, head_width=needed)
    simplex = torch.zeros(vocab, width, dtype=torch.float64)
    simplex[:, :needed] = torch.from_numpy(helmert(vocab).T.copy())  # orthonormal, and every column sums to zero
    identity = torch.eye(width, needed, dtype=torch.float64) * math.sqrt(needed)
    zeros = torch.zeros(1, width, needed, dtype=torch.float64)
    head_zeros = torch.zeros(1, needed, dtype=torch.float64)
    attention = {
        "W_Q": zeros, "W_K": zeros, "W_V": identity[None], "W_O": identity.T[None],
        "b_Q": head_zeros, "b_K": head_zeros, "b_V": head_zeros, "b_O": torch.zeros(width, dtype=torch.float64),
    }  # fmt: skip
    state = {
        "embed.W_E": simplex,
        "unembed.W_U": -gap * simplex.T,
        "unembed.b_U": torch.zeros(vocab, dtype=torch.float64),
        **{f"blocks.0.attn.{name}": tensor for name, tensor in attention.items()},
    }
    return hook(config, state)
