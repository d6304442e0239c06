"""A finished search as tables: what was drawn, every metric by length, and each trial's outcomes inside and beyond training.

For: everything that `workbench study` computes, which starts from these. Not for: running a search (`workbench/search.py`).
"""

import json
import lzma
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd

from models.checkpoint import bundled_studies
from models.config import WEIGHTS
from workbench.search_ledger import NUMBER, RANGES, RESULT, SETTINGS, completed_trials, study_name
from workbench.search_space import SearchSpace
from workbench.search_storage import DATABASE_ERRORS, open_existing_storage, shown_url

REGIONS = ("inside", "beyond")
"""Lengths 1 .. train length, and train length + 1 .. v - 1."""


@dataclass(frozen=True)
class Outcome:
    """One number that a trial comes to in a region of lengths."""

    name: str
    label: str
    """what is on an axis"""
    better: int
    """-1 where less is better, 1 where more is"""
    log: bool = False
    """log10 of the mean over lengths, so that differences are orders of magnitude"""


OUTCOMES = {
    outcome.name: outcome
    for outcome in (
        Outcome("illegal_mass", "illegal mass, log10", -1, log=True),
        Outcome("total_variation", "total variation, log10", -1, log=True),
        Outcome("misordered", "share of inputs misordered", -1),
        Outcome("normalised_dispersion", "normalised attention dispersion", -1),
        Outcome("displacement", "displacement of present tokens, log10 logits", 1, log=True),
        Outcome("certified", "share of lengths certified", 1),
    )
}
"""By name. Means over the region's lengths, then log10 where said; a displacement that is not positive has none."""


@dataclass(frozen=True)
class StudyTables:
    """One search, read."""

    name: str
    """such as `set-complement-v16`"""
    space: SearchSpace
    sequences: int
    """how many sequences each trial was measured on"""
    trials: pd.DataFrame
    """one row a completed parameter set, by `number`: the parameters, and `diverged`, the step (missing where it did not)"""
    curves: pd.DataFrame
    """one row a (number, weights, length, metric): `value`; of trials that did not diverge"""
    outcomes: pd.DataFrame
    """one row a (number, weights, region, outcome): `value`; missing where it does not exist"""

    def outcome(self, name: str, region: str, weights: str = "raw") -> pd.Series:
        """One outcome by number of the parameter set, without those that have none."""
        rows = self.outcomes
        chosen = rows[(rows["outcome"] == name) & (rows["region"] == region) & (rows["weights"] == weights)]
        return chosen.set_index("number")["value"].dropna()

    @property
    def finished(self) -> pd.DataFrame:
        """The trials that did not diverge."""
        return self.trials[self.trials["diverged"].isna()]

    def among(self, chosen: pd.Series) -> "StudyTables":
        """The same search as if it had only the trials for which `chosen`, by number, is true."""
        numbers = chosen.index[chosen]
        curves, outcomes = (table[table["number"].isin(numbers)] for table in (self.curves, self.outcomes))
        return replace(self, trials=self.trials.loc[numbers], curves=curves, outcomes=outcomes)


def read_studies(storage: str) -> list[StudyTables]:
    """Every search in a storage, by vocabulary: a database's URL, or the name of a bundled study.

    Raises ValueError where it is damaged or has no search with a completed trial.
    """
    bundled = {path.name.removesuffix("-study.db.xz"): path for path in bundled_studies()}
    if storage not in bundled:
        return _read_studies(storage)
    with tempfile.TemporaryDirectory() as folder:
        unpacked = Path(folder) / "study.db"
        unpacked.write_bytes(lzma.decompress(bundled[storage].read_bytes()))
        return _read_studies(f"sqlite:///{unpacked}")


