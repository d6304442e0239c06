"""A metric over training: by optimiser step, at chosen lengths, for raw, ema and bema."""

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench.figures.curves import add_curves, curves, one_organism, rows_of
from workbench.figures.many_curves import curves_together, number_together
from workbench.figures.page import finish, reading
from workbench.figures.scales import log_scale, scale_for
from workbench.metrics import METRICS


def timeline(frame: pd.DataFrame, metric: str, lengths: Sequence[int]) -> go.Figure:
    """One metric by training step, a panel for each length, on one axis; steps are on a log axis, so step 0 is left out.

    Args:
        frame: rows of `compare(..., steps="all")` of one task and vocabulary.
        metric: a name in `METRICS`.
        lengths: the lengths to show.

    Raises:
        ValueError: no rows of that metric, several organisms, a length the frame has not, or fewer than two steps.
    """
    title = f"{one_organism(frame)}: over training"
    rows = rows_of(frame, metric)
    rows = rows[rows["step"] > 0]
    missing = sorted(set(lengths) - set(rows["length"]))
    if missing or not lengths:
        raise ValueError(
            f"the frame has no length {missing[0] if missing else 'asked for'}; it has {sorted(set(rows['length']))}"
        )
    if rows["step"].nunique() < 2:
        raise ValueError("a timeline needs two training steps or more; compare with steps='all'")
    together = number_together(rows, x="step")
    draw = curves_together if together else curves
    panels = {f"length {length}": draw(rows[rows["length"] == length], x="step") for length in lengths}
    fig = make_subplots(1, len(panels), shared_yaxes=True, horizontal_spacing=0.03, column_titles=list(panels))
    points = [curve.points for drawn in panels.values() for curve in drawn]
    scale = scale_for(METRICS[metric], pd.concat([table[["value", "high", "seed_high"]].stack() for table in points]))
    for col, drawn in enumerate(panels.values(), start=1):
        add_curves(fig, drawn, scale, row=1, col=col, legend=col == 1, rate=METRICS[metric].rate)
        fig.update_yaxes({**scale.layout, "title_text": METRICS[metric].axis if col == 1 else None}, row=1, col=col)
        fig.update_xaxes(log_scale(rows["step"], "optimiser step").layout, row=1, col=col)
    note, entries = reading(frame, METRICS[metric].rate, together), max(map(len, panels.values()))
    return finish(fig, title, note, 1, len(panels), entries, panel_titles=True)
