"""AblationMap: what removing each head changes, at a length that a slider chooses, and by length for the head that is clicked.

The measurement is `workbench.ablation_map`'s. It runs beside the notebook in growing steps, so that there is a coarse map soon
and a finer one later; stopping it keeps what is there.
"""

import os
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import numpy as np
import pandas as pd
import plotly.graph_objects as go

from models.whole_numbers import require_whole
from workbench.ablation_map import ablation_map
from workbench.ablation_methods import METHODS, Method
from workbench.figures.bands import band, numbers
from workbench.figures.theme import DIVERGING, INK, PALETTE, transparent
from workbench.metrics import METRICS, POSITION_METRICS
from workbench.widgets.background import Progress
from workbench.widgets.explorer import Explorer, NothingYet, dropdown, slider
from workbench.widgets.metric_panels import grid, heading, vertical_line
from workbench.widgets.redraw import Json, cells, figure_of
from workbench.widgets.variants import Variants

SEQUENCES = 256
FIRST = 16
"""Sequences of the first, coarse map; each further step doubles them."""
BATCH = 4
"""Sequences a clean pass: few, since only after every head of a layer can it be stopped."""
CLEAN, ABLATED = PALETTE[0], PALETTE[1]


class AblationView:
    """What the map shows, as a pure function of its state.

    State: `model`, the name of a variant; the `method` of ablation; the `metric`; the `length`; `layer` and `head` from 0.
    """

    def __init__(self) -> None:
        """Nothing measured yet."""
        self.tables: dict[tuple[str, Method], pd.DataFrame] = {}

    def figure(self, model: str, method: Method, metric: str, length: int, layer: int, head: int) -> go.Figure:
        """Left: the change in the metric when each head is removed. Right: clean and ablated by length, for the chosen head.

        Raises NothingYet for a model that is not measured by the method, ValueError for a head or length that it does not have.
        """
        if (model, method) not in self.tables:
            raise NothingYet(f"{model} is not measured by {method} yet; press Measure, or wait while that goes on")
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
        sequences = int(own["sequences"].max())
        title = f"{model} · heads ablated by {method}, {sequences} sequences · band: 95 % interval of the difference"
        legend = dict(x=0.6, y=1.0, xanchor="left", yanchor="top", font=dict(size=11.5))
        shared = dict(model=model, method=method, metric=metric, sequences=sequences)
        layout |= dict(height=420, shapes=shapes, title=heading(title), legend=legend, meta=shared)
        return figure_of([_cells(here), *_curves(own)], layout)


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
    own = own.assign(low=clean + own["difference_low"], high=clean + own["difference_high"])
    around = band(length, own["low"], own["high"], ABLATED).to_plotly_json()
    interval = numbers(own, {"value": "y", "low": "low", "high": "high"})
    styles: tuple[tuple[str, np.ndarray, str, str, Json], ...]
    styles = (("clean", clean, CLEAN, "circle", {}), ("ablated", own["value"].to_numpy(float), ABLATED, "square", interval))
    lines = [
        dict(x=length, y=y, name=name, mode="lines+markers", line=dict(color=hue), marker=dict(symbol=symbol, size=4)) | kept
        for name, y, hue, symbol, kept in styles
    ]
    return [around | place | dict(fillcolor=transparent(ABLATED, 0.2)), *(line | place for line in lines)]


class AblationMap(Explorer):
    """Press Measure, move the length, click a head: where in the model legality is made, and whether that holds at length."""

    def __init__(self, checkpoints: Sequence[str | os.PathLike[str]], sequences: int = SEQUENCES):
        """Begins to measure a coarse map of the first checkpoint's first weights; `sequences` is how fine the maps become.

        Raises CheckpointError for a path that holds none, ValueError for fewer than 2 sequences.
        """
        require_whole("sequences", sequences, least=2)
        self.view, self.variants, self.sequences = AblationView(), Variants(checkpoints), sequences
        self._kept = tempfile.TemporaryDirectory(prefix="workbench-ablation-")
        models = [variant.checkpoint.card.model for variant in self.variants.by_name.values()]
        longest = self.variants.longest
        trained = self.variants.by_name[self.variants.first].checkpoint.card.train_length
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
        self.pictures[0].on_cell([0], lambda layer, head: self.set(layer=layer, head=head))
        self._begin(min(FIRST, sequences))

    def measure(self) -> None:
        """Measures the chosen model and method on the background: a coarse map first, then finer ones."""
        self._begin(self.sequences)

    def _begin(self, sequences: int) -> None:
        self.background.start(partial(self._measure, self.controls["model"].value, self.controls["method"].value, sequences))

    def _measure(self, model: str, method: Method, sequences: int, progress: Progress) -> str:
        variant = self.variants.by_name[model]
        keep = Path(self._kept.name) / f"{self.variants.names.index(model)}-{method}"
        shown = 0
        while shown < sequences:
            wanted = min(max(FIRST, 2 * shown), sequences)

            def report(share: float, shown: int = shown, wanted: int = wanted) -> None:
                words = f"{model}, {method}: measuring {wanted} of {sequences} sequences"
                progress(max(share * wanted, shown) / sequences, words)  # what was kept is gone through again

            report(0)
            self.view.tables[model, method] = ablation_map(
                *(variant.checkpoint.folder, None, "heads", method),
                sequences=wanted,
                weights=variant.weights,
                batch=BATCH,
                keep=keep,
                report=report,
            )
            shown = wanted
            self.renew()
        return f"{model} measured by {method} on {shown} sequences"
