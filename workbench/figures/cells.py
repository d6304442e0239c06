"""Heatmaps in files that are not HTML: vector cells while there are few, else a raster whose resolution is known.

plotly draws a heatmap as one image with a pixel a cell. For print every heatmap of a figure goes through `with_cells`.
"""

import math

import numpy as np
import plotly.graph_objects as go

from workbench.figures.panels import domain
from workbench.figures.print_text import CSS_DPI

GREATEST_VECTOR = 64
"""Up to this many rows and columns, cells are vector paths."""
RASTER_DPI = 300
"""The least resolution of a larger heatmap at its size in print; every cell is a whole number of dots, so it may be higher."""
SEAM = 0.4
"""Width in px of a cell's outline in its own colour, without which viewers show hairlines between neighbours."""


def with_cells(figure: go.Figure) -> go.Figure:
    """A copy of the figure whose heatmaps are vector cells, or rasters where they have over `GREATEST_VECTOR` rows or columns.

    A raster has as many whole dots a cell as it takes for `RASTER_DPI`, and so between that and that plus the number of cells
    an inch: 80 columns on 2.5 in have 10 dots each, 320 dpi.

    Colours, colour bar, missing cells (left blank), gaps, axes and numbers in the cells stay as they were.
    """
    if not any(trace.type == "heatmap" for trace in figure.data):
        return figure
    drawn = go.Figure(layout=figure.layout)
    for trace in figure.data:
        if trace.type != "heatmap":
            drawn.add_trace(trace)
            continue
        columns, rows = (_edges(drawn, trace, letter) for letter in "xy")
        if max(len(columns), len(rows)) - 1 <= GREATEST_VECTOR:
            drawn.add_trace(_bars(trace, columns, rows))
        else:
            drawn.add_trace(_raster(figure, trace, columns, rows))
    return drawn.update_layout(barmode="overlay")


def _edges(figure: go.Figure, trace: go.Heatmap, letter: str) -> np.ndarray:
    """Where cells begin and end along an axis, which gets their range and, for names instead of numbers, their labels."""
    count = np.asarray(trace.z).shape[1 if letter == "x" else 0]
    places = list(range(count)) if trace[letter] is None else list(trace[letter])
    axis = figure.layout[_axis(trace, letter)]
    if not all(isinstance(place, (int, float, np.number)) for place in places):
        axis.update(type="linear", tickvals=list(range(count)), ticktext=[str(place) for place in places])
        places = list(range(count))
    edges = _between(np.asarray(places, float))
    if axis.range is None:
        axis.update(range=[edges[-1], edges[0]] if axis.autorange == "reversed" else [edges[0], edges[-1]], autorange=False)
    return edges


def _axis(trace: go.Heatmap, letter: str) -> str:
    return f"{letter}axis{(trace[f'{letter}axis'] or letter)[1:]}"


def _between(places: np.ndarray) -> np.ndarray:
    """Edges halfway between cells; the outer cells are as wide to both sides. A cell alone is 1 wide."""
    if len(places) == 1:
        return np.array([places[0] - 0.5, places[0] + 0.5])
    middles = (places[:-1] + places[1:]) / 2
    return np.concatenate([[2 * places[0] - middles[0]], middles, [2 * places[-1] - middles[-1]]])


def _bars(trace: go.Heatmap, columns: np.ndarray, rows: np.ndarray) -> go.Bar:
    values = np.asarray(trace.z, float)
    row, column = np.nonzero(np.isfinite(values))
    shown = values[row, column]
    seam = dict(width=0) if trace.xgap else dict(width=SEAM, color=shown, **_colours(trace))
    bar = trace.colorbar.to_plotly_json()
    widths, shrink = np.diff(columns), 0.94 if trace.xgap else 1.0
    return go.Bar(
        x=(columns[:-1] + columns[1:])[column] / 2,
        width=widths[column] * shrink,
        base=rows[row] + np.diff(rows)[row] * (1 - shrink) / 2,
        y=np.diff(rows)[row] * shrink,
        marker=dict(color=shown, line=seam, showscale=trace.showscale, colorbar=bar, **_colours(trace)),
        text=cell_texts(trace)[row, column] if trace.texttemplate else None,
        textposition="inside",
        insidetextanchor="middle",
        textangle=0,
        constraintext="none",
        textfont_size=trace.textfont.size,
        xaxis=trace.xaxis,
        yaxis=trace.yaxis,
        showlegend=False,
    )


def _colours(trace: go.Heatmap) -> dict:
    if trace.coloraxis is not None:
        return {"coloraxis": trace.coloraxis}
    return dict(colorscale=trace.colorscale, reversescale=trace.reversescale, cmin=trace.zmin, cmax=trace.zmax, cmid=trace.zmid)


def cell_texts(trace: go.Heatmap) -> np.ndarray:
    """The numbers in the cells; templates hold `%{text}` or one number, as `%{z:.2f}`."""
    if "%{text}" in trace.texttemplate:
        return np.asarray(trace.text, object)
    before, _, rest = trace.texttemplate.partition("%{z")
    form, _, after = rest.partition("}")
    return np.vectorize(lambda value: f"{before}{value:{form.removeprefix(':')}}{after}", otypes=[object])(
        np.asarray(trace.z, float)
    )


def _raster(figure: go.Figure, trace: go.Heatmap, columns: np.ndarray, rows: np.ndarray) -> go.Heatmap:
    """The heatmap with every cell repeated; cells of a large heatmap are taken to be of one size."""
    values = np.asarray(trace.z, float)
    times = []
    for letter, size, count in zip("yx", (figure.layout.height or 450, figure.layout.width or 700), values.shape, strict=True):
        low, high = domain(figure, _axis(trace, letter))
        times.append(math.ceil(RASTER_DPI * size * (high - low) / CSS_DPI / count))
    fine = np.repeat(np.repeat(values, times[0], axis=0), times[1], axis=1)
    x, y = (_middles(edges, count) for edges, count in ((columns, fine.shape[1]), (rows, fine.shape[0])))
    return go.Heatmap(trace).update(z=fine, x=x, y=y, text=None, texttemplate=None, hoverinfo="skip", hovertemplate=None)


def _middles(edges: np.ndarray, count: int) -> np.ndarray:
    step = (edges[-1] - edges[0]) / count
    return edges[0] + step * (np.arange(count) + 0.5)
