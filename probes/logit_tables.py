"""Bias, displacement and attention logits: the tables that say all that a minimal set-complement model computes.

    f(t) = B[t_s] + sum_i softmax_i(A[t_s, t_i]) D[t_i]

For: reading them from the weights, every TransformerLens bias included. Not for: measuring behaviour, which is
`probes/logit_displacement.py`. Model form and the name "logit displacement" are of arXiv 2510.08341; adding a vector g to every
row of D and taking it from every row of B changes nothing (a gauge), and neither does a constant added to a row.
"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from einops import einsum
from jaxtyping import Float64

from models.hooked import plain_state
from models.transformer import Transformer
from probes.minimal_model import IntTokens, float64_copy, logits_at_all_positions, require_minimal
from probes.residual_stream import Model, context_of


@dataclass(frozen=True)
class HeadTables:
    """The tables of a one-layer attention-only model with any number of heads, in logits."""

    bias: Float64[np.ndarray, "vocab vocab"]
    """B = E U + (sum over heads of b_V W_O + b_O) U + b_U; row = last token, column = logit"""
    displacement: Float64[np.ndarray, "head vocab vocab"]
    """D = E W_V W_O U of each head; row = attended token, column = logit"""
    attention_logits: Float64[np.ndarray, "head vocab vocab"]
    """A = (E W_Q + b_Q)(E W_K + b_K)' / scale of each head; row = last token (query), column = attended token (key)"""

    def last_logits(self, tokens: IntTokens) -> Float64[np.ndarray, "batch vocab"]:
        """Logits after the last token of each sequence: the formula above, summed over heads."""
        query = tokens[:, -1]
        scores = self.attention_logits[:, query[:, None], tokens]  # head batch position
        pattern = np.exp(scores - scores.max(axis=-1, keepdims=True))  # the maximum over present tokens: nothing overflows
        pattern /= pattern.sum(axis=-1, keepdims=True)
        pushed = einsum(pattern, self.displacement[:, tokens], "head batch position, head batch position logit -> batch logit")
        return self.bias[query] + pushed


@dataclass(frozen=True)
class LogitTables:
    """The tables of the minimal model, which has one head, in logits."""

    bias: Float64[np.ndarray, "vocab vocab"]
    """B: row = last token, column = logit"""
    displacement: Float64[np.ndarray, "vocab vocab"]
    """D: row = attended token, column = logit"""
    attention_logits: Float64[np.ndarray, "vocab vocab"]
    """A, scaled: row = last token (query), column = attended token (key)"""

    @property
    def vocab(self) -> int:
        """Number of tokens v."""
        return len(self.bias)

    def last_logits(self, tokens: IntTokens) -> Float64[np.ndarray, "batch vocab"]:
        """Logits after the last token of each sequence; the order of the tokens before it does not enter."""
        return HeadTables(self.bias, self.displacement[None], self.attention_logits[None]).last_logits(tokens)

    def frame(self) -> pd.DataFrame:
        """Tidy: one row a (table, row, logit) with its `value`.

        `table` is bias, displacement or attention logits; for the last one the column `logit` holds the attended token.
        """
        token = np.arange(self.vocab)
        tables = {"bias": self.bias, "displacement": self.displacement, "attention logits": self.attention_logits}
        index = pd.MultiIndex.from_product([list(tables), token, token], names=["table", "row", "logit"])
        return pd.DataFrame({"value": np.stack(list(tables.values())).ravel()}, index=index).reset_index()


def head_tables(model: Model) -> HeadTables:
    """Reads the tables of a one-layer attention-only model without positions and norms, computed in float64.

    Raises:
        ValueError: for any other model, and for one whose own logits differ from the formula (a soft cap, attention sinks or
            another switch of its configuration).
    """
    require_minimal(model, one_head=False)
    exact = float64_copy(model)
    weight = {name.removeprefix("blocks.0."): tensor.detach().numpy() for name, tensor in plain_state(exact).items()}
    embed, unembed, w_o = weight["embed.W_E"], weight["unembed.W_U"], weight["attn.W_O"]
    queries, keys = (
        einsum(embed, weight[f"attn.W_{side}"], "row width, head width d -> head row d") + weight[f"attn.b_{side}"][:, None]
        for side in "QK"
    )
    constant = einsum(weight["attn.b_V"], w_o, "head d, head d width -> width") + weight["attn.b_O"]
    tables = HeadTables(
        bias=(embed + constant) @ unembed + weight["unembed.b_U"],
        displacement=embed @ weight["attn.W_V"] @ w_o @ unembed,
        attention_logits=einsum(queries, keys, "head query d, head key d -> head query key") / _scale(exact),
    )
    _require_same_logits(exact, tables)
    return tables


def logit_tables(model: Model) -> LogitTables:
    """Reads the tables of a minimal model: one layer, one head, attention only, no positions, no norm; float64.

    Limits: `closed_form(v, v - 1)` has B = -gap I, D = -gap (v - 1) I up to constants, and A = 0. Raises ValueError, naming
    what was found, for any other model.
    """
    require_minimal(model)
    tables = head_tables(model)
    return LogitTables(tables.bias, tables.displacement[0], tables.attention_logits[0])


def _scale(model: Model) -> float:
    if isinstance(model, Transformer):
        return math.sqrt(model.config.head_width)
    return model.cfg.attn_scale if model.cfg.use_attn_scale else 1.0


def _require_same_logits(exact: Model, tables: HeadTables) -> None:
    """A configuration switch nobody listed would otherwise make every result wrong in silence."""
    vocab = len(tables.bias)
    length = min(vocab - 1, context_of(exact))
    tokens = np.stack([np.roll(np.arange(vocab), shift)[:length] for shift in range(min(vocab, 8))])
    expected = logits_at_all_positions(exact, tokens)[:, -1]
    difference = np.abs(tables.last_logits(tokens) - expected).max()
    largest = max(np.abs(expected).max(), np.abs(tables.bias).max(), np.abs(tables.displacement).max())
    if difference > 1e-8 * largest:
        raise ValueError(
            f"the model's logits differ by {difference:.3g} from the formula of its weights (largest term {largest:.3g}), "
            "expected equal ones; its configuration switches on something beyond plain causal attention: switch it off"
        )
