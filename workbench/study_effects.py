"""What a search says of each remedy, as tidy frames with intervals: averaging, dropout sites, best-k, importances.

Averaging is compared within a trial, on one trajectory and the same sequences. Dropout, norms and targets are compared between
trials, which is fair because they were drawn at random, independently of all else. Not for: what that makes of a claim
(`workbench/study_claims.py`).
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import optuna
import pandas as pd
from jaxtyping import Float

from models.config import WEIGHTS
from workbench.search_result import CONTRASTS, RAW_TO_NEED
from workbench.search_space import DROPOUT, SITES
from workbench.search_storage import optuna_warnings_answered
from workbench.study import OUTCOMES, REGIONS, StudyTables
from workbench.study_intervals import Estimate, best_mean, mean, rank_correlation, regression

BEST = 10
"""The k of best-k."""
SHUFFLES = 200
"""Of the outcomes over the trials, to see what importances come by chance."""
DROPOUT_LEVELS = ("off", "low", "high")
BINS = 5
"""Bins of a continuous parameter, of about equally many trials."""
OBJECTIVE = ("total_variation", "beyond")
MATCHED = {"raw": "as trained", RAW_TO_NEED: "at matched displacement"}
"""Weights whose dropout effects are told apart: the second has every trial's logits scaled to one displacement."""


def estimate_columns(estimate: Estimate) -> dict[str, float | int]:
    """An estimate as columns of a table: `value`, `ci_low`, `ci_high` (95 %), `trials`."""
    low, high = estimate.interval()
    return {"value": estimate.value, "ci_low": low, "ci_high": high, "trials": estimate.trials}


def averaging_benefit(
    tables: StudyTables, first: str, second: str, outcome: str, region: str, targets: str | None = None
) -> Estimate:
    """Mean over trials of `paired_difference`."""
    difference = paired_difference(tables, first, second, outcome, region, targets)
    return mean(difference.to_numpy(), difference.index.to_numpy())


def paired_difference(
    tables: StudyTables, first: str, second: str, outcome: str, region: str, targets: str | None = None
) -> pd.Series:
    """First - second of an outcome by number of the trial, where both exist (of one kind of targets, unless None)."""
    difference = (tables.outcome(outcome, region, first) - tables.outcome(outcome, region, second)).dropna()
    if targets is not None:
        difference = difference[tables.trials.loc[difference.index, "targets"] == targets]
    return difference


def averaging_table(tables: StudyTables) -> pd.DataFrame:
    """Every paired contrast, outcome, region and kind of targets.

    `value`: the mean difference, first - second; `median`; `better`: the share of trials in which the first is better, ties
    counting half.
    """
    rows = []
    for first, second in CONTRASTS:
        for targets in ("hard", "soft"):
            for outcome, region in _outcomes_and_regions():
                difference = paired_difference(tables, first, second, outcome, region, targets)
                if len(difference) < 2:
                    continue
                contrast = {"contrast": f"{first} − {second}", "targets": targets, "region": region, "outcome": outcome}
                rows.append(contrast | _difference_columns(difference, outcome))
    return pd.DataFrame(rows)


def _difference_columns(difference: pd.Series, outcome: str) -> dict[str, float | int]:
    better = ((OUTCOMES[outcome].better * difference > 0) + 0.5 * (difference == 0)).mean()
    estimate = mean(difference.to_numpy(), difference.index.to_numpy())
    return estimate_columns(estimate) | {"median": difference.median(), "better": better}


