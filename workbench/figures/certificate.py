"""The figure of a length-generalisation certificate."""

import pandas as pd
import plotly.graph_objects as go

from workbench.figures.theme import GRID, INK, MUTED, PALETTE, apply_theme, length_axis, length_range, training_length

VERDICTS = {"certified": (PALETTE[2], "circle"), "fails": (PALETTE[1], "x"), "undecided": (MUTED, "diamond-open")}


def worst_gap_by_length(frame: pd.DataFrame) -> go.Figure:
    """Exact worst gap of every length, marked by its verdict; the hover text holds the worst input.

    `frame` is `Certificate.frame()`; where it has a column train_length, that length is marked.
    """
    figure = go.Figure(
        go.Scatter(
            x=frame["length"], y=frame["worst_gap"], mode="lines", line={"color": GRID}, showlegend=False, hoverinfo="skip"
        )
    )
    for verdict, (colour, symbol) in VERDICTS.items():
        rows = frame[frame["verdict"] == verdict]
        if len(rows):
            figure.add_trace(
                go.Scatter(
                    x=rows["length"],
                    y=rows["worst_gap"],
                    name=f"{verdict} ({len(rows)} lengths)",
                    mode="markers",
                    marker={"color": colour, "symbol": symbol},
                    customdata=[" ".join(map(str, tokens)) for tokens in rows["worst_input"]],
                    hovertemplate="length %{x}: %{y:.4g} logits<br>worst input %{customdata}",
                )
            )
    figure.add_hline(y=0, line={"color": INK, "width": 1})
    figure.update_layout(yaxis_title="worst gap (logits)")
    figure.update_xaxes(range=length_range(frame))
    length_axis(figure, training_length(frame))
    return apply_theme(figure, "Worst gap over all inputs of a length", width=760, height=440)
