"""Curves of several metrics in a grid of small panels, light enough to be redrawn at every step of a slider.

The same look as the figures for papers (`workbench.figures.length_curves`), with fewer traces: no error bars. What a trace has
for each point are arrays, which are copied and compared many times faster than lists.
"""

import copy
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import pandas as pd
from plotly.subplots import make_subplots

from workbench.figures.bands import numbers
from workbench.figures.curves import NUMBERS, Curve, curves, one_organism, rows_of
from workbench.figures.scales import Scale, scale_for
from workbench.figures.theme import INK, MUTED, TEMPLATE, transparent
from workbench.metrics import METRICS
from workbench.widgets.redraw import CHOSEN, Json

PANELS = ("illegal_mass", "illegal_top1", "total_variation", "dispersion", "margin")
MARKED = 5
"""At most how many points of a curve carry a marker."""
HEIGHT = 560


def panel_title(metric: str) -> str:
    """A metric's name and unit, short enough for a small panel."""
    unit = f" ({METRICS[metric].unit})" if METRICS[metric].unit else ""
    return METRICS[metric].label.split(",")[0].removeprefix("attention ") + unit


def grid(titles: Sequence[str], columns: int, **options: Any) -> Json:
    """The layout of a grid of panels in the house look, without traces; an empty title leaves its place empty.

    `options` are those of plotly's make_subplots. A layout is made once and copied: making one takes longer than drawing it.
    """
    layout = copy.deepcopy(_grid(len(titles), columns, tuple(not title for title in titles), json.dumps(options)))
    for annotation, title in zip(layout["annotations"], filter(None, titles), strict=True):
        annotation["text"] = title
    return layout | {"template": TEMPLATE}


@lru_cache
def _grid(panels: int, columns: int, empty: tuple[bool, ...], options: str) -> Json:
    rows = -(-panels // columns)
    places: list[Json | None] = [None if nothing else {} for nothing in empty]
    specs = [places[row * columns :][:columns] for row in range(rows)]
    titles = ["title"] * (panels - sum(empty))
    figure = make_subplots(rows, columns, subplot_titles=titles, specs=specs, **json.loads(options))
    figure.update_annotations(font=dict(size=12.5, color=INK), yshift=2)
    figure.update_layout(margin=dict(l=50, r=16, t=66, b=44), hovermode="closest", autosize=True)
    figure.update_xaxes(title_standoff=4, showgrid=False)
    return {name: value for name, value in figure.layout.to_plotly_json().items() if name != "template"}


def axis(letter: str, panel: int) -> str:
    """The name of a panel's axis in a layout: `xaxis`, `yaxis3`; panels count from 1."""
    return f"{letter}axis{panel if panel > 1 else ''}"


def reference(letter: str, panel: int) -> str:
    """How traces and shapes name a panel's axis: `x`, `y3`; panels count from 1."""
    return f"{letter}{panel if panel > 1 else ''}"


def heading(text: str) -> Json:
    """The title of a whole figure: what it is of, in the margin that `grid` leaves above the panels' titles."""
    return dict(text=text, font=dict(size=13, color=MUTED), yref="container", y=1, yanchor="top", pad=dict(t=10, b=0))


def vertical_line(panel: int, x: float, chosen: bool) -> Json:
    """A line across a panel: the chosen place of a slider, or the training length."""
    line = dict(color=INK, width=1.5) if chosen else dict(color=MUTED, width=1.5, dash="longdashdot")
    named = {"name": CHOSEN} if chosen else {}
    place = dict(xref=reference("x", panel), yref=f"{reference('y', panel)} domain", x0=x, x1=x, y0=0, y1=1)
    return dict(type="line", layer="below", line=line, **place, **named)


def metric_curves(
    frame: pd.DataFrame, x: Literal["length", "step"], draw: Callable[..., list[Curve]] = curves
) -> dict[str, list[Curve]]:
    """The curves of each of `PANELS` over `x`, as `draw` makes them; raises ValueError for rows of several organisms."""
    one_organism(frame)
    return {metric: draw(rows_of(frame, metric), x=x) for metric in PANELS}


def metric_scales(drawn: Mapping[str, Sequence[Curve]]) -> dict[str, Scale]:
    """The y axis of each metric, which holds all of its curves."""
    values = {m: np.concatenate([curve.points[name] for curve in drawn[m] for name in ("value", "seed_high")]) for m in drawn}
    return {metric: scale_for(METRICS[metric], values[metric]) for metric in drawn}


def metric_panels(
    drawn: Mapping[str, Sequence[Curve]], scales: Mapping[str, Scale], x_title: str, title: str
) -> tuple[list[Json], Json]:
    """Traces and layout of the metrics `PANELS`, a panel each, the legend in the sixth place and a title above."""
    layout = grid([*map(panel_title, PANELS), ""], 3, horizontal_spacing=0.075, vertical_spacing=0.17)
    traces: list[Json] = []
    for panel, metric in enumerate(PANELS, start=1):
        traces += _panel(drawn[metric], scales[metric], panel)
        layout[axis("y", panel)] |= {key: value for key, value in scales[metric].layout.items() if key != "title_text"}
        if panel >= 3:
            layout[axis("x", panel)] |= {"title": {"text": x_title, "standoff": 2}}
    legend = dict(x=0.705, y=0.43, xanchor="left", yanchor="top", font=dict(size=11.5), itemwidth=36)
    return traces, layout | dict(height=HEIGHT, title=heading(title), legend=legend)


def _panel(drawn: Sequence[Curve], scale: Scale, panel: int) -> Iterator[Json]:
    place = dict(type="scatter", xaxis=reference("x", panel), yaxis=reference("y", panel))
    for curve in drawn:
        points = curve.points
        if (points["seeds"] > 1).any():
            edges = np.concatenate([scale.place(points["seed_low"]), scale.place(points["seed_high"])[::-1]])
            fill = dict(fill="toself", fillcolor=transparent(curve.style.colour, 0.12), line=dict(width=0), mode="lines")
            group = dict(legendgroup=curve.name, showlegend=False, hoverinfo="skip")
            there_and_back = np.concatenate([points["x"], points["x"][::-1]])
            yield dict(x=there_and_back, y=edges, **fill, **group, **place)
    for curve in drawn:
        points = curve.points
        text = [
            f"{curve.name}<br>at {x:,}: {value:.3g}, 95 % interval {low:.3g} to {high:.3g}"
            for x, value, low, high in zip(*(points[name] for name in ("x", "value", "low", "high")), strict=True)
        ]
        style = dict(
            mode="lines+markers",
            line=dict(color=curve.style.colour, dash=curve.style.dash, width=1.8),
            marker=dict(symbol=curve.style.marker, color=curve.style.colour, size=5.5, maxdisplayed=MARKED),
        )
        legend = dict(name=curve.name, legendgroup=curve.name, showlegend=panel == 1)
        values = dict(x=points["x"].to_numpy(), y=scale.place(points["value"]), **numbers(points, NUMBERS))
        values |= dict(text=np.array(text), hovertemplate="%{text}<extra></extra>")
        yield values | style | legend | place
