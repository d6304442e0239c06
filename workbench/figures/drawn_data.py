"""The data of a figure as a tidy frame: the numbers behind each point that is drawn, for the CSV beside it."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.basedatatypes import BaseTraceType

from workbench.figures.panels import Panel, panels_of

COLUMNS = ("panel", "curve", "x_title", "x", "y_title", "y", "low", "high")


def drawn_data(figure: go.Figure) -> pd.DataFrame:
    """One row a point or cell: `panel`, `curve` (legend entry), axis titles, `x`, `y`, interval `low` .. `high`; then the rest.

    A heatmap's cell has its number in `value` and its name, if it has one, in `cell`. A trace that carries `bands.numbers`
    gives these instead of what is plotted: on a log axis a zero is plotted at the bottom and is 0 here. Traces without a hover
    text only decorate (bands, error bars that are staggered) and are left out. What the layout's `meta`, a dict, says of the
    whole figure, such as the model, are columns before the others, the same in every row.
    """
    parts = [
        _titled(figure, panel, _points(trace)).assign(curve=trace.name or "")
        for panel in panels_of(figure)
        for trace in panel.traces
        if trace.hoverinfo != "skip" and _has_points(trace)
    ]
    frame = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(COLUMNS))
    kept = [name for name in COLUMNS if name in frame and not (frame[name].isna().all() or (frame[name] == "").all())]
    rest = [name for name in frame if name not in COLUMNS]
    return frame.assign(**(figure.layout.meta or {}))[[*(figure.layout.meta or ()), *kept, *rest]]


def _has_points(trace: BaseTraceType) -> bool:
    return trace.type == "heatmap" or (trace.x is not None and len(trace.x) > 0 and trace.x[0] is not None)


def _titled(figure: go.Figure, panel: Panel, points: pd.DataFrame) -> pd.DataFrame:
    title = panel.title.text if panel.title is not None else ""
    x_title, y_title = figure.layout[panel.x].title.text, figure.layout[panel.y].title.text
    return points.assign(panel=title, x_title=x_title or "", y_title=y_title or "")


def _points(trace: BaseTraceType) -> pd.DataFrame:
    if trace.type == "heatmap":
        return _cells(trace)
    points = pd.DataFrame({"x": list(trace.x), "y": list(trace.y)})
    error = trace.error_y if "error_y" in trace else None
    if error is not None and error.array is not None:
        plus = np.asarray(error.array, float)
        minus = plus if error.arrayminus is None else np.asarray(error.arrayminus, float)
        points = points.assign(low=points["y"] - minus, high=points["y"] + plus)
    if isinstance(trace.meta, dict) and "columns" in trace.meta:
        kept = pd.DataFrame(np.asarray(trace.customdata, float), columns=trace.meta["columns"])
        points = points.assign(**{str(name): kept[name] for name in kept})
    return points


def _cells(trace: go.Heatmap) -> pd.DataFrame:
    values = np.asarray(trace.z, float)
    x = range(values.shape[1]) if trace.x is None else trace.x
    y = range(values.shape[0]) if trace.y is None else trace.y
    rows = [{"x": column, "y": row, "value": values[i, j]} for i, row in enumerate(y) for j, column in enumerate(x)]
    cells = pd.DataFrame(rows)
    return cells if trace.text is None else cells.assign(cell=np.ravel(trace.text))
