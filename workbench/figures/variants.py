"""A metric by length of one model in several variants, such as under a hook at several strengths: frame in, figure out."""

import pandas as pd
import plotly.graph_objects as go

from workbench.figures.theme import MARKERS, PALETTE, apply_theme, length_axis, transparent
from workbench.metrics import METRICS


def variants_by_length(frame: pd.DataFrame, variant: str, metric: str = "illegal_mass", title: str | None = None) -> go.Figure:
    """A line a variant with its 95 % interval over sequences as a band; told apart by colour and marker.

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
        colour, marker = PALETTE[at % len(PALETTE)], MARKERS[at % len(MARKERS)]
        low, high = curve["ci_low"], curve["ci_high"]
        band = dict(x=[*curve["length"], *curve["length"][::-1]], y=[*high, *low[::-1]], mode="lines", line_width=0)
        figure.add_trace(
            go.Scatter(**band, fill="toself", fillcolor=transparent(colour, 0.15), showlegend=False, hoverinfo="skip")
        )
        line = dict(line_color=colour, marker=dict(symbol=marker, size=5), mode="lines+markers")
        hover = "length %{x}: %{y:.3g}<extra>" + str(name) + "</extra>"
        figure.add_trace(go.Scatter(x=curve["length"], y=curve["value"], name=str(name), hovertemplate=hover, **line))
    figure.update_yaxes(title_text=METRICS[metric].axis)
    figure.update_layout(legend_title_text=variant)
    known = frame["train_length"].dropna().unique()
    length_axis(figure, int(known[0]) if len(known) == 1 else None)
    return apply_theme(figure, title=title, width=820, height=460)
