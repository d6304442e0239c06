"""The figure of balance: what lengths 1 and 2 hold, on which all longer ones rest."""

import pandas as pd
import plotly.graph_objects as go

from workbench.figures.theme import INK, apply_theme, numbered_style

MEASURES = {
    "displacement": "displacement, mean",
    "spread": "its spread over inputs",
    "margin": "margin, worst",
    "absent_spread": "spread of absent logits, worst",
}


def balance(frame: pd.DataFrame) -> go.Figure:
    """Displacement, its spread, the worst margin and the spread of absent logits, of the query and the context.

    Args:
        frame: of `probes.balance.balance`, of one checkpoint.
    """
    where = [f"{role}, length {length}" for role, length in zip(frame["role"], frame["length"], strict=True)]
    figure = go.Figure()
    for number, (column, name) in enumerate(MEASURES.items()):
        figure.add_trace(
            go.Bar(
                x=where,
                y=frame[column],
                name=name,
                marker=dict(color=numbered_style(number).colour, pattern_shape=("", "/", ".", "x")[number]),
                hovertemplate="%{x}: %{y:.3g} logits<extra>" + name + "</extra>",
            )
        )
    figure.add_hline(y=0, line=dict(color=INK, width=1))
    figure.update_layout(barmode="group", yaxis_title="logits")
    precision = float(frame["margin"].min())
    return apply_theme(figure, f"Balance at lengths 1 and 2: precision {precision:.3g} logits", width=760, height=440)
