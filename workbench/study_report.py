"""A finished search as a folder: tables, figures and the report, written in one call.

OUT/set-complement-v16/report.html        verdicts, numbers, figures and provenance on one page
OUT/set-complement-v16/trials.csv         parameters and outcomes, one row a trial
OUT/set-complement-v16/TABLE.csv          claims, learned, by-width, averaging, dropout, rank-correlations, best, ...
OUT/set-complement-v16/figures/NAME.{html,pdf,svg,png}
"""

import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd
from tqdm.auto import tqdm

from models.durable import write_file
from workbench.figures.export import save_figures
from workbench.figures.study import study_figures
from workbench.search_storage import shown_url
from workbench.study import StudyTables, read_studies
from workbench.study_claims import claim_table, claims
from workbench.study_effects import (
    OBJECTIVE,
    averaging_by_setting,
    averaging_table,
    best_table,
    dropout_table,
    importance_table,
    partial_dependence,
    rank_table,
)
from workbench.study_lead import lead_table
from workbench.study_page import study_page
from workbench.study_scales import control_scales
from workbench.study_shapes import averaging_by_shape, claims_by_width, learned_table, width_table

MAKERS: Mapping[str, Callable[[StudyTables], pd.DataFrame]] = {
    "claims": lambda tables: claim_table(claims(tables)),
    "claims-by-width": claims_by_width,
    "learned": learned_table,
    "by-width": width_table,
    "averaging": averaging_table,
    "averaging-by-setting": averaging_by_setting,
    "averaging-by-shape": averaging_by_shape,
    "control-scales": control_scales,
    "dropout": dropout_table,
    "rank-correlations": rank_table,
    "best": best_table,
    "importances": importance_table,
    "partial-dependence": lambda tables: partial_dependence(tables, *OBJECTIVE),
    "lead": lead_table,
}
"""What is computed of a search, by the name of its file."""

FEWEST = 32
"""Trials below which a study says nothing: the regression on everything that was drawn has 13 terms."""

DRAWN = ("averaging-by-setting", "dropout", "partial-dependence", "importances")
"""The tables that figures are made of, as `study_figures` takes them."""


def write_study(url: str, out: str | os.PathLike[str], formats: Sequence[str], progress: bool = False) -> list[Path]:
    """Analyses every search in a database and writes a folder for each into `out`; returns the paths of the reports.

    Raises ValueError where there is no search, or one with too few completed trials; `formats` as `save_figures` takes them.
    """
    reports = []
    for tables in read_studies(url):
        if len(tables.finished) < FEWEST:
            raise ValueError(
                f"{tables.name} has {len(tables.finished)} completed trials that did not diverge, too few to tell the effects "
                f"of its parameters apart, expected at least {FEWEST}; run workbench search with more --trials"
            )
        folder = Path(out) / tables.name
        names = tqdm(MAKERS, disable=not progress, desc=tables.name)
        results = {name: MAKERS[name](tables) for name in names}
        for name, table in (results | {"trials": trial_table(tables)}).items():
            write_file(folder / f"{name}.csv", table.to_csv(index=False, lineterminator="\n").encode())
        figures = study_figures(tables, *(results[name] for name in DRAWN))
        save_figures(figures, folder / "figures", formats)
        page = study_page(tables, results, figures, commands(tables, url, out))
        reports.append(folder / "report.html")
        write_file(reports[-1], page.encode())
    return reports


def trial_table(tables: StudyTables) -> pd.DataFrame:
    """One row a trial: parameters, and a column `weights region outcome` for every outcome."""
    rows = tables.outcomes
    column = rows["weights"] + " " + rows["region"] + " " + rows["outcome"]
    wide = rows.assign(column=column).pivot(index="number", columns="column", values="value")
    return tables.trials.join(wide)


def commands(tables: StudyTables, url: str, out: str | os.PathLike[str]) -> str:
    """The command lines that make the search and its report."""
    storage = shown_url(url) if "://" in url else f"sqlite:///{tables.name}.db"  # a bundled study, to be made anew
    space = tables.space
    search = ["workbench", "search", "set-complement", "--vocab", space.vocab, "--trials", len(tables.trials)]
    search += ["--steps", space.steps, "--seed", space.seed, "--sequences", tables.sequences, "--storage", storage]
    study = ["workbench", "study", storage, "--out", Path(out)]
    return " && ".join(shlex.join(map(str, words)) for words in (search, study))
