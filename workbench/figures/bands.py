"""Intervals as bands, and the numbers behind a curve, kept in its trace so that the data can be written beside the figure."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from workbench.figures.theme import transparent


def band(x: Iterable, low: Iterable, high: Iterable, colour: str, opacity: float = 0.18, **trace: object) -> go.Scatter:
    """The area between `low` and `high` over `x`, without an entry in the legend; `colour` is a `#rrggbb`."""
    x, low, high = list(x), list(low), list(high)
    fill = dict(fill="toself", fillcolor=transparent(colour, opacity), line=dict(width=0), mode="lines")
    return go.Scatter(x=[*x, *x[::-1]], y=[*low, *high[::-1]], hoverinfo="skip", showlegend=False, **fill, **trace)


def interval_band(rows: pd.DataFrame, x: str, colour: str, low: str = "ci_low", high: str = "ci_high") -> go.Scatter:
    """The band of the interval columns of `rows` over column `x`; rows without an interval are left out."""
    known = rows.dropna(subset=[low, high])
    return band(known[x], known[low], known[high], colour)


def numbers(rows: pd.DataFrame, columns: dict[str, str]) -> dict:
    """Keyword arguments that make a trace keep columns of `rows`, renamed to the values of `columns`, point by point.

    They stand in the file beside the figure (`drawn_data`): `y`, `low` and `high` there replace what is plotted, which an axis
    may have shifted or cut. In a hover text column k is `%{customdata[k]}`.
    """
    return dict(customdata=rows[list(columns)].to_numpy(float, na_value=np.nan), meta={"columns": list(columns.values())})


INTERVAL = {"value": "y", "ci_low": "low", "ci_high": "high"}
"""The columns of a measurement with its interval, for `numbers`."""
