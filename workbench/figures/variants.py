"""A metric by length of one model in several variants, such as under a hook at several strengths: frame in, figure out."""

import pandas as pd
import plotly.graph_objects as go

from workbench.figures.bands import interval_band, side_by_side
from workbench.figures.theme import apply_theme, length_axis, numbered_style, training_length
from workbench.metrics import METRICS


def variants_by_length(frame: pd.DataFrame, variant: str, metric: str = "illegal_mass", title: str | None = None) -> go.Figure:
    """A line a variant with its 95 % interval over sequences as a band; told apart by colour, dash and marker.

    Args:
        frame: rows of `evaluate` of one checkpoint, with a column that says which variant they are of.
        variant: the name of that column.
        metric: one of the frame's metrics.
        title: of the figure.

    Raises:
        ValueError: a metric that is not in the frame.
    """
    rows = frame[frame["metric"] == metric]
    if rows.empty:
        raise ValueError(f"metric '{metric}' is not in the frame; choose one of {', '.join(frame['metric'].unique())}")
    figure = go.Figure()
    for at, (name, curve) in enumerate(rows.groupby(variant, sort=False)):
        style = numbered_style(at)
        figure.add_trace(interval_band(curve, "length", style.colour))
        look = dict(
            line=dict(color=style.colour, dash=style.dash, width=2),
            marker=dict(symbol=style.marker, size=5),
            mode="lines+markers",
        )
        hover = "length %{x}: %{y:.3g}<extra>" + str(name) + "</extra>"
        figure.add_trace(go.Scatter(x=curve["length"], y=curve["value"], name=str(name), hovertemplate=hover, **look))
    figure.update_yaxes(title_text=METRICS[metric].axis)
    figure.update_layout(legend_title_text=variant)
    length_axis(figure, training_length(frame))
    side_by_side(figure, rows["length"])
    return apply_theme(figure, title=title, width=820, height=460)
