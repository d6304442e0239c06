"""Figure of the depth read off a bracket model: a function of the tidy frame of `probes/bracket_depth.py`."""

import pandas as pd
import plotly.graph_objects as go

from workbench.figures.bands import INTERVAL, interval_band, numbers
from workbench.figures.theme import MUTED, apply_theme, length_axis, numbered_style, training_length

CONTROL_DASHES = {"random weights": "7px,3px", "shuffled labels": "12px,3px,1px,3px", "guess by length": "1px,3px"}
MARKED = 9
"""About how many points of a curve carry a marker."""


def bracket_depth(frame: pd.DataFrame) -> go.Figure:
    """Accuracy of the reading by length: a line a layer with its 95 % interval; controls in grey, each at its best layer."""
    figure = go.Figure()
    own = frame[frame["control"] == "none"]
    for layer in sorted(map(int, own["layer"].unique())):
        rows, style, name = (
            own[own["layer"] == layer],
            numbered_style(layer),
            f"after layer {layer - 1}" if layer else "embedding",
        )
        look = dict(
            mode="lines+markers",
            line=dict(color=style.colour, dash=style.dash, width=2),
            marker=dict(symbol=style.marker, size=6, maxdisplayed=MARKED),
        )
        figure.add_trace(interval_band(rows, "length", style.colour))
        figure.add_trace(_line(rows, name, **look, **numbers(rows, INTERVAL)))
    for control, dash in CONTROL_DASHES.items():
        rows = frame[frame["control"] == control]
        if not rows.empty:
            best = rows.groupby("length")["value"].max().reset_index()
            figure.add_trace(_line(best, control, mode="lines", line=dict(color=MUTED, dash=dash, width=1.5)))
    figure.update_yaxes(title_text="depth read right (share of sequences)", range=[0, 1.02])
    length_axis(figure, training_length(frame))
    return apply_theme(figure, title="Nesting depth read off the residual stream", width=820, height=460)


def _line(rows: pd.DataFrame, name: str, **look: object) -> go.Scatter:
    hover = "length %{x}: %{y:.3g}<extra>" + name + "</extra>"
    return go.Scatter(x=rows["length"], y=rows["value"], name=name, hovertemplate=hover, **look)
