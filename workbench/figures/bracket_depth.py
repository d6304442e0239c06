"""Figure of the depth read off a bracket model: a function of the tidy frame of `probes/bracket_depth.py`."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench.figures.bands import INTERVAL, interval_band, numbers
from workbench.figures.theme import INK, MUTED, apply_theme, length_axis, numbered_style, training_length

CONTROL_DASHES = {"random weights": "7px,3px", "shuffled labels": "12px,3px,1px,3px", "guess by length": "1px,3px"}
MARKED = 9
"""About how many points of a curve carry a marker."""


def bracket_depth(frame: pd.DataFrame) -> go.Figure:
    """Two panels by length, a line a layer with its 95 % interval: accuracy of each length's reading, and signal.

    Controls in grey: the accuracy of each at its best layer. The dashed line beside the signal is L / s, what attention that
    spreads evenly over s tokens leaves of it, with L the training length. The embedding, which has seen one token, has none.
    """
    trained = training_length(frame)
    figure = make_subplots(1, 2, subplot_titles=["depth read, a reading a length", "signal per unit of depth"])
    own = frame[frame["control"] == "none"]
    for column, metric in enumerate(("accuracy", "signal"), start=1):
        for layer in sorted(map(int, own["layer"].unique())):
            if metric == "signal" and layer == 0:
                continue  # the embedding has seen one token: its slopes are about 0, and of either sign
            rows = own[(own["layer"] == layer) & (own["metric"] == metric)]
            style, name = numbered_style(layer), f"after layer {layer - 1}" if layer else "embedding"
            look = dict(
                mode="lines+markers",
                line=dict(color=style.colour, dash=style.dash, width=2),
                marker=dict(symbol=style.marker, size=6, maxdisplayed=MARKED),
                showlegend=column == 1,
            )
            figure.add_trace(interval_band(rows, "length", style.colour), row=1, col=column)
            figure.add_trace(_line(rows, name, **look, **numbers(rows, INTERVAL)), row=1, col=column)
    for control, dash in CONTROL_DASHES.items():
        rows = frame[(frame["control"] == control) & (frame["metric"] == "accuracy")]
        if not rows.empty:
            best = rows.groupby("length")["value"].max().reset_index()
            grey = dict(mode="lines", line=dict(color=MUTED, dash=dash, width=1.5))
            figure.add_trace(_line(best, control, **grey), row=1, col=1)
    if trained is not None:
        law = pd.DataFrame({"length": np.arange(2, frame["length"].max() + 1)})
        law["value"] = trained / law["length"]
        look = dict(mode="lines", line=dict(color=INK, dash="4px,3px", width=1.5))
        figure.add_trace(_line(law, "1/s law", **look), row=1, col=2)
    figure.update_yaxes(title_text="share of sequences", range=[0, 1.02], col=1)
    figure.update_yaxes(title_text="growth of the reading", type="log", tickvals=[2.0**power for power in range(-4, 7)], col=2)
    figure.update_xaxes(type="log", tickvals=[2, 4, 8, 16, 32, 64], col=2)
    figure.update_annotations(yshift=18, font_size=13)  # above `trained to 16`
    length_axis(figure, trained, row=1, col=1)
    length_axis(figure, trained, row=1, col=2)
    return apply_theme(figure, title="Nesting depth in the residual stream", width=980, height=460).update_layout(
        margin_t=100, title_pad_b=48
    )


def _line(rows: pd.DataFrame, name: str, **look: object) -> go.Scatter:
    hover = "length %{x}: %{y:.3g}<extra>" + name + "</extra>"
    return go.Scatter(x=rows["length"], y=rows["value"], name=name, legendgroup=name, hovertemplate=hover, **look)