def averaging_by_setting(tables: StudyTables) -> pd.DataFrame:
    """Paired differences in trials on sampled targets by what the average was, in bins of about equally many trials.

    `setting`: for EMA the steps it looked back at the end of training, 1 / beta; for BEMA alpha, its share of the distance
    travelled: below about 0.01 BEMA is EMA but for rounding. `at` is the bin's median; the other columns are those of
    `averaging_table`.
    """
    hard = tables.finished[tables.finished["targets"] == "hard"]
    last = {number: tables.space.config(number).averaging for number in hard.index}
    steps = tables.space.steps
    settings = {
        "ema": ("steps looked back", pd.Series({number: 1 / one.beta(steps) for number, one in last.items()})),
        "bema": ("alpha", pd.Series({number: one.alpha(steps) for number, one in last.items()})),
    }
    rows = []
    for first, second in CONTRASTS:
        setting, drawn = settings[first]
        for outcome, region in _outcomes_and_regions():
            difference = paired_difference(tables, first, second, outcome, region, "hard")
            for at, chosen in _bins(drawn.reindex(difference.index)):
                labels = {"contrast": f"{first} − {second}", "setting": setting, "at": at, "region": region, "outcome": outcome}
                rows.append(labels | _difference_columns(difference[chosen], outcome))
    return pd.DataFrame(rows)


def _outcomes_and_regions() -> Iterator[tuple[str, str]]:
    return ((outcome, region) for outcome in OUTCOMES for region in REGIONS)


def design(trials: pd.DataFrame) -> pd.DataFrame:
    """The terms of the regression: each dropout site on or off, and everything else that was drawn, centred.

    Norms, widths, batches, train lengths and targets are indicators; learning rate and weight decay are logarithms, with the
    square of the first. Centred, so that the constant is the outcome without dropout at average settings. Terms that are the
    same in all trials are left out.
    """
    terms = {f"dropout_{site}": (trials[f"dropout_{site}"] > 0).astype(float) for site in SITES}
    for name in ("width", "batch", "train_length", "norm", "targets"):
        for level in sorted(trials[name].unique(), key=str)[1:]:
            terms[f"{name} {level}"] = (trials[name] == level).astype(float)
    rate = np.log10(trials["learning_rate"])
    terms |= {"learning_rate": rate, "learning_rate squared": (rate - rate.mean()) ** 2}
    terms["weight_decay"] = np.log10(trials["weight_decay"])
    varying = {name: term for name, term in terms.items() if term.nunique() > 1}
    centred = {name: term if name.startswith("dropout") else term - term.mean() for name, term in varying.items()}
    return pd.DataFrame(centred | {"constant": pd.Series(1.0, trials.index)})


def dropout_effects(tables: StudyTables, weights: str = "raw") -> dict[tuple[str, str, str], Estimate]:
    """By (site, outcome, region): what switching a site's dropout on does, all else that was drawn held equal.

    The coefficient of the site's indicator in a least-squares regression on `design`; bootstrap over trials.
    """
    effects = {}
    for pattern in _same_trials(tables, weights):
        values = pd.DataFrame({key: tables.outcome(*key, weights) for key in pattern})
        terms = design(tables.trials.loc[values.index])
        if len(values) < 2 * terms.shape[1]:
            continue  # too few trials for so many terms
        fitted = regression(terms.to_numpy(), values.to_numpy(), values.index.to_numpy())
        for (outcome, region), estimates in zip(pattern, fitted, strict=True):
            for site in SITES:
                if f"dropout_{site}" in terms:
                    effects[site, outcome, region] = estimates[list(terms).index(f"dropout_{site}")]
    return effects


def _same_trials(tables: StudyTables, weights: str) -> list[list[tuple[str, str]]]:
    """Outcomes and regions grouped by the trials that have them, so that each group is one regression."""
    groups: dict[tuple[int, ...], list[tuple[str, str]]] = {}
    for outcome, region in _outcomes_and_regions():
        index = tuple(tables.outcome(outcome, region, weights).index)
        if index:
            groups.setdefault(index, []).append((outcome, region))
    return list(groups.values())


def dropout_table(tables: StudyTables) -> pd.DataFrame:
    """Effects of each site's dropout for each set of weights, and for raw weights at matched displacement."""
    rows = []
    for weights in (*WEIGHTS, RAW_TO_NEED):
        for (site, outcome, region), effect in dropout_effects(tables, weights).items():
            labels = {"site": site, "weights": weights, "region": region, "outcome": outcome}
            rows.append(labels | estimate_columns(effect))
    return pd.DataFrame(rows)


