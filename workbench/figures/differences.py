"""Paired differences by length: ema - raw, bema - raw and dropout - none, around a zero line."""

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench.figures.curves import DIFFERENCES, add_curves, curves, one_organism, rows_of
from workbench.figures.many_curves import curves_together, number_together
from workbench.figures.page import finish, reading
from workbench.figures.scales import linear_scale, signed_log_scale
from workbench.figures.theme import INK, length_axis, length_range
from workbench.headline import DIFFERENCE_NAMES
from workbench.metrics import METRICS


def difference_curves(frame: pd.DataFrame, metric: str) -> go.Figure:
    """The paired differences of one metric by length, a panel for each contrast, on one axis; below zero the first is less.

    Args:
        frame: rows of `compare` of one task and vocabulary.
        metric: a name in `METRICS`.

    Raises:
        ValueError: no rows of that metric, several organisms, or no row that has a reference.
    """
    title = f"{one_organism(frame)}: paired differences"
    rows = rows_of(frame, metric)
    paired = rows.dropna(subset=[DIFFERENCES[0]])
    by_contrast = {name: paired[paired["weights"] == weights] for weights, name in DIFFERENCE_NAMES.items()}
    together = max(map(number_together, by_contrast.values()))
    draw = curves_together if together else curves
    panels = {name: draw(of_weights, columns=DIFFERENCES) for name, of_weights in by_contrast.items()}
    panels = {name: drawn for name, drawn in panels.items() if drawn}
    if not panels:
        raise ValueError("no row has a paired difference; compare raw with ema or bema, or dropout with no dropout of one seed")
    fig = make_subplots(1, len(panels), shared_yaxes=True, horizontal_spacing=0.03, column_titles=list(panels))
    points = [curve.points for drawn in panels.values() for curve in drawn]
    values = pd.concat([table[["value", "low", "high", "seed_low", "seed_high"]].stack() for table in points])
    label = f"difference of {METRICS[metric].axis}"
    scale = signed_log_scale(values, label) if METRICS[metric].log else linear_scale(label)
    for col, drawn in enumerate(panels.values(), start=1):
        add_curves(fig, drawn, scale, row=1, col=col)
        fig.update_yaxes({**scale.layout, "title_text": label if col == 1 else None}, row=1, col=col)
        fig.add_hline(0, line=dict(color=INK, width=1), row=1, col=col)
        length_axis(fig, None, row=1, col=col)
        for length in frame["train_length"].dropna().unique():
            length_axis(fig, int(length), row=1, col=col)
    fig.update_xaxes(range=length_range(frame))
    note = reading(frame, rates=False, together=together)
    return finish(fig, title, note, 1, len(panels), sum(map(len, panels.values())), panel_titles=True)
