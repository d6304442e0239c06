"""AblationMap: what removing each head changes, at a length that a slider chooses, and by length for the head that is clicked.

The measurement is `workbench.ablation_map`'s. It runs beside the notebook in growing steps, so that there is a coarse map soon
and a finer one later; stopping it keeps what is there.
"""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.callbacks import Points

from workbench.ablation_map import ablation_map
from workbench.figures.bands import band
from workbench.figures.theme import DIVERGING, INK, MUTED, PALETTE, transparent
from workbench.metrics import METRICS, POSITION_METRICS
from workbench.replacement import METHODS
from workbench.widgets.background import Progress
from workbench.widgets.explorer import Explorer, dropdown, slider
from workbench.widgets.metric_panels import grid, vertical_line
from workbench.widgets.redraw import Json, cells, figure_of
from workbench.widgets.variants import Variants

SEQUENCES = 256
FIRST = 16
"""Sequences of the first, coarse map; each further step doubles them."""
CLEAN, ABLATED = PALETTE[0], PALETTE[1]


class AblationView:
    """What the map shows, as a pure function of its state.

    State: `model`, the name of a variant; the `method` of ablation; the `metric`; the `length`; `layer` and `head` from 0.
    """

    def __init__(self) -> None:
        """Nothing measured yet."""
        self.tables: dict[tuple[str, str], pd.DataFrame] = {}

    def figure(self, model: str, method: str, metric: str, length: int, layer: int, head: int) -> go.Figure:
        """Left: the change in the metric when each head is removed. Right: clean and ablated by length, for the chosen head.

        Raises ValueError for a state that is not measured yet.
        """
        if (model, method) not in self.tables:
            raise ValueError(f"{model} is not measured by {method} yet; press Measure")
        rows = self.tables[model, method]
        rows = rows[rows["metric"] == metric]
        own = rows[(rows["layer"] == layer) & (rows["head"] == head)]
        here = rows[rows["length"] == length].pivot(index="layer", columns="head", values="difference").to_numpy(float)
        if own.empty or not here.size:
            raise ValueError(f"{model} has no layer {layer}, head {head} at length {length}; choose others")
        label = METRICS[metric].label.split(",")[0]
        titles = (f"change in {label} at length {length}", f"{label}: layer {layer}, head {head}")
        layout = grid(titles, 2, column_widths=[0.42, 0.58], horizontal_spacing=0.18)
        layout["xaxis"] |= {"title": {"text": "head", "standoff": 2}, "dtick": 1}
        layout["yaxis"] |= {"title": {"text": "layer", "standoff": 2}, "dtick": 1, "autorange": "reversed", "showgrid": False}
        layout["xaxis2"] |= {"title": {"text": "length", "standoff": 2}, "range": [0, int(rows["length"].max()) + 1]}
        frame = dict(type="rect", x0=head - 0.5, x1=head + 0.5, y0=layer - 0.5, y1=layer + 0.5, line=dict(color=INK, width=3))
        shapes = [frame, vertical_line(2, length, chosen=True)]
        shapes += [vertical_line(2, int(trained), chosen=False) for trained in own["train_length"].dropna().unique()]
        text = f"heads ablated by {method}, {own['sequences'].max()} sequences · band: 95 % interval of the difference"
        title = dict(text=text, font=dict(size=13, color=MUTED), yref="container", y=1, yanchor="top", pad=dict(t=10, b=0))
        legend = dict(x=0.6, y=1.0, xanchor="left", yanchor="top", font=dict(size=11.5))
        return figure_of([_cells(here), *_curves(own)], layout | dict(height=420, shapes=shapes, title=title, legend=legend))


def _cells(difference: np.ndarray) -> Json:
    known = np.abs(difference[np.isfinite(difference)])
    most = float(known.max(initial=0)) or 1.0
    return dict(
        type="heatmap",
        z=cells(difference),
        zmin=-most,
        zmax=most,
        colorscale=DIVERGING,
        texttemplate="%{z:.2g}" if difference.size <= 64 else None,
        colorbar=dict(x=0.36, thickness=10, tickfont=dict(size=10)),
        hovertemplate="layer %{y}, head %{x}: %{z:.3g}<extra>click to choose</extra>",
        xgap=1,
        ygap=1,
    )


