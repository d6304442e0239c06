"""The claims under test, each as checks that an interval can pass: supported, not supported or mixed, with the numbers.

A check names a number and the values the claim predicts for it. It passes where the whole interval lies inside them, is
opposed where it lies wholly outside, and is open otherwise. Intervals are widened (Bonferroni) so that with 95 % probability
ALL checks of a study cover their true values at once. That level is nominal: so far out in the tails an interval is an
approximation, and for means of skewed differences misses more often (`docs/results/interval_coverage.py` draws how often). A
claim is supported where all its checks pass, not supported where none does, and mixed otherwise.

That dropout counters attention dispersion, and EMA noisy updates, is the abstract of arXiv 2510.08341 (first version); what
either does to displacements, to certified lengths, at matched displacement or without label noise, and BEMA against EMA, are
questions of this project. A norm's effect on the decay is of the second version's abstract; its shape is derived here.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from workbench.intervals import CONFIDENCE
from workbench.search_result import EMA_TO_BEMA, RAW_TO_BEMA, RAW_TO_NEED
from workbench.search_space import SITES
from workbench.study import OUTCOMES, StudyTables
from workbench.study_effects import averaging_benefit, dropout_effects
from workbench.study_intervals import Estimate, mean

Verdict = Literal["supported", "not supported", "mixed"]
Passed = Literal["passes", "open", "opposed"]

BELOW_ZERO, ABOVE_ZERO = (-math.inf, 0.0), (0.0, math.inf)
SLOPE_TOLERANCE = 0.15
"""How near a slope has to be to the one predicted, for a claim that predicts a value."""
ERRORS = ("illegal_mass", "total_variation", "misordered")
SCALABLE_ERRORS = ("illegal_mass", "total_variation")
"""Errors that a scaling of all logits changes; misordering it leaves as it is."""
Segment = Literal["short", "middle", "long"]


@dataclass(frozen=True)
class Check:
    """One number of a claim."""

    what: str
    estimate: Estimate
    predicted: tuple[float, float]
    """the open interval in which the claim sees the true value"""

    def passed(self, confidence: float) -> Passed:
        """How the interval of that confidence lies to the prediction; without an interval the check is open."""
        low, high = self.estimate.interval(confidence)
        least, most = self.predicted
        if low > least and high < most:
            return "passes"
        return "opposed" if high < least or low > most else "open"


@dataclass(frozen=True)
class Claim:
    """One statement and the checks it stands on."""

    topic: str
    statement: str
    checks: Sequence[Check]


def claims(tables: StudyTables) -> list[Claim]:
    """Every claim that the search has trials for."""
    made = [*_averaging_claims(tables), *_dropout_claims(tables), *_norm_claims(tables)]
    with_estimates = (Claim(c.topic, c.statement, [k for k in c.checks if k.estimate.trials >= 2]) for c in made)
    return [claim for claim in with_estimates if claim.checks]


def simultaneous_confidence(made: Sequence[Claim]) -> float:
    """The confidence of one check at which all checks of the claims together have 95 % (Bonferroni)."""
    return 1 - (1 - CONFIDENCE) / sum(len(claim.checks) for claim in made)


def verdict(claim: Claim, confidence: float) -> Verdict:
    """Supported where every check passes, not supported where none does, else mixed."""
    passed = [check.passed(confidence) == "passes" for check in claim.checks]
    if all(passed):
        return "supported"
    return "mixed" if any(passed) else "not supported"


def claim_table(made: Sequence[Claim]) -> pd.DataFrame:
    """One row a check, with the topic, statement and verdict of its claim.

    `value` has its 95 % interval and the simultaneous one, `wide_low` to `wide_high`; `predicted` are the values the claim
    predicts, `passes` is how the wide interval lies to them, and `trials` how many the check rests on.
    """
    confidence = simultaneous_confidence(made)
    rows = []
    for claim in made:
        for check in claim.checks:
            low, high = check.estimate.interval()
            wide_low, wide_high = check.estimate.interval(confidence)
            rows.append(
                {
                    "topic": claim.topic,
                    "statement": claim.statement,
                    "verdict": verdict(claim, confidence),
                    "check": check.what,
                    "value": check.estimate.value,
                    "ci_low": low,
                    "ci_high": high,
                    "wide_low": wide_low,
                    "wide_high": wide_high,
                    "predicted": _in_words(check.predicted),
                    "passes": check.passed(confidence),
                    "trials": check.estimate.trials,
                }
            )
    return pd.DataFrame(rows)


def _in_words(predicted: tuple[float, float]) -> str:
    if predicted == BELOW_ZERO:
        return "below 0"
    if predicted == ABOVE_ZERO:
        return "above 0"
    return f"{predicted[0]:.2f} to {predicted[1]:.2f}".replace("-", "−")


def _averaging_claims(tables: StudyTables) -> Iterator[Claim]:
    def check(first: str, second: str, outcome: str, region: str, targets: str = "hard") -> Check:
        estimate = averaging_benefit(tables, first, second, outcome, region, targets)
        predicted = ABOVE_ZERO if OUTCOMES[outcome].better > 0 else BELOW_ZERO
        return Check(f"{OUTCOMES[outcome].label}, {region} the training length, {first} − {second}", estimate, predicted)

    for weights in ("ema", "bema"):
        for region in ("beyond", "inside"):
            yield Claim(
                "averaging",
                f"{weights.upper()} predicts better than the raw weights {region} the training length (sampled targets)",
                [check(weights, "raw", outcome, region) for outcome in ERRORS],
            )
        yield Claim(
            "averaging",
            f"{weights.upper()} raises the share of lengths certified over all inputs (norm none, sampled targets)",
            [check(weights, "raw", "certified", region) for region in ("inside", "beyond")],
        )
    yield Claim(
        "averaging",
        "The bias correction helps: BEMA predicts better than EMA beyond the training length (sampled targets)",
        [check("bema", "ema", outcome, "beyond") for outcome in ERRORS],
    )
    for statement, scaled in (
        ("BEMA is more than scaling: it beats the raw weights", RAW_TO_BEMA),
        ("The bias correction is more than scaling: BEMA beats EMA", EMA_TO_BEMA),
    ):
        yield Claim(
            "controls",
            f"{statement} with all logits scaled to its mean displacement (sampled targets)",
            [check("bema", scaled, outcome, region) for region in ("beyond", "inside") for outcome in SCALABLE_ERRORS],
        )
    for weights in ("ema", "bema"):
        for region in ("beyond", "inside"):
            shrinks = []
            for outcome in ERRORS:
                hard, soft = (averaging_benefit(tables, weights, "raw", outcome, region, kind) for kind in ("hard", "soft"))
                if soft.trials >= 2:
                    what = f"{OUTCOMES[outcome].label}, {region} the training length, change on sampled − on uniform targets"
                    shrinks.append(Check(what, hard - soft, BELOW_ZERO))
            yield Claim("controls", less_without_noise(weights, region), shrinks)


def less_without_noise(weights: str, region: str) -> str:
    """The statement of the control of "noisy updates"; `study_scales` has its errors on a second scale."""
    return f"Without label noise (uniform targets) {weights.upper()} helps less {region} the training length"


def _dropout_claims(tables: StudyTables) -> Iterator[Claim]:
    plain, matched = dropout_effects(tables, "raw"), dropout_effects(tables, RAW_TO_NEED)

    def checks(effects: dict[tuple[str, str, str], Estimate], site: str, outcomes: Sequence[str]) -> list[Check]:
        return [
            Check(
                f"{OUTCOMES[outcome].label}, beyond the training length, with − without",
                effects[site, outcome, "beyond"],
                ABOVE_ZERO if OUTCOMES[outcome].better > 0 else BELOW_ZERO,
            )
            for outcome in outcomes
            if (site, outcome, "beyond") in effects
        ]

    for site in SITES:
        name = f"Dropout at the {site} site"
        yield Claim("dropout", f"{name} lowers the normalised dispersion", checks(plain, site, ["normalised_dispersion"]))
        yield Claim("dropout", f"{name} enlarges displacements", checks(plain, site, ["displacement"]))
        yield Claim("dropout", f"{name} improves prediction beyond the training length", checks(plain, site, ERRORS))
        yield Claim("dropout", f"{name} raises the share of lengths certified (norm none)", checks(plain, site, ["certified"]))
        yield Claim(
            "controls",
            f"{name} improves prediction at matched displacement, so by more than scaling",
            checks(matched, site, SCALABLE_ERRORS),
        )


def _norm_claims(tables: StudyTables) -> Iterator[Claim]:
    vocab = tables.space.vocab
    ranges = segments(vocab)
    slopes = {
        (norm, segment): displacement_slope(tables, norm, lengths)
        for norm in ("none", "branch", "final")
        for segment, lengths in ranges.items()
    }
    spans = {segment: f"lengths {lengths[0]} to {lengths[-1]}" for segment, lengths in ranges.items()}
    yield Claim(
        "dispersion",
        "Without a norm displacement decays as 1 / s",
        [
            Check(f"slope of log displacement on log length, {spans[segment]}", slopes["none", segment], _near(-1))
            for segment in ranges
        ],
    )
    for norm, place in (("branch", "attention's output"), ("final", "the stream before the unembedding")):
        yield Claim(
            "dispersion",
            f"LayerNorm on {place} flattens the decay",
            [
                Check(
                    f"slope with − without the norm, {spans[segment]}",
                    slopes[norm, segment] - slopes["none", segment],
                    ABOVE_ZERO,
                )
                for segment in ranges
            ],
        )
        yield Claim(
            "dispersion",
            f"LayerNorm on {place} makes displacement x sqrt(sigma (1 − sigma)) constant, sigma = s / v",
            [
                Check(
                    f"slope of log displacement on log length, {spans[segment]}, trained to length {trained}",
                    displacement_slope(tables, norm, lengths, trained),
                    _near(post_norm_slope(vocab, lengths)),
                )
                for segment, lengths in ranges.items()
                for trained in tables.space.train_lengths
            ],
        )


def _near(value: float) -> tuple[float, float]:
    return value - SLOPE_TOLERANCE, value + SLOPE_TOLERANCE


def segments(vocab: int) -> dict[Segment, range]:
    """Lengths 2 .. v / 4 (s << v), those around v / 2, and 3 v / 4 .. v - 1."""
    return {
        "short": range(2, vocab // 4 + 1),
        "middle": range(3 * vocab // 8, 5 * vocab // 8 + 1),
        "long": range(3 * vocab // 4, vocab),
    }


def post_norm_slope(vocab: int, lengths: Sequence[int]) -> float:
    """Slope over `lengths` of log gap on log s where gap x sqrt(sigma (1 - sigma)) is constant, sigma = s / v.

    About -1/2 for s << v, 0 around v / 2, positive above.
    """
    sigma = np.array(lengths) / vocab
    return float(np.polyfit(np.log(lengths), -np.log(sigma * (1 - sigma)) / 2, 1)[0])


def displacement_slope(tables: StudyTables, norm: str, lengths: Sequence[int], trained: int | None = None) -> Estimate:
    """Mean over trials of the slope of log context displacement on log length, raw weights, of those `trained` to one length.

    Trials whose displacement is not positive at all these lengths have no logarithm and are left out.
    """
    rows = tables.curves
    chosen = rows[(rows["metric"] == "context_displacement") & (rows["weights"] == "raw") & rows["length"].isin(lengths)]
    table = chosen.pivot(index="number", columns="length", values="value")
    drawn = tables.trials.loc[table.index]
    chosen_trials = (drawn["norm"] == norm) & ((drawn["train_length"] == trained) | (trained is None))
    table = table[chosen_trials & (table > 0).all(axis=1)]
    if table.empty:
        return mean(np.empty(0), np.empty(0, dtype=np.int64))
    slopes = np.polyfit(np.log(table.columns.to_numpy(dtype=float)), np.log(table.to_numpy()).T, 1)[0]
    return mean(slopes, table.index.to_numpy())
