"""CheckpointTimeline: metrics over training steps, raw against EMA and BEMA, at a length that a slider chooses."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from workbench.comparison import compare
from workbench.figures.curves import Curve, one_organism
from workbench.widgets.choices import Choices
from workbench.widgets.explorer import Explorer, slider
from workbench.widgets.metric_panels import PANELS, axis, metric_curves, metric_panels, metric_scales
from workbench.widgets.redraw import Json, figure_of
from workbench.widgets.variants import Variants

SEQUENCES = 200
STEPS = 1 << 40
"""More than the steps of any run."""

MetricCurves = Mapping[str, Sequence[Curve]]


class TimelineView:
    """What the timeline shows, as pure functions of its state: `dropout` labels and `weights` to show, and the `length`."""

    def __init__(self, table: pd.DataFrame):
        """`table` holds rows of `compare(..., steps="all")`, of one organism; raises ValueError for a single step."""
        if table["step"].nunique() < 2:
            raise ValueError("a timeline needs two training steps or more; give runs, or a table of compare(..., steps='all')")
        self.title = one_organism(table)
        self.table = table[table["step"] > 0]  # a logarithm has no place for step 0
        self.by_length = lru_cache(16)(self._by_length)
        self._panels = lru_cache(256)(self._draw_panels)

    def figure(self, dropout: tuple[str, ...], weights: tuple[str, ...], length: int) -> go.Figure:
        """Every metric over optimiser steps."""
        return figure_of(*self._panels(dropout, weights, length))

    def _draw_panels(self, dropout: tuple[str, ...], weights: tuple[str, ...], length: int) -> tuple[list[Json], Json]:
        drawn = self.by_length(dropout, weights)[length]
        note = "seen in training" if length <= self.table["train_length"].max() else "longer than any seen in training"
        traces, layout = metric_panels(drawn, metric_scales(drawn), "optimiser step", f"{self.title} · length {length}, {note}")
        for panel in range(1, len(PANELS) + 1):
            layout[axis("x", panel)] |= {"type": "log", "dtick": 1, "tickformat": ",d"}
        return traces, layout

    def _chosen(self, dropout: tuple[str, ...], weights: tuple[str, ...]) -> pd.DataFrame:
        rows = self.table[self.table["dropout"].isin(dropout) & self.table["weights"].isin(weights)]
        if rows.empty:
            raise ValueError("no checkpoint has these dropout rates and weights; check a box in each row")
        return rows

    def _by_length(self, dropout: tuple[str, ...], weights: tuple[str, ...]) -> dict[int, MetricCurves]:
        """The curves of every length at once, made as if length and step were one number: many times faster than one by one."""
        rows = self._chosen(dropout, weights)
        together = metric_curves(rows.assign(step=rows["length"] * STEPS + rows["step"]), "step")
        return {
            length: {metric: [_at(curve, length) for curve in drawn] for metric, drawn in together.items()}
            for length in map(int, rows["length"].unique())
        }


def _at(curve: Curve, length: int) -> Curve:
    points = curve.points[curve.points["x"] // STEPS == length]
    return dataclasses.replace(curve, points=points.assign(x=points["x"] % STEPS))


class CheckpointTimeline(Explorer):
    """Move the length and see how training went there: where averaging helps, and when."""

    def __init__(self, runs: Sequence[str | os.PathLike[str]], table: pd.DataFrame | None = None, sequences: int = SEQUENCES):
        """Measures every step of the runs, unless their `table` of `compare(..., steps="all")` is given.

        Raises CheckpointError for a path without checkpoints, ValueError for fewer than two steps or several organisms.
        """
        if table is None:
            Variants(runs).require_one_organism()
            table = compare(runs, sequences=sequences, steps="all", progress=True)
        self.view = TimelineView(table)
        longest = int(table["length"].max())
        dropouts = sorted(table["dropout"].dropna().unique(), key=lambda label: (label != "none", label))
        controls: dict[str, Any] = {
            "length": slider("length", 1, longest, longest),
            "dropout": Choices(dropouts, "dropout"),
            "weights": Choices(list(table["weights"].unique()), "weights"),
        }
        rows = (("dropout",), ("weights",), ("length",))
        super().__init__("checkpoint-timeline", controls, rows, (self.view.figure,))