def _curves(own: pd.DataFrame) -> list[Json]:
    own = own.sort_values("length")
    place: Json = dict(xaxis="x2", yaxis="y2", type="scatter")
    length, clean = own["length"].to_numpy(), own["clean"].to_numpy(float)
    low, high = (clean + own[f"difference_{end}"].to_numpy(float) for end in ("low", "high"))
    around = band(length, low, high, ABLATED).to_plotly_json()
    styles = (("clean", clean, CLEAN, "circle"), ("ablated", own["value"].to_numpy(float), ABLATED, "square"))
    lines = [
        dict(x=length, y=y, name=name, mode="lines+markers", line=dict(color=hue), marker=dict(symbol=symbol, size=4))
        for name, y, hue, symbol in styles
    ]
    return [around | place | dict(fillcolor=transparent(ABLATED, 0.2)), *(line | place for line in lines)]


class AblationMap(Explorer):
    """Press Measure, move the length, click a head: where in the model legality is made, and whether that holds at length."""

    def __init__(self, checkpoints: Sequence[str | os.PathLike[str]], sequences: int = SEQUENCES):
        """Measures a coarse map of the first checkpoint's first weights; `sequences` is how fine the maps become.

        Raises CheckpointError for a path that holds none.
        """
        self.view, self.variants, self.sequences = AblationView(), Variants(checkpoints), sequences
        self._kept = tempfile.TemporaryDirectory(prefix="workbench-ablation-")
        models = [variant.checkpoint.card.model for variant in self.variants.by_name.values()]
        first, method = self.variants.first, METHODS[0]
        self._measure(first, method, min(FIRST, sequences))
        longest = self.variants.longest
        trained = self.variants.by_name[first].checkpoint.card.train_length
        controls: dict[str, Any] = {
            "model": dropdown("model", self.variants.names, self.variants.first),
            "method": dropdown("method", METHODS, width="220px"),
            "metric": dropdown("metric", [(METRICS[name].label, name) for name in POSITION_METRICS]),
            "layer": slider("layer", 0, max(model.layers for model in models) - 1, 0),
            "head": slider("head", 0, max(model.heads for model in models) - 1, 0),
            "length": slider("length", 1, longest, min(trained or longest, longest)),
        }
        rows = (("model", "method"), ("metric",), ("layer", "head"), ("length",))
        super().__init__("ablation-map", controls, rows, (self.view.figure,))
        self.button = widgets.Button(description="Measure", icon="play", tooltip="measure this model and method")
        self.button.on_click(lambda _: self.measure())
        *settings, picture, foot = self.children  # type: ignore[has-type]
        self.children = (*settings, widgets.HBox([self.button, self.background]), picture, self.export_box)
        traces: Any = self.pictures[0].data
        traces[0].on_click(self._choose)

    def measure(self) -> None:
        """Measures the chosen model and method on the background: a coarse map first, then finer ones."""
        model, method = self.controls["model"].value, self.controls["method"].value

        def work(progress: Progress) -> str:
            done = 0
            while done < self.sequences:
                done = min(max(FIRST, 2 * done), self.sequences)
                progress(done / self.sequences / 2, f"{model}, {method}: {done} of {self.sequences} sequences")
                self._measure(model, method, done)
                self.renew()
            return f"{model} measured by {method} on {done} sequences"

        self.background.start(work)

    def _measure(self, model: str, method: Any, sequences: int) -> None:
        variant = self.variants.by_name[model]
        keep = Path(self._kept.name) / f"{self.variants.names.index(model)}-{method}"
        table = ablation_map(
            variant.checkpoint.folder, method=method, sequences=sequences, weights=variant.weights, batch=FIRST, keep=keep
        )
        self.view.tables[model, method] = table

    def _choose(self, _: object, points: Points, __: object) -> None:
        for layer, head in zip(points.ys, points.xs, strict=True):
            self.set(layer=int(layer), head=int(head))
