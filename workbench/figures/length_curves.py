"""Metrics by length: the one-page overview of an organism, and one metric alone."""

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench.figures.bands import side_by_side
from workbench.figures.curves import add_curves, curves, one_organism
from workbench.figures.scales import scale_for
from workbench.figures.theme import MUTED, apply_theme, length_axis, length_range
from workbench.metrics import METRICS

PAGE = ("illegal_mass", "illegal_top1", "total_variation", "normalised_dispersion")
COLUMNS = 2
PANEL_WIDTH = {1: 700, 2: 540, 3: 390}
PANEL_HEIGHT = 330
LEGEND_ROW = 27
MARK_ROW = 20


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


def rows_of(frame: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The rows of one metric; raises ValueError where there are none.

    Normalised dispersion is left out at length 1, where it is 0 by definition and says nothing of the model.
    """
    rows = frame[(frame["metric"] == metric) & ((metric != "normalised_dispersion") | (frame["length"] > 1))]
    if rows.empty:
        raise ValueError(f"the frame has no metric '{metric}'; it has {', '.join(sorted(frame['metric'].unique()))}")
    return rows


def _panels(frame: pd.DataFrame, metrics: Sequence[str], columns: int) -> go.Figure:
    title = one_organism(frame)
    rows = -(-len(metrics) // columns)
    fig = make_subplots(rows, columns, horizontal_spacing=0.11, vertical_spacing=0.24 / rows)
    entries = 0
    for number, metric in enumerate(metrics):
        row, col = number // columns + 1, number % columns + 1
        drawn = curves(rows_of(frame, metric))
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
    note = reading(frame, rates=any(METRICS[metric].rate for metric in metrics))
    return finish(fig, title, note, rows, columns, entries)


def finish(
    fig: go.Figure, title: str, note: str, rows: int, columns: int, entries: int, panel_titles: bool = False
) -> go.Figure:
    """Theme, size, legend in columns of raw, ema, bema above the panels, and a note below."""
    legend_height = LEGEND_ROW * -(-entries // 3)
    panels, head = PANEL_HEIGHT * rows, MARK_ROW * (1 + panel_titles)
    width = PANEL_WIDTH.get(columns, 330) * columns
    apply_theme(fig, title, width=90 + width, height=150 + head + legend_height + panels)
    fig.update_layout(
        margin=dict(t=65 + head + legend_height, b=85),
        title_pad_b=head + 14 + legend_height,
        legend=dict(orientation="h", x=0, y=1 + head / panels, yanchor="bottom", entrywidth=0.32, entrywidthmode="fraction"),
    )
    if panel_titles:
        fig.update_annotations(selector={"yref": "paper"}, yshift=MARK_ROW, font_size=13)
    below = dict(x=0, y=0, xref="paper", yref="paper", xanchor="left", yanchor="top", yshift=-52, align="left")
    fig.add_annotation(text=note, showarrow=False, font=dict(size=11, color=MUTED), **below)
    return fig


def reading(frame: pd.DataFrame, rates: bool) -> str:
    """The line under a figure: what line, band, bars and the dotted line stand for in this frame."""
    seeds = frame["seed"].nunique()
    interval = f"95 % interval over {frame['sequences'].max():,} sequences"
    words = ["line: one checkpoint", f"band: {interval}"]
    if seeds > 1:
        words = ["line: mean over seeds", f"band: least to greatest of up to {seeds} seeds", f"bars: {interval} (of one seed)"]
    if rates:
        words.append("dotted: its upper end where none counted")
    return " · ".join(words)
