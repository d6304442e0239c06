"""The sweep of widths as two maps: certified lengths and total variation of the best seed, by d and d_v."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench.figures.theme import PALETTE, SEQUENTIAL, apply_theme
from workbench.width_bound import bound_table, swept


def bound_maps(rows: pd.DataFrame, weights: str = "raw") -> go.Figure:
    """Certified lengths and log10 total variation of the best seed at each pair of widths; lines mark the bound v - 1.

    The control, far wider, is left out.

    Args:
        rows: of `width_bound.sweep`, of one vocabulary.
        weights: raw, ema or bema.
    """
    vocab = int(rows["vocab"].iloc[0])
    best = bound_table(rows, weights)
    best = best[best["width"].isin(swept(vocab)) & best["head_width"].isin(swept(vocab))]
    titles = [f"lengths certified, of {vocab - 1}", "total variation, log10"]
    fig = make_subplots(1, 2, horizontal_spacing=0.2, subplot_titles=titles)
    for col, name in enumerate(("certified_lengths", "total_variation"), start=1):
        table = best.pivot(index="head_width", columns="width", values=name)
        values = table.to_numpy(dtype=float) if col == 1 else np.log10(table.to_numpy(dtype=float))
        text = [[f"{value:.0f}" if col == 1 else f"{value:.2f}".replace("-", "−") for value in row] for row in values]
        fig.add_trace(
            go.Heatmap(
                z=values.tolist(),
                x=[str(width) for width in table.columns],
                y=[str(width) for width in table.index],
                text=text,
                texttemplate="%{text}",
                colorscale=SEQUENTIAL,
                reversescale=col == 2,
                zmin=0 if col == 1 else None,
                zmax=vocab - 1 if col == 1 else None,
                colorbar=dict(x=0.41 if col == 1 else 1.01, thickness=12),
            ),
            row=1,
            col=col,
        )
        line = dict(color=PALETTE[1], width=2, dash="dash")
        fig.add_vline(1.5, line=line, row=1, col=col)  # between v - 2 and v - 1
        fig.add_hline(1.5, line=line, row=1, col=col)
    fig.update_xaxes(title_text="width d", type="category")
    fig.update_yaxes(title_text="head width d_v", type="category")
    title = f"Widths around the bound v − 1 = {vocab - 1}: the best of {rows['seed'].nunique()} seeds"
    return apply_theme(fig, title, 900, 430)