def _read_studies(url: str) -> list[StudyTables]:
    storage = open_existing_storage(url)
    try:
        tables = list(_stored_tables(storage))
    except OtherRanges:
        raise
    except (*DATABASE_ERRORS, LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
        reason = " ".join(f"{type(error).__name__} {error}".split())[:200]
        raise ValueError(
            f"the storage {shown_url(url)} holds what no search writes ({reason}); restore it from a copy, or search again"
        ) from error
    if not tables:
        raise ValueError("the storage holds no search with a completed trial; run workbench search with it first")
    return sorted(tables, key=lambda one: one.space.vocab)


def _stored_tables(storage: optuna.storages.RDBStorage) -> Iterator[StudyTables]:
    for name in optuna.study.get_all_study_names(storage):
        study = optuna.load_study(study_name=name, storage=storage)
        if SETTINGS in study.user_attrs and completed_trials(study):
            yield study_tables(study)


class OtherRanges(ValueError):
    """A search that this workbench's ranges do not describe."""


def study_tables(study: optuna.Study) -> StudyTables:
    """The tables of one search, from its completed trials. Raises OtherRanges for one that was drawn from other ranges."""
    settings = study.user_attrs[SETTINGS]
    space = SearchSpace.model_validate({name: settings[name] for name in SearchSpace.model_fields})
    if settings[RANGES] != space.fingerprint:
        raise OtherRanges(
            f"{study.study_name} was drawn from other ranges than this workbench's; read it with the one that made it"
        )
    if study.study_name != study_name(space):  # which names the folder that is written
        raise ValueError(f"a search of {space.vocab} tokens is called '{study.study_name}', expected '{study_name(space)}'")
    drawn, curves = [], []
    for trial in completed_trials(study):
        result = json.loads(trial.user_attrs[RESULT])
        number = trial.user_attrs[NUMBER]
        drawn.append({"number": number, **trial.params, "diverged": result.get("diverged")})
        if "diverged" not in result:
            curves += [(number, *row) for row in _curve_rows(result)]
    trials = pd.DataFrame(drawn).set_index("number", drop=False).rename_axis(None)
    trials["diverged"] = trials["diverged"].astype("Int64")
    table = pd.DataFrame(curves, columns=["number", "weights", "length", "metric", "value"])
    outcomes = region_outcomes(table, trials["train_length"])
    return StudyTables(study.study_name, space, settings["sequences"], trials, table, outcomes)


def _curve_rows(result: Mapping[str, Any]) -> Iterator[tuple[str, int, str, float]]:
    lengths = result["lengths"]
    for weights, metrics in result["metrics"].items():
        for metric, values in metrics.items():
            yield from ((weights, length, metric, _number(value)) for length, value in zip(lengths, values, strict=True))
    for weights, pushed in result["displacement"].items():
        for metric, key in (("displacement", "by_length"), ("context_displacement", "context")):
            yield from ((weights, length, metric, _number(value)) for length, value in zip(lengths, pushed[key], strict=True))
    for weights in WEIGHTS:
        certified = result.get("certified", {}).get(weights)
        if certified is not None:
            yield from ((weights, length, "certified", float(length in certified)) for length in lengths)


def _number(value: float | None) -> float:
    return np.nan if value is None else value


def region_outcomes(curves: pd.DataFrame, train_length: pd.Series) -> pd.DataFrame:
    """Each outcome of each trial in each region, from metrics by length and the trials' train lengths by number.

    Dispersion leaves out length 1, where it is 0 by definition.
    """
    rows = curves[curves["metric"].isin(OUTCOMES)]
    rows = rows[(rows["metric"] != "normalised_dispersion") | (rows["length"] > 1)]
    inside = rows["length"].to_numpy() <= train_length.loc[rows["number"]].to_numpy()
    keys = ["number", "weights", "region", "outcome"]
    rows = rows.assign(region=np.where(inside, *REGIONS)).rename(columns={"metric": "outcome"})
    means = rows.groupby(keys, sort=False)["value"].agg(lambda values: values.mean(skipna=False)).reset_index()
    logarithmic = means["outcome"].isin([outcome.name for outcome in OUTCOMES.values() if outcome.log])
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log10(means["value"].where(means["value"] > 0))
    return means.assign(value=means["value"].where(~logarithmic, logs))
