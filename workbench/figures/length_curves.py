"""Metrics by length: the one-page overview of an organism, and one metric alone."""

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench.figures.bands import side_by_side
from workbench.figures.curves import add_curves, curves, one_organism, rows_of
from workbench.figures.many_curves import curves_together, number_together
from workbench.figures.page import finish, reading
from workbench.figures.scales import scale_for
from workbench.figures.theme import length_axis, length_range
from workbench.metrics import METRICS

PAGE = ("illegal_mass", "illegal_top1", "total_variation", "normalised_dispersion")
COLUMNS = 2


def length_page(frame: pd.DataFrame, metrics: Sequence[str] = PAGE) -> go.Figure:
    """Metrics by length in one page, a panel each, for the checkpoints of one organism.

    Args:
        frame: rows of `compare` (or of `evaluate`) of one task and vocabulary.
        metrics: names in `METRICS`.

    Raises:
        ValueError: no rows, rows of several organisms, or no metric of that name in the frame.
    """
    return _panels(frame, metrics, min(COLUMNS, len(metrics)))


def length_curve(frame: pd.DataFrame, metric: str) -> go.Figure:
    """One metric by length, for the checkpoints of one organism; raises as `length_page`."""
    return _panels(frame, (metric,), 1)


def _panels(frame: pd.DataFrame, metrics: Sequence[str], columns: int) -> go.Figure:
    title = one_organism(frame)
    rows = -(-len(metrics) // columns)
    fig = make_subplots(rows, columns, horizontal_spacing=0.11, vertical_spacing=0.24 / rows)
    together = number_together(frame)
    draw = curves_together if together else curves
    entries = 0
    for number, metric in enumerate(metrics):
        row, col = number // columns + 1, number % columns + 1
        drawn = draw(rows_of(frame, metric))
        values = pd.concat([curve.points[["value", "high", "seed_high"]].stack() for curve in drawn])
        scale = scale_for(METRICS[metric], values)
        add_curves(fig, drawn, scale, row, col, legend=number == 0, rate=METRICS[metric].rate)
        fig.update_yaxes(scale.layout, row=row, col=col)
        length_axis(fig, None, row, col)
        for length in frame["train_length"].dropna().unique():
            length_axis(fig, int(length), row, col)
        entries = max(entries, len(drawn))
    fig.update_xaxes(range=length_range(frame))
    side_by_side(fig, frame["length"])
    note = reading(frame, rates=any(METRICS[metric].rate for metric in metrics), together=together)
    return finish(fig, title, note, rows, columns, entries)
