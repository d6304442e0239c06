"""Intervals as bands, and the numbers behind a curve, kept in its trace so that the data can be written beside the figure."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from workbench.figures.theme import transparent

BAR = 7
"""Breadth in px of the bar that a band of one point is."""


def band(x: Iterable, low: Iterable, high: Iterable, colour: str, opacity: float = 0.18, **trace: object) -> go.Scatter:
    """The area between `low` and `high` over `x`, without an entry in the legend; `colour` is a `#rrggbb`.

    Where there is one x, it is a broad bar, three times as opaque.
    """
    x, low, high = list(x), list(low), list(high)
    if len(x) == 1:
        bar = dict(array=[high[0] - low[0]], arrayminus=[0], symmetric=False, thickness=BAR, width=0)
        bar["color"] = transparent(colour, 3 * opacity)
        invisible = dict(mode="markers", marker=dict(opacity=0, color=colour))
        return go.Scatter(x=x, y=low, error_y=bar, hoverinfo="skip", showlegend=False, **invisible, **trace)
    fill = dict(fill="toself", fillcolor=transparent(colour, opacity), line=dict(width=0), mode="lines")
    return go.Scatter(x=[*x, *x[::-1]], y=[*low, *high[::-1]], hoverinfo="skip", showlegend=False, **fill, **trace)


def side_by_side(figure: go.Figure, x: pd.Series) -> None:
    """Where all of `x` are one, curves are a point each: these stand beside each other by colour, without dashes, with bars."""
    if x.nunique() != 1:
        return
    for trace in figure.data:
        trace.update(offsetgroup=trace.marker.color or trace.line.color, line_dash=None)
        if trace.mode == "lines":  # of one point nothing would be seen
            trace.update(mode="markers", marker=dict(color=trace.line.color, size=4))
    at = x.iloc[0]
    figure.update_layout(scattermode="group", scattergap=0.3)
    figure.update_xaxes(tickvals=[at], range=[at - 0.5, at + 0.5])


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