def rank_table(tables: StudyTables) -> pd.DataFrame:
    """Spearman's correlation of each site's dropout rate with each outcome (raw weights).

    Among all trials, as they are and with all else that was drawn held equal (the terms of `design` but for the site's own),
    and among those where the site is on. Ranks take no notice of how far the best and worst trials lie out, as the regression
    of `dropout_effects` does.
    """
    rows = []
    for site in SITES:
        for outcome, region in _outcomes_and_regions():
            values = tables.outcome(outcome, region, "raw")
            drawn = tables.trials.loc[values.index]
            rates, on = drawn[f"dropout_{site}"].to_numpy(), drawn[f"dropout_{site}"] > 0
            others = design(drawn).drop(columns=f"dropout_{site}", errors="ignore").to_numpy()
            for among, chosen, held_equal in (
                ("all trials", np.full(len(values), True), None),
                ("all trials, all else held equal", np.full(len(values), True), others),
                ("site on", on.to_numpy(), None),
            ):
                estimate = rank_correlation(rates[chosen], values.to_numpy()[chosen], held_equal)
                labels = {"site": site, "among": among, "region": region, "outcome": outcome}
                rows.append(labels | estimate_columns(estimate))
    return pd.DataFrame(rows).dropna(subset="value")


def best_table(tables: StudyTables) -> pd.DataFrame:
    """Mean total variation beyond the training length of the best k trials with and without each remedy.

    Both groups are cut to the size of the smaller. `difference` is with - without; below 0 the remedy helps the best trials.
    Averages are compared on all trials, each with its own raw weights; dropout and norms on the raw weights.
    """
    name, region = OBJECTIVE
    least = {weights: 10 ** tables.outcome(name, region, weights) for weights in WEIGHTS}
    drawn = tables.trials.loc[least["raw"].index]
    on = {site: drawn[f"dropout_{site}"] > 0 for site in SITES}
    groups: dict[str, pd.Series] = {f"dropout {site}": on[site] for site in SITES}
    groups["dropout at any site"] = pd.DataFrame(on).any(axis=1)
    for norm in ("branch", "final"):
        groups[f"norm {norm}"] = (drawn["norm"] == norm).where(drawn["norm"].isin([norm, "none"]))
    groups["soft targets"] = drawn["targets"] == "soft"
    rows = []
    for weights in ("ema", "bema"):
        rows.append({"remedy": weights} | _best_row(least[weights].to_numpy(), least["raw"].to_numpy(), paired=True))
    for remedy, chosen in groups.items():
        pair = (least["raw"][chosen.eq(True)].to_numpy(), least["raw"][chosen.eq(False)].to_numpy())
        if min(map(len, pair)) >= BEST:
            rows.append({"remedy": remedy} | _best_row(*pair, paired=False))
    return pd.DataFrame(rows)


def _best_row(with_remedy: np.ndarray, without: np.ndarray, paired: bool) -> dict[str, float | int]:
    draws = min(len(with_remedy), len(without))
    k = min(BEST, draws)
    first, second = best_mean(with_remedy, k, draws, seed=0), best_mean(without, k, draws, seed=0 if paired else 1)
    row: dict[str, float | int] = {"k": k, "of": draws}
    for label, estimate in (("with", first), ("without", second), ("difference", first - second)):
        low, high = estimate.interval()
        row |= {label: estimate.value, f"{label}_low": low, f"{label}_high": high}
    return row


