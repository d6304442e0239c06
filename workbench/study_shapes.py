"""A study told apart by the shape of its models: how many of each width learned the task, and what each remedy does there.

Exploratory: 95 % intervals of one number, not widened for their number. The claims pool all shapes.
"""

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from workbench.intervals import exact_binomial_interval
from workbench.search_result import CONTRASTS
from workbench.search_space import SITES
from workbench.study import OUTCOMES, REGIONS, StudyTables
from workbench.study_claims import ERRORS, claim_table, claims
from workbench.study_effects import averaging_benefit, dropout_effects, estimate_columns, paired_difference
from workbench.study_intervals import Estimate, mean, median

LEARNED = 0.05
"""A trial learned the task if its raw weights misorder at most this share of the inputs inside the training length."""
FAILED = 0.5
"""It fails beyond the training length if they misorder more than this share there."""
AVERAGES = [(first, second) for first, second in CONTRASTS if second in ("raw", "ema")]
"""The contrasts between two sets of weights as they are."""
MISORDERED_INSIDE, MISORDERED_BEYOND = ("misordered", "inside"), ("misordered", "beyond")
POOLED, DIFFERENCE = "all widths", "difference"

Effects = dict[tuple[str, str, str], Estimate]
"""By (effect, region, outcome)."""


def by_width(tables: StudyTables) -> dict[int | str, StudyTables]:
    """The trials of each width that has any, narrow first."""
    widths = sorted(map(int, tables.trials["width"].unique()))
    return {width: tables.among(tables.trials["width"] == width) for width in widths}


def all_and_by_width(tables: StudyTables) -> dict[int | str, StudyTables]:
    """The whole search as `POOLED`, and `by_width`."""
    return {POOLED: tables, **by_width(tables)}


def learned_table(tables: StudyTables) -> pd.DataFrame:
    """How far the raw weights came, by width and targets: shares of trials (exact intervals) and medians (bootstrap).

    One row a (`measure`, `width`, `targets`): those that learned the task (`LEARNED`), those that fail beyond the training
    length (`FAILED`), the median illegal mass beyond, and the median total variation inside.
    """
    measures: dict[str, Callable[[StudyTables], dict[str, float | int]]] = {
        f"learned: misorders at most {100 * LEARNED:g} % inside": lambda one: _share(
            one.outcome(*MISORDERED_INSIDE) <= LEARNED
        ),
        f"failed: misorders more than {100 * FAILED:g} % beyond": lambda one: _share(one.outcome(*MISORDERED_BEYOND) > FAILED),
        "median illegal mass beyond": lambda one: _median_columns(10 ** one.outcome("illegal_mass", "beyond")),
        "median total variation inside": lambda one: _median_columns(10 ** one.outcome("total_variation", "inside")),
    }
    rows = []
    for name, measured in measures.items():
        for width, half in all_and_by_width(tables).items():
            for targets in ("all", "hard", "soft"):
                chosen = half.among((half.trials["targets"] == targets) | (targets == "all"))
                rows.append({"measure": name, "width": width, "targets": targets} | measured(chosen))
    return pd.DataFrame(rows)


def _share(hits: pd.Series) -> dict[str, float | int]:
    low, high = exact_binomial_interval(hits.sum(), len(hits))
    return {"value": hits.mean(), "ci_low": float(low), "ci_high": float(high), "trials": len(hits)}


def _median_columns(values: pd.Series) -> dict[str, float | int]:
    return estimate_columns(median(values.to_numpy()))


def width_table(tables: StudyTables) -> pd.DataFrame:
    """What averaging (sampled targets) and each dropout site (raw weights) do, by width; one row a measurement.

    `width`: all of them pooled, each, and `difference`, the wide models' effect less the narrow ones', where both intervals
    have two ends. Effects are those of `study_effects.averaging_benefit` and `dropout_effects`.
    """
    pooled, halves = _effects(tables), {width: _effects(half) for width, half in by_width(tables).items()}
    rows = []
    for key, estimate in pooled.items():
        parts = {width: half[key] for width, half in halves.items() if key in half}
        shown = {POOLED: estimate, **parts}
        if len(parts) == 2 and np.isfinite([part.interval() for part in parts.values()]).all():
            narrow, wide = parts.values()
            shown[DIFFERENCE] = wide - narrow
        labels = dict(zip(("effect", "region", "outcome"), key, strict=True))
        rows += [labels | {"width": width} | estimate_columns(part) for width, part in shown.items() if part.trials >= 2]
    return pd.DataFrame(rows)


def _effects(tables: StudyTables) -> Effects:
    averages = {
        (f"{first} − {second}", region, outcome): averaging_benefit(tables, first, second, outcome, region, "hard")
        for first, second in AVERAGES
        for outcome in OUTCOMES
        for region in REGIONS
    }
    plain = dropout_effects(tables)
    sites = {
        (f"dropout {site}", region, outcome): plain[site, outcome, region]
        for site in SITES
        for outcome in OUTCOMES
        for region in REGIONS
        if (site, outcome, region) in plain
    }
    return averages | sites


def claims_by_width(tables: StudyTables) -> pd.DataFrame:
    """`study_claims.claim_table` of each width's trials alone, as wide as that of all: half the trials, so more is open."""
    return pd.concat(
        [claim_table(claims(half)).assign(width=width) for width, half in by_width(tables).items()], ignore_index=True
    )


def averaging_by_shape(tables: StudyTables) -> pd.DataFrame:
    """Errors of two sets of weights compared on sampled targets, by train length and width.

    `value` is the mean difference, `median` that of the median trial, `better` the share of trials in which the first is
    better, ties counting half; each with the ends of its interval.
    """
    rows = []
    for width, trained, chosen in _shapes(tables):
        for first, second in AVERAGES:
            for outcome in ERRORS:
                for region in REGIONS:
                    difference = paired_difference(chosen, first, second, outcome, region, "hard")
                    if len(difference) >= 2:
                        contrast = {"contrast": f"{first} − {second}", "train_length": trained, "width": width}
                        labels = contrast | {"region": region, "outcome": outcome}
                        rows.append(labels | _difference_columns(difference, OUTCOMES[outcome].better))
    return pd.DataFrame(rows)


def _shapes(tables: StudyTables) -> Iterator[tuple[int | str, int, StudyTables]]:
    for width, half in all_and_by_width(tables).items():
        for trained in sorted(map(int, half.trials["train_length"].unique())):
            yield width, trained, half.among(half.trials["train_length"] == trained)


def _difference_columns(difference: pd.Series, better: int) -> dict[str, float | int]:
    values = difference.to_numpy()
    middle, wins = median(values), (better * values > 0) + 0.5 * (values == 0)
    columns = estimate_columns(mean(values, difference.index.to_numpy())) | {"median": middle.value}
    columns["median_low"], columns["median_high"] = middle.interval()
    low, high = exact_binomial_interval(wins.sum(), len(wins))
    return columns | {"better": float(np.mean(wins)), "better_low": float(low), "better_high": float(high)}
