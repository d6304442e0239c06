"""The two-token identity: the logits of every input follow from those at lengths 1 and 2.

    f(t) = sum_{i<s} rho_i f((t_i, x)) - (s - 2) p_x f((x)),    x = t_s,    rho_i = p_x + p_i

with p the attention of x over t. It holds for any weights of the minimal model, and for uniform attention becomes
(2 / s) sum f((t_i, x)) - ((s - 2) / s) f((x)), which is where the 2/s law comes from (derived for this project).
"""

import numpy as np
import pandas as pd
from einops import einsum
from jaxtyping import Float64

from models.config import WeightsName
from probes.drawn_sequences import whole_sequences
from probes.logit_tables import logit_tables
from probes.minimal_model import IntTokens, float64_copy, logits_at_all_positions
from probes.subject import Address, set_complement_subject

BATCH = 256


def reconstruct(
    one: Float64[np.ndarray, "vocab logit"],
    two: Float64[np.ndarray, "vocab vocab logit"],
    attention_logits: Float64[np.ndarray, "vocab vocab"],
    tokens: IntTokens,
) -> Float64[np.ndarray, "batch logit"]:
    """Logits after the last token of each input, from `one[x]` = f((x)), `two[y, x]` = f((y, x)) and the attention logits.

    Zero attention logits give the uniform form. At s = 1 and s = 2 it returns `one` and `two` themselves.
    """
    length, query = tokens.shape[1], tokens[:, -1]
    scores = attention_logits[query[:, None], tokens]
    pattern = np.exp(scores - scores.max(axis=1, keepdims=True))
    pattern /= pattern.sum(axis=1, keepdims=True)
    own, others = pattern[:, -1:], pattern[:, :-1]
    pairs = two[tokens[:, :-1], query[:, None]]
    return einsum(own + others, pairs, "batch context, batch context logit -> batch logit") - (length - 2) * own * one[query]


def two_token_identity(model: Address, sequences: int = 64, seed: int = 0, *, weights: WeightsName = "raw") -> pd.DataFrame:
    """How far the reconstruction from lengths 1 and 2 is from what the model computes at every length, in float64.

    Tidy, one row a `length`, after the labels of the checkpoint: `residual`, the largest |reconstructed - model| over random
    inputs and logits, relative to the largest |logit| there; and as the control `uniform_residual`, the same with uniform
    attention in place of the model's, which is as small only where its attention is uniform. Range [0, inf); rounding (about
    1e-15) where the identity holds.

    Raises ValueError for a model that is not minimal or is in training mode, or whose context is a single token, for fewer than
    two sequences and for a seed outside 0 .. 2**32 - 1.
    """
    studied = set_complement_subject(model, weights)
    tables, longest = logit_tables(studied.model), studied.longest
    if longest < 2:
        raise ValueError("the model's context is 1 token, and the identity needs inputs of 2; use a model with a longer one")
    exact, token = float64_copy(studied.model), np.arange(tables.vocab)
    one = logits_at_all_positions(exact, token[:, None])[:, -1]
    pairs = np.stack(np.meshgrid(token, token, indexing="ij"), axis=-1)  # (x, x) is computed and never used
    two = logits_at_all_positions(exact, pairs.reshape(-1, 2))[:, -1].reshape(tables.vocab, tables.vocab, -1)
    attention, uniform = tables.attention_logits, np.zeros_like(tables.attention_logits)
    most = np.zeros((3, longest))
    for drawn in whole_sequences(studied.task, sequences, seed, BATCH):
        tokens = drawn.numpy()[:, :longest]
        logits = logits_at_all_positions(exact, tokens)
        for length in range(1, longest + 1):
            expected = logits[:, length - 1]
            actual, control = (reconstruct(one, two, scores, tokens[:, :length]) for scores in (attention, uniform))
            found = [np.abs(part).max() for part in (expected, actual - expected, control - expected)]
            most[:, length - 1] = np.maximum(most[:, length - 1], found)
    largest, residual, uniform_residual = most
    largest = np.maximum(largest, np.finfo(float).tiny)
    rows = {"residual": residual / largest, "uniform_residual": uniform_residual / largest}
    return studied.named(pd.DataFrame({"length": np.arange(1, longest + 1)} | rows))
