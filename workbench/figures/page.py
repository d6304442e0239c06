"""What every page of panels by length has: theme, size, a legend above and a line below that says how to read it."""

import pandas as pd
import plotly.graph_objects as go

from workbench.figures.theme import MUTED, apply_theme

PANEL_WIDTH = {1: 700, 2: 540, 3: 390}
PANEL_HEIGHT = 330
LEGEND_ROW = 27
MARK_ROW = 20


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


def reading(frame: pd.DataFrame, rates: bool, together: int) -> str:
    """The line under a figure: what line, band, bars and the dotted line stand for in this frame.

    `together` is how many checkpoints are drawn as one (`many_curves.py`), 0 where none are.
    """
    seeds = frame["seed"].nunique()
    interval = f"95 % interval over {frame['sequences'].max():,} sequences"
    words = ["line: one checkpoint", f"band: {interval}"]
    if seeds > 1:
        words = ["line: mean over seeds", f"band: least to greatest of up to {seeds} seeds", f"bars: {interval} (of one seed)"]
    if together:
        lines = f"line: mean of {together} checkpoints"
        words = [lines, "band: all of them; fewer would be drawn apart", f"bars: {interval} (of one)"]
    if rates:
        words.append("dotted: its upper end where none counted")
    return " · ".join(words)
