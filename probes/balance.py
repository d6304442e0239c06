"""Balance: how evenly a model solves lengths 1 and 2, on which all longer ones rest.

arXiv 2510.08341 states that a model which solves lengths 1 and 2 to precision C "in a balanced way" solves length s to 2 C / s.
Its definition of balanced is not known to us; we read it as: absent logits tied, present tokens equally displaced. Under
uniform attention a spread e1, e2 of the absent logits at lengths 1 and 2 is not divided by s while the displacement is: a
context token is ordered right for certain only while C > (s - 2)(e2 + e1 / 2) (derived for this project). For: those numbers,
over all inputs of one and two tokens. Not for: a verdict on longer ones, which is `probes/certificate.py`.
"""

import numpy as np
import pandas as pd

from models.config import WeightsName
from probes.minimal_model import float64_copy, logits_at_all_positions
from probes.present_tokens import present_mask, token_pairs
from probes.residual_stream import Model
from probes.subject import Address, set_complement_subject


def balance(model: Address, *, weights: WeightsName = "raw") -> pd.DataFrame:
    """Margins and spreads at lengths 1 and 2, exact over all v + v (v - 1) inputs, in float64; any architecture.

    Tidy, one row a (`length`, `role`), after the labels of the checkpoint: query at length 1, query and context at length 2.
    In logits: mean `displacement` (mean absent logit - the token's own), its `spread` (largest - smallest over inputs), the
    worst `margin` (smallest absent logit - the token's own), `absent_spread` (largest over inputs of largest - smallest absent
    logit), and `absent_spread_mean`; and the share `misordered` of inputs with margin <= 0. The precision C is the smallest
    margin of the three rows. Limits: `closed_form` has every spread 0; the two rows of length 2 are equal in a balanced model.

    Raises ValueError for a model in training mode, trained on another task, or whose context is a single token.
    """
    studied = set_complement_subject(model, weights)
    if studied.longest < 2:
        raise ValueError("the model's context is 1 token, and balance compares lengths 1 and 2; use a model with a longer one")
    exact, vocab = float64_copy(studied.model), studied.task.vocab
    single, pairs = np.arange(vocab)[:, None], token_pairs(vocab)
    rows = [_row(exact, single, "query", 0), _row(exact, pairs, "query", 1), _row(exact, pairs, "context", 0)]
    return studied.named(pd.DataFrame(rows))


def _row(model: Model, tokens: np.ndarray, role: str, position: int) -> dict:
    logits = logits_at_all_positions(model, tokens)[:, -1]
    own = np.take_along_axis(logits, tokens[:, position : position + 1], axis=1)[:, 0]
    absent = logits[~present_mask(tokens, logits.shape[1])].reshape(len(tokens), -1)
    pushed, margin = absent.mean(axis=1) - own, absent.min(axis=1) - own
    spread = np.ptp(absent, axis=1)
    return {
        "length": tokens.shape[1],
        "role": role,
        "displacement": float(pushed.mean()),
        "spread": float(np.ptp(pushed)),
        "margin": float(margin.min()),
        "absent_spread": float(spread.max()),
        "absent_spread_mean": float(spread.mean()),
        "misordered": float((margin <= 0).mean()),
    }
