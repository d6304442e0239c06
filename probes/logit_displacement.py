"""Logit displacement as behaviour: how far a model pushes the tokens it has seen below those it has not.

For: measuring, at every length and on any set-complement model, the displacement of present tokens, its decay (the 2/s law of
arXiv 2510.08341), the margins, and what adding one token does to every logit. Not for: reading weights, which is
`probes/logit_tables.py`, nor for proofs, which are `probes/certificate.py`.

The displacement of a present token is the mean logit of the absent tokens minus its own, in logits; positive is right. It is
measured for the last token (the query, which the bias B also moves) and the others (context) apart. All runs are in float64.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float64
from scipy import stats

from models.config import WeightsName
from models.lengths import chosen_lengths
from models.set_complement import theory
from probes.drawn_sequences import whole_sequences
from probes.minimal_model import IntTokens, float64_copy, logits_at_all_positions
from probes.present_tokens import absent_mean, margin, present_mask
from probes.residual_stream import Model
from probes.streamed_moments import StreamedMoments
from probes.subject import Address, SetComplementSubject, set_complement_subject

SEQUENCES = 256
BATCH = 256
ROLES = ("query", "context")

TOLERATED_ILLEGAL_MASS = 0.01
"""The illegal mass that the `needed` displacement would leave."""


def displacement(
    model: Address,
    sequences: int = SEQUENCES,
    seed: int = 0,
    *,
    weights: WeightsName = "raw",
    batch: int = BATCH,
    progress: bool = False,
) -> pd.DataFrame:
    """Displacement and margin at every length, over random inputs.

    Args:
        model: a checkpoint folder, run or bundled name, or a hooked model in eval mode; any architecture.
        sequences: how many random inputs, at least 2; memory does not depend on it.
        seed: which, in 0 .. 2**32 - 1, of a stream apart from training and evaluation.
        weights: which weights of a checkpoint; no effect on a loaded model.
        batch: sequences a forward pass; no effect on the results but for rounding.
        progress: show a progress bar.

    Tidy, one row a (`length`, `measure`), after the labels of the checkpoint: the mean `value` over sequences in logits, its
    95 % interval `ci_low`, `ci_high`, the share `not_positive` of measurements that are <= 0 (for margins that is
    `misordered`), and `law`, what lengths 1 and 2 predict under uniform attention. The measures:

    - `context`, `query`: displacement of the context tokens (from length 2) and of the last token. Limits: 0 for equal logits;
      gap (v - 1) / s on the context of `closed_form(v, v - 1, gap)`.
    - `margin`: min legal logit - max illegal logit; its law is 2 / s times the mean margin at length 2.
    - `control`: one absent token taken for a present one (to length v - 2), measured likewise; its law is 0.
    - `needed`: the displacement that leaves an illegal mass of 1 %, no measurement.

    Raises:
        ValueError: a model in training mode or of another task; too few sequences; a seed out of range.
        CheckpointError: nothing to load there.
    """
    studied = set_complement_subject(model, weights)
    sums: dict[tuple[int, str], _Streamed] = defaultdict(_Streamed)
    for tokens, logits in _random_inputs(studied, sequences, seed, batch, progress, "displacement"):
        for length in range(1, studied.longest + 1):
            for measure, values in _measured(logits[:, length - 1], tokens, length).items():
                sums[length, measure].add(values)
    rows: list[dict] = []
    for length in range(1, studied.longest + 1):
        rows += [{"length": at, "measure": measure} | one.row() for (at, measure), one in sums.items() if at == length]
        needed = theory.needed_gap(TOLERATED_ILLEGAL_MASS, length, studied.task.vocab)
        rows.append({"length": length, "measure": "needed", "value": float(needed)})
    return studied.named(_with_law(pd.DataFrame(rows)))


def _measured(
    here: Float64[np.ndarray, "batch vocab"], tokens: IntTokens, length: int
) -> dict[str, Float64[np.ndarray, "batch each"]]:
    """What is measured of the logits after `length` of the tokens, by measure; `tokens` are whole permutations."""
    vocab = here.shape[1]
    present = present_mask(tokens[:, :length], vocab)
    pushed = absent_mean(here, present)[:, None] - np.take_along_axis(here, tokens[:, :length], axis=1)
    measured = {"query": pushed[:, -1:]}
    if length >= 2:
        measured["context"] = pushed[:, :-1]
    measured["margin"] = margin(here, present)[:, None]
    if length <= vocab - 2:
        taken = tokens[:, length]
        others = present.copy()
        np.put_along_axis(others, taken[:, None], True, axis=1)
        control = absent_mean(here, others) - np.take_along_axis(here, taken[:, None], axis=1)[:, 0]
        measured["control"] = control[:, None]
    return measured


def token_displacement(
    model: Address,
    sequences: int = SEQUENCES,
    seed: int = 0,
    *,
    weights: WeightsName = "raw",
    batch: int = BATCH,
    progress: bool = False,
) -> pd.DataFrame:
    """Displacement of each token on its own, over the random inputs in which it is present.

    Tidy, one row a (`length`, `token`, `role` query or context) that occurred: mean `displacement` in logits, `count` of
    inputs, and the share `not_positive` of them where it is <= 0. Arguments and errors are those of `displacement`.
    """
    studied = set_complement_subject(model, weights)
    vocab = studied.task.vocab
    sums = np.zeros((studied.longest, len(ROLES), 3, vocab))
    for tokens, logits in _random_inputs(studied, sequences, seed, batch, progress, "displacement of each token"):
        for length in range(1, studied.longest + 1):
            here, present = logits[:, length - 1], present_mask(tokens[:, :length], vocab)
            pushed = absent_mean(here, present)[:, None] - here
            query = present_mask(tokens[:, length - 1 : length], vocab)
            for at, mask in enumerate((query, present & ~query)):
                added = (mask, np.where(mask, pushed, 0), mask & (pushed <= 0))
                sums[length - 1, at] += np.stack([part.sum(axis=0) for part in added])
    parts = []
    for length in range(1, studied.longest + 1):
        for role, (count, pushed, not_positive) in zip(ROLES, sums[length - 1], strict=True):
            seen = np.flatnonzero(count)
            means = {"displacement": pushed[seen] / count[seen], "count": count[seen].astype(int)}
            means["not_positive"] = not_positive[seen] / count[seen]
            parts.append(pd.DataFrame({"length": length, "token": seen, "role": role} | means))
    return studied.named(pd.concat([part for part in parts if len(part)], ignore_index=True))


def power_law(tokens: pd.DataFrame) -> pd.DataFrame:
    """Fits displacement = a_token * length ** slope to the context rows of a `token_displacement` frame.

    `tokens` is the frame of one model, and its labels are kept. One slope a token, by least squares on logarithms over the
    lengths where its mean displacement is positive; the result is their mean. One row: `slope`, its 95 % t-interval over
    tokens `ci_low`, `ci_high`, `law` (-1, from uniform attention), the number of `tokens` fitted, and `not_positive`, the
    share of (token, length) pairs that a logarithm cannot show and the fit leaves out: where it is not small, the slope
    flatters the model. The slope is NaN where fewer than two tokens can be fitted.
    """
    context = tokens[tokens["role"] == "context"]
    usable = context[context["displacement"] > 0]
    slopes = []
    for _, one in usable.groupby("token"):
        if one["length"].nunique() >= 2:
            slopes.append(np.polyfit(np.log(one["length"]), np.log(one["displacement"]), 1)[0])
    slope = low = high = np.nan
    if len(slopes) >= 2:
        slope = float(np.mean(slopes))
        half = stats.sem(slopes) * stats.t.ppf(0.975, len(slopes) - 1)
        low, high = slope - half, slope + half
    left_out = 1 - len(usable) / len(context) if len(context) else np.nan
    fit = {"slope": slope, "ci_low": low, "ci_high": high, "law": -1.0, "tokens": len(slopes), "not_positive": left_out}
    own = ("length", "token", "role", "displacement", "count", "not_positive")
    return tokens.drop(columns=[name for name in own if name in tokens]).iloc[:1].reset_index(drop=True).assign(**fit)


def added_token(
    model: Address,
    lengths: Sequence[int] | None = None,
    sequences: int = SEQUENCES,
    seed: int = 0,
    *,
    weights: WeightsName = "raw",
    batch: int = BATCH,
    progress: bool = False,
) -> pd.DataFrame:
    """What adding a token does to every logit: the input of `length` - 1 tokens against the same with one more.

    The token is added just before the last one, which stays the query. Changes are relative to the mean change of the tokens
    absent from the longer input, since a constant on all logits is nothing. At length 1 nothing precedes: there the change is
    the logits minus their mean over the tokens that could have been seen instead.

    Tidy, one row a (`length`, `logit`), where `logit` says whose logit changes: the `added` token's, the `query`'s (from length
    2), the other `context` tokens' (from 3), or the `absent` ones'. Columns: mean `change` in logits with its 95 % interval
    over sequences, and `spread`, the standard deviation over all single logits; for `absent` the mean is 0 by construction and
    the spread is the noise. Limits, uniform attention and D = -gamma I: added -gamma / s, query and context
    +gamma / (s (s - 1)).

    Args:
        model: as of `displacement`.
        lengths: lengths of the longer input, each from 1 to the longest input; all when not given.
        sequences: number of random inputs a length, at least 2; memory does not depend on it.
        seed: which, as of `displacement`.
        weights: which weights of a checkpoint; no effect on a loaded model.
        batch: sequences a forward pass; no effect on the results but for rounding.
        progress: show a progress bar.

    Raises:
        ValueError: a length out of range, and what `displacement` refuses.
        CheckpointError: nothing to load there.
    """
    studied = set_complement_subject(model, weights)
    exact, vocab = float64_copy(studied.model), studied.task.vocab
    chosen = chosen_lengths(studied.possible_lengths, lengths)
    sums: dict[tuple[int, str], _Streamed] = defaultdict(_Streamed)
    for drawn in whole_sequences(studied.task, sequences, seed, batch, progress, "an added token"):
        for length in chosen:
            change, role = _change(exact, drawn.numpy()[:, :length], vocab)
            for name in ("added", "query", "context", "absent"):
                if (role == name).any():
                    sums[length, name].add(change[role == name].reshape(len(drawn), -1))
    rows = []
    for (length, name), one in sums.items():
        row = one.row()
        told = {
            "change": row["value"],
            "spread": one.single.standard_deviation,
            "ci_low": row["ci_low"],
            "ci_high": row["ci_high"],
        }
        rows.append({"length": length, "logit": name} | told)
    return studied.named(pd.DataFrame(rows))


def _change(model: Model, tokens: IntTokens, vocab: int) -> tuple[np.ndarray, np.ndarray]:
    """Change of each logit [batch, vocab] by the last but one token (by the only one at length 1), and each logit's role."""
    length = tokens.shape[1]
    after = logits_at_all_positions(model, tokens)[:, -1]
    if length == 1:
        before = logits_at_all_positions(model, np.arange(vocab)[:, None])[:, -1].mean(axis=0)
    else:
        before = logits_at_all_positions(model, np.delete(tokens, length - 2, axis=1))[:, -1]
    present = present_mask(tokens, vocab)
    change = after - before
    change = change - absent_mean(change, present)[:, None]
    role = np.where(present, "context", "absent")
    np.put_along_axis(role, tokens[:, -1:], "query", axis=1)
    np.put_along_axis(role, tokens[:, -2:-1] if length >= 2 else tokens, "added", axis=1)
    return change, role


