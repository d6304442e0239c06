"""The certificate of length generalisation: is every legal logit above every illegal one, on ALL inputs of a length?

For: a proof or a counterexample for every length, in polynomial time. Exact for the minimal model alone: one layer, one head,
attention only, no positions, no norm. Not for: other models, which are refused; sample their margins with
`probes/logit_displacement.py`.

Derived for this project. On an input with last token x, the order of the other tokens does not enter, so an input is a last
token and a set. Whether absent j is above present i is the sign of sum_k a[x, k] (B[x, j] - B[x, i] + D[k, j] - D[k, i]) over
present tokens k, with a = exp(A): a sum of one term a token, so the worst set of a given size takes the smallest terms.
`probes/worst_set.py` finds the exact worst gap that way.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd

from models.config import WeightsName
from probes.logit_tables import LogitTables, logit_tables
from probes.minimal_model import float64_copy, logits_at_all_positions
from probes.present_tokens import margin, present_mask, token_pairs
from probes.residual_stream import Model
from probes.subject import Address, set_complement_subject
from probes.worst_set import worst_sets

Verdict = Literal["certified", "fails", "undecided"]

UNDECIDED = 1e-6
"""A worst gap within this share of the largest |logit| is left undecided."""


@dataclass(frozen=True)
class Certificate:
    """One entry a length, from 1 to the longest input the model takes (at most v - 1)."""

    lengths: Sequence[int]
    """length s of the input, in tokens"""
    verdict: Sequence[Verdict]
    """certified: right on all inputs; fails: wrong on the counterexample; undecided: the worst gap is 0 to rounding"""
    worst_gap: Sequence[float]
    """smallest margin (min legal logit - max illegal logit) over all inputs, in logits"""
    worst_input: Sequence[Sequence[int]]
    """an input that has that margin"""
    present: Sequence[int]
    """its illegal token of the largest logit"""
    absent: Sequence[int]
    """its legal token of the smallest logit"""
    labels: Mapping[str, Any] = field(default_factory=dict)
    """what tables say of the model"""

    @property
    def counterexample(self) -> list[list[int] | None]:
        """An input the model gets wrong, for every length that fails, else None."""
        return [
            list(tokens) if verdict == "fails" else None for verdict, tokens in zip(self.verdict, self.worst_input, strict=True)
        ]

    @property
    def certified_lengths(self) -> int:
        """How many lengths are certified, 0 to v - 1: the outcome that comparisons and studies tabulate."""
        return sum(verdict == "certified" for verdict in self.verdict)

    def frame(self) -> pd.DataFrame:
        """Tidy: one row a `length` with `verdict`, `worst_gap`, `worst_input`, `present`, `absent`, `counterexample`.

        The labels of the checkpoint are its first columns.
        """
        rows = pd.DataFrame(
            {
                "length": list(self.lengths),
                "verdict": list(self.verdict),
                "worst_gap": list(self.worst_gap),
                "worst_input": [list(tokens) for tokens in self.worst_input],
                "present": list(self.present),
                "absent": list(self.absent),
                "counterexample": pd.Series(self.counterexample, dtype=object),
            }
        )
        return rows.assign(**self.labels)[[*self.labels, *rows.columns]]

    def to_json_dict(self) -> dict[str, list]:
        """What `workbench certify --json` writes: equally long lists `lengths`, `verdict`, `worst_gap`, `counterexample`."""
        return {
            "lengths": list(self.lengths),
            "verdict": list(self.verdict),
            "worst_gap": list(self.worst_gap),
            "counterexample": self.counterexample,
        }


def certify(model: Address, *, weights: WeightsName = "raw") -> Certificate:
    """The certificate of a minimal set-complement model, computed in float64 from its weights as they are.

    `model` is a checkpoint folder, run or bundled name (with its `weights`), or a hooked model in eval mode.

    The worst input of every length, counterexample or not, is also run through a float64 copy of the model itself and must
    show the worst gap. A length is undecided only where |worst gap| <= 1e-6 times the largest |logit|, each input's logits
    centred (a constant on all of them says nothing), over inputs of one and two tokens, which stand for longer ones. Limits:
    `closed_form(v, v - 1, gap)` is certified at every length, with worst gap `gap` (v - 1) / s from s = 2 on. On one core 0.1
    s at v = 32 and a few seconds at v = 64; time grows about as v**5, memory as v**2.

    Raises:
        ValueError: for a model that is not minimal or is in training mode, naming what was found.
        CheckpointError: nothing to load there.
        FloatingPointError: for logits beyond float64, or that contradict the search, which only such weights can cause.
    """
    studied = set_complement_subject(model, weights)
    tables, longest = logit_tables(studied.model), studied.longest
    arrays = (tables.bias, tables.displacement, tables.attention_logits)
    if not all(np.isfinite(array).all() for array in arrays):
        raise FloatingPointError(
            "the model's logits are beyond the range of float64, so nothing is proved; rescale its weights"
        )
    gaps, triples, members = worst_sets(*(np.ascontiguousarray(array) for array in arrays), longest)
    undecided = UNDECIDED * _largest_logit(tables)
    last, present, absent = triples[1:].T.tolist()
    inputs = [_sequence(members[length], last[length - 1]) for length in range(1, longest + 1)]
    exact, worst_gap = float64_copy(studied.model), gaps[1:].tolist()
    for tokens, gap in zip(inputs, worst_gap, strict=True):
        _verify(exact, tokens, gap, undecided)
    return Certificate(
        lengths=range(1, longest + 1),
        verdict=[_verdict(gap, undecided) for gap in worst_gap],
        worst_gap=worst_gap,
        worst_input=inputs,
        present=present,
        absent=absent,
        labels=studied.labels,
    )


def _verdict(gap: float, undecided: float) -> Verdict:
    if abs(gap) <= undecided:
        return "undecided"
    return "certified" if gap > 0 else "fails"


def _sequence(members: np.ndarray, last: int) -> list[int]:
    return [token for token in np.flatnonzero(members).tolist() if token != last] + [last]


def _largest_logit(tables: LogitTables) -> float:
    """Over all inputs of one and two tokens: logits that the model really gives, so not inflated by the gauge of B and D."""
    inputs = (np.arange(tables.vocab)[:, None], token_pairs(tables.vocab))
    logits = (tables.last_logits(tokens) for tokens in inputs)
    return max(float(np.abs(rows - rows.mean(axis=1, keepdims=True)).max()) for rows in logits)


def _verify(exact: Model, tokens: list[int], gap: float, tolerance: float) -> None:
    sequence = np.array([tokens])
    logits = logits_at_all_positions(exact, sequence)[:, -1]
    shown = float(margin(logits, present_mask(sequence, logits.shape[1]))[0])
    if not abs(shown - gap) <= tolerance:
        raise FloatingPointError(
            f"on {tokens} the model's margin in float64 is {shown:.6g}, where the certificate's search expects {gap:.6g} "
            f"within {tolerance:.3g}; the weights are too large for float64, so rescale them"
        )
