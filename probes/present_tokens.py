"""Present against absent tokens: the small sums that every set-complement probe is made of."""

import numpy as np
from jaxtyping import Bool, Float64, Int64

from probes.minimal_model import IntTokens


def present_mask(tokens: IntTokens, vocab: int) -> Bool[np.ndarray, "batch vocab"]:
    """True where a token of the vocabulary is in the sequence: the illegal next tokens."""
    present = np.zeros((len(tokens), vocab), dtype=bool)
    np.put_along_axis(present, tokens, True, axis=1)
    return present


def absent_mean(
    logits: Float64[np.ndarray, "batch vocab"], present: Bool[np.ndarray, "batch vocab"]
) -> Float64[np.ndarray, "batch"]:
    """Mean logit of the absent tokens, of which there must be at least one."""
    return np.where(present, 0, logits).sum(axis=1) / (~present).sum(axis=1)


def margin(
    logits: Float64[np.ndarray, "batch vocab"], present: Bool[np.ndarray, "batch vocab"]
) -> Float64[np.ndarray, "batch"]:
    """Min legal logit - max illegal logit, in logits; positive where every token is ordered right."""
    return np.where(present, np.inf, logits).min(axis=1) - np.where(present, logits, -np.inf).max(axis=1)


def token_pairs(vocab: int) -> Int64[np.ndarray, "pairs 2"]:
    """Every input of two tokens: v (v - 1) ordered pairs of different tokens."""
    first, second = np.divmod(np.arange(vocab * vocab), vocab)
    return np.stack([first, second], axis=1)[first != second]