def _random_inputs(
    studied: SetComplementSubject, sequences: int, seed: int, batch: int, progress: bool, description: str
) -> Iterator[tuple[IntTokens, Float64[np.ndarray, "batch length vocab"]]]:
    """Random permutations [batch, vocab], and the logits at every length the model takes."""
    exact = float64_copy(studied.model)
    for drawn in whole_sequences(studied.task, sequences, seed, batch, progress, description):
        yield drawn.numpy(), logits_at_all_positions(exact, drawn.numpy()[:, : studied.longest])


class _Streamed:
    """Running mean over all values; the interval treats sequences as independent and the values of one sequence as not."""

    def __init__(self) -> None:
        self.by_sequence, self.single = StreamedMoments(), StreamedMoments()
        self._not_positive = 0

    def add(self, values: Float64[np.ndarray, "batch each"]) -> None:
        self.by_sequence.add(values.mean(axis=1))
        self.single.add(values)
        self._not_positive += int((values <= 0).sum())

    def row(self) -> dict[str, float]:
        mean, half = self.single.mean, 1.96 * self.by_sequence.standard_error
        share = self._not_positive / self.single.count
        return {"value": mean, "ci_low": mean - half, "ci_high": mean + half, "not_positive": share}


def _with_law(frame: pd.DataFrame) -> pd.DataFrame:
    value = frame.set_index(["measure", "length"])["value"]
    length = frame["length"].to_numpy()
    # v >= 3, so the lengths 1 and 2 are there unless the context is a single token
    two = {measure: value.get((measure, 2), np.nan) for measure in ("context", "query", "margin")}
    law = {
        "context": theory.context_displacement(two["context"], length),
        "query": theory.query_displacement(value["query", 1], two["query"], length),
        "margin": theory.context_displacement(two["margin"], length),
        "control": np.zeros(len(frame)),
        "needed": np.full(len(frame), np.nan),
    }
    return frame.assign(law=np.select([frame["measure"] == measure for measure in law], list(law.values())))
