"""The few sentences on top of a study's report: how many trials learned the task, and the abstract's claims with their numbers.

Generated from the tables, so that they say what the tables say. The abstract is that of arXiv 2510.08341, first version.
"""

from collections.abc import Iterator

import pandas as pd

from workbench.html_page import number
from workbench.search_space import SITES
from workbench.study_shapes import LEARNED, POOLED


def summary(claims: pd.DataFrame, learned: pd.DataFrame) -> list[str]:
    """One sentence of HTML a line; claims that the search has no trials for are left out.

    Args:
        claims: `study_claims.claim_table`.
        learned: `study_shapes.learned_table`.
    """
    return [_learned(learned), *_averaging(claims), *_dropout(claims)]


def _learned(learned: pd.DataFrame) -> str:
    rows = learned[learned["measure"].str.startswith("learned") & (learned["targets"] == "all")]
    shares = "; ".join(
        f"of the {row['trials']:,} of width {row['width']} <b>{100 * row['value']:.0f} %</b> "
        f"[{100 * row['ci_low']:.0f}, {100 * row['ci_high']:.0f}]"
        for _, row in rows[rows["width"] != POOLED].iterrows()
    )
    return (
        f"Trials that learned the task, misordering at most {100 * LEARNED:g} % of the inputs inside the training length (raw "
        f'weights): {shares}. All else here pools the widths; the <a href="#by-width">tables by width</a> tell them apart.'
    )


def _averaging(claims: pd.DataFrame) -> Iterator[str]:
    for weights in ("EMA", "BEMA"):
        checks = claims[claims["statement"].str.startswith(f"{weights} predicts better than the raw weights beyond")]
        if len(checks):
            numbers = "; ".join(f"{row['check'].split(', beyond')[0]}: {_number(row)}" for _, row in checks.iterrows())
            yield (
                f"{checks['statement'].iloc[0]}: <b>{checks['verdict'].iloc[0]}</b>. {weights} − raw, below 0 where it helps: "
                f"{numbers}."
            )


def _dropout(claims: pd.DataFrame) -> Iterator[str]:
    for effect, outcome, words in (
        ("lowers the normalised dispersion", "normalised attention dispersion", "its change beyond the training length"),
        ("improves prediction beyond the training length", "illegal mass, log10", "the change of illegal mass, log10"),
    ):
        checks = claims[(claims["topic"] == "dropout") & claims["check"].str.startswith(outcome)]
        sites = {f"Dropout at the {site} site {effect}": site for site in SITES}
        checks = checks[checks["statement"].isin(sites)]
        if len(checks):
            numbers = "; ".join(
                f"{sites[row['statement']]} site <b>{row['verdict']}</b>, {_number(row)}" for _, row in checks.iterrows()
            )
            yield f"Dropout {effect} ({words}, with − without, below 0 where it helps): {numbers}."


def _number(row: pd.Series) -> str:
    return f"{number(row['value'])} [{number(row['ci_low'])}, {number(row['ci_high'])}] ({row['passes']})"
