"""The figure of what adding one token does to every logit."""

import pandas as pd
import plotly.graph_objects as go

from workbench.figures.bands import interval_band, numbers
from workbench.figures.theme import apply_theme, length_axis, numbered_style, training_length

ROLES = {"added": "the added token's", "query": "the last token's", "context": "other seen tokens'", "absent": "absent tokens'"}


def added_token(frame: pd.DataFrame) -> go.Figure:
    """Mean change of each kind of logit against the length of the longer input, with its interval; absent ones are the zero.

    Args:
        frame: of `probes.logit_displacement.added_token`, of one checkpoint.
    """
    figure = go.Figure()
    for number, (role, name) in enumerate(ROLES.items()):
        rows, style = frame[frame["logit"] == role].sort_values("length"), numbered_style(number)
        figure.add_trace(interval_band(rows, "length", style.colour))
        kept = numbers(rows, {"change": "y", "ci_low": "low", "ci_high": "high", "spread": "spread"})
        hover = "length %{x}: %{y:.3g}, spread %{customdata[3]:.3g}"
        look = dict(
            line=dict(color=style.colour, dash=style.dash, width=2),
            marker=dict(symbol=style.marker, size=5),
            mode="lines+markers",
        )
        figure.add_trace(go.Scatter(x=rows["length"], y=rows["change"], name=name, hovertemplate=hover, **look, **kept))
    figure.update_yaxes(title_text="change of the logit against absent tokens (logits)", rangemode="tozero")
    figure.update_layout(legend_title_text="whose logit")
    length_axis(figure, training_length(frame), title="length after adding (tokens seen)")
    return apply_theme(figure, "What adding a token does", width=760, height=440)
