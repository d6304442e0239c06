"""The structure test: is a model's displacement diagonal, up to what the logits cannot show?

If the absent logits of a minimal model are tied at lengths 1 and 2, then (v >= 4, any attention; derived for this project)

    D = -diag(gamma) + 1 d0' + r 1',    B = -diag(b) - 1 d0' + c 1'

and so absent tokens are tied at every length, a context token lies p_i gamma_i below them and the last one b + p gamma. d0 is
shared by D and B with opposite signs because adding it to one and taking it from the other changes no logit (a gauge); r and c
add constants to whole rows, which no softmax sees. For: testing that on trained weights, in numbers.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float64

from models.config import WeightsName
from probes.logit_tables import LogitTables, logit_tables
from probes.subject import Address, set_complement_subject


@dataclass(frozen=True)
class StructureFit:
    """The joint least-squares fit of D and B; all in logits."""

    gamma: Float64[np.ndarray, "vocab"]
    """push on a token while it is attended to with full weight; > 0 in a model that works"""
    b: Float64[np.ndarray, "vocab"]
    """push on a token for being the last one, whatever the attention; a negative one fails at long lengths"""
    d0: Float64[np.ndarray, "vocab"]
    """the gauge, mean 0"""
    displacement_residual: Float64[np.ndarray, "vocab vocab"]
    """D minus the fit; 0 on the diagonal, which gamma takes up"""
    bias_residual: Float64[np.ndarray, "vocab vocab"]
    """B minus the fit; 0 on the diagonal, which b takes up"""


def fit_structure(bias: Float64[np.ndarray, "vocab vocab"], displacement: Float64[np.ndarray, "vocab vocab"]) -> StructureFit:
    """Fits gamma, b, d0, r and c jointly: one linear system of 3 v normal equations over the off-diagonal entries.

    gamma, b and the residuals do not depend on the gauge: (B - 1 g', D + 1 g') gives the same. Limits: residuals 0 on any exact
    structure; gamma = 0 and b = 0 where every row is constant.
    """
    vocab = len(bias)
    off = 1 - np.eye(vocab)
    zero = np.zeros((vocab, vocab))
    row_count = (vocab - 1) * np.eye(vocab)
    normal = np.block([[2 * row_count, off, -off], [off, row_count, zero], [-off, zero, row_count]])
    d, k = displacement * off, bias * off
    target = np.concatenate([d.sum(axis=0) - k.sum(axis=0), d.sum(axis=1), k.sum(axis=1)])
    # one direction is free, a constant moved between d0, r and c; the least-norm solution settles it
    d0, r, c = np.split(np.linalg.lstsq(normal, target, rcond=None)[0], 3)
    shift = d0.mean()
    d0, r, c = d0 - shift, r + shift, c - shift
    displacement_residual = displacement - d0[None] - r[:, None]
    bias_residual = bias + d0[None] - c[:, None]
    return StructureFit(
        gamma=-np.diag(displacement_residual),
        b=-np.diag(bias_residual),
        d0=d0,
        displacement_residual=displacement_residual * off,
        bias_residual=bias_residual * off,
    )


def displacement_structure(model: Address, *, weights: WeightsName = "raw") -> pd.DataFrame:
    """The fitted structure of a minimal model.

    Tidy, one row a `token`, after the labels of the checkpoint: `gamma`, `b` (logits); `displacement_residual`,
    `bias_residual`, the root mean square of its row's residuals (logits); `relative_residual`, the greater over the mean
    gamma, 0 on an exact structure; `gamma_control`, `b_control`, the same fit with every token's logit given to the next
    token, about -gamma / (v - 1) where the structure is real; `query_fails_from`, the first length at which b + gamma / s <=
    0, so that uniform attention would leave the last token looking legal (missing where no length does).

    Raises ValueError for a model that is not minimal or is in training mode.
    """
    studied = set_complement_subject(model, weights)
    tables = logit_tables(studied.model)
    fit = fit_structure(tables.bias, tables.displacement)
    control = _control(tables)
    others = tables.vocab - 1
    displacement_residual = np.sqrt((fit.displacement_residual**2).sum(axis=1) / others)
    bias_residual = np.sqrt((fit.bias_residual**2).sum(axis=1) / others)
    fails_from = _query_fails_from(fit.gamma, fit.b)
    frame = pd.DataFrame(
        {
            "token": np.arange(tables.vocab),
            "gamma": fit.gamma,
            "b": fit.b,
            "displacement_residual": displacement_residual,
            "bias_residual": bias_residual,
            "relative_residual": np.maximum(displacement_residual, bias_residual) / np.abs(fit.gamma.mean()),
            "gamma_control": control.gamma,
            "b_control": control.b,
            "query_fails_from": pd.array([n if n < tables.vocab else None for n in fails_from], dtype="Int64"),
        }
    )
    return studied.named(frame)


def _control(tables: LogitTables) -> StructureFit:
    return fit_structure(np.roll(tables.bias, 1, axis=1), np.roll(tables.displacement, 1, axis=1))


def _query_fails_from(gamma: np.ndarray, b: np.ndarray) -> list[float]:
    return [
        1.0 if push + bias <= 0 else np.ceil(push / -bias) if bias < 0 else np.inf for push, bias in zip(gamma, b, strict=True)
    ]