def importance_table(tables: StudyTables) -> pd.DataFrame:
    """Optuna's importances (PED-ANOVA) of every parameter for total variation beyond the training length, raw weights; sum 1.

    The evaluator looks at what tells the best tenth of the trials from all of them. It takes a rate that is 0 in half of the
    trials for an important one whatever it does, so a dropout site enters as off, low or high. `chance` is the importance that
    one in twenty shufflings of the outcomes over the trials exceeds, and `p_value` the share of them that reach `value`.
    """
    values = tables.outcome(*OBJECTIVE, "raw")
    drawn = tables.trials.loc[values.index, [name for name in tables.space.distributions() if name in tables.trials]]
    distributions = tables.space.distributions()
    for site in SITES:
        drawn[f"dropout_{site}"] = _dropout_levels(drawn[f"dropout_{site}"])
        distributions[f"dropout_{site}"] = optuna.distributions.CategoricalDistribution(DROPOUT_LEVELS)
    parameters = [{str(k): v for k, v in row.items() if not pd.isna(v)} for row in drawn.to_dict("records")]
    found = pd.Series(_importances(parameters, distributions, values.to_numpy()))
    random = np.random.default_rng(0)
    shuffled = [_importances(parameters, distributions, random.permutation(values)) for _ in range(SHUFFLES)]
    null = pd.DataFrame(shuffled).reindex(columns=found.index).fillna(0)
    p_value = (1 + (null >= found).sum()) / (1 + SHUFFLES)
    table = pd.DataFrame({"value": found, "chance": null.quantile(0.95), "p_value": p_value, "trials": len(values)})
    return table.rename_axis("parameter").reset_index().sort_values("value", ascending=False, ignore_index=True)


def _dropout_levels(rates: pd.Series) -> pd.Series:
    """Off, and on either side of the middle of the range, which is log-uniform."""
    on = np.where(rates < np.sqrt(DROPOUT[0] * DROPOUT[1]), "low", "high")
    return pd.Series(np.where(rates == 0, "off", on), rates.index)


def _importances(
    parameters: Sequence[dict[str, object]],
    distributions: Mapping[str, optuna.distributions.BaseDistribution],
    values: Float[np.ndarray, "trial"],
) -> dict[str, float]:
    study = optuna.create_study(storage=optuna.storages.InMemoryStorage())
    trials = []
    for drawn, value in zip(parameters, values, strict=True):
        kept = {name: distributions[name] for name in drawn}
        trials.append(optuna.trial.create_trial(params=drawn, distributions=kept, value=float(value)))
    study.add_trials(trials)
    with optuna_warnings_answered():
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    return optuna.importance.get_param_importances(study, evaluator=evaluator)


def partial_dependence(tables: StudyTables, outcome: str, region: str) -> pd.DataFrame:
    """Mean of an outcome by value of each parameter, averaged over all the others, for raw, ema and bema.

    Parameters are drawn independently of each other, so the mean within a bin is the partial dependence itself and needs no
    model. Continuous parameters are cut into bins of about equally many trials; dropout that is off is a bin of its own. One
    row a (`parameter`, `weights`, `bin`): `at`, the bin's median or level, and `value`, `ci_low`, `ci_high`, `trials`.
    """
    rows = []
    for parameter in tables.space.distributions():
        if parameter not in tables.trials:
            continue
        for weights in WEIGHTS:
            values = tables.outcome(outcome, region, weights)
            drawn = tables.trials.loc[values.index, parameter].dropna()
            for place, (at, chosen) in enumerate(_bins(drawn)):
                estimate = mean(values[chosen].to_numpy(), chosen.to_numpy())
                labels = {"parameter": parameter, "weights": weights, "bin": place, "at": at}
                rows.append(labels | estimate_columns(estimate))
    return pd.DataFrame(rows)


def _bins(drawn: pd.Series) -> list[tuple[object, pd.Index]]:
    numeric = pd.api.types.is_numeric_dtype(drawn)
    if not numeric or drawn.nunique() <= BINS:
        return [(level, drawn.index[drawn == level]) for level in sorted(drawn.unique(), key=_number_or_text)]
    off, on = drawn.index[drawn == 0], drawn[drawn > 0]
    bins: list[tuple[object, pd.Index]] = [(0.0, off)] if len(off) else []
    for _, group in on.groupby(pd.qcut(on, min(BINS, len(on)), duplicates="drop"), observed=True):
        bins.append((float(group.median()), group.index))
    return bins


def _number_or_text(level: object) -> tuple[bool, object]:
    return isinstance(level, str), level
