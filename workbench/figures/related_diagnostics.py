"""Figures of what related work measures: vanishing variance, rank collapse, entropy at initialisation, exchangeability."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench.figures.bands import INTERVAL, interval_band, numbers
from workbench.figures.scales import log_scale
from workbench.figures.theme import Style, apply_theme, length_axis, numbered_style, training_length

CONTROL_DASH = "3px,3px"
MARKED = 12
"""About how many points of a curve carry a marker."""


def vanishing_variance(frame: pd.DataFrame) -> go.Figure:
    """Spread of the attention output against length, log-log: a line a layer, its slope in the legend, untrained ones dashed.

    Args:
        frame: of `probes.vanishing_variance.vanishing_variance`, of one checkpoint.
    """
    figure = go.Figure()
    for control, site in frame[["control", "site"]].drop_duplicates().itertuples(index=False):
        part = frame[(frame["control"] == control) & (frame["site"] == site)]
        slopes = part[part["metric"] == "slope"].set_index("layer")
        for layer in slopes.index:
            rows = part[(part["metric"] == "attention_std") & (part["layer"] == layer)]
            fit = slopes.loc[layer]
            where = "" if site == "attention output" else f", {site}"
            who = "" if control == "none" else f", {control}"
            name = f"layer {layer}{where}{who}: {fit['value']:.2f} [{fit['ci_low']:.2f}, {fit['ci_high']:.2f}]"
            style = numbered_style(int(layer))._replace(dash="solid" if control == "none" else CONTROL_DASH)
            if site != "attention output":
                style = style._replace(marker=f"{style.marker}-open")
            _add_measured(figure, rows, "length", style, name)
    doublings = 2 ** np.arange(int(np.log2(frame["length"].max())) + 1)
    spread = frame.loc[frame["metric"] == "attention_std", "value"]
    figure.update_yaxes(log_scale(spread, "standard deviation over sequences").layout)
    figure.update_xaxes(type="log", tickvals=doublings)
    figure.update_layout(legend_title_text="log-log slope, 95 % interval")
    length_axis(figure, training_length(frame))
    return apply_theme(figure, title="Does the attention output vary less on longer inputs?", width=900, height=480)


def rank_collapse(frame: pd.DataFrame, lengths: list[int] | None = None) -> go.Figure:
    """Mean pairwise cosine of residual streams against layer, one line a length; untrained weights dashed.

    Args:
        frame: of `probes.rank_collapse.rank_collapse`, of one checkpoint.
        lengths: which to show; None for the shortest, the middle and the longest.
    """
    every = sorted(frame["length"].unique())
    shown = [every[0], every[len(every) // 2], every[-1]] if lengths is None else lengths
    figure = go.Figure()
    for control in frame["control"].unique():
        for at, length in enumerate(shown):
            rows = frame[(frame["control"] == control) & (frame["length"] == length)].sort_values("layer")
            style = numbered_style(at)._replace(dash="solid" if control == "none" else CONTROL_DASH)
            _add_measured(figure, rows, "layer", style, f"length {length}{'' if control == 'none' else f', {control}'}")
    figure.update_xaxes(title_text="layer (0: embedding, l: after block l)", dtick=1)
    figure.update_yaxes(title_text="mean cosine of two positions")
    return apply_theme(figure, title="Do the streams of a sequence become alike?", width=760, height=440)


def entropy_at_initialisation(frame: pd.DataFrame, length: int | None = None) -> go.Figure:
    """Normalised dispersion of untrained models against the scale of query and key weights, a line a layer, at one length.

    Args:
        frame: of `probes.entropy_at_initialisation.entropy_at_initialisation`.
        length: one of the frame's lengths; None for the longest.
    """
    length = int(frame["length"].max()) if length is None else length
    rows = frame[frame["length"] == length]
    figure = go.Figure()
    for layer in sorted(rows["layer"].unique()):
        part = rows[rows["layer"] == layer].sort_values("scale")
        _add_measured(figure, part, "scale", numbered_style(int(layer)), f"layer {layer}")
    ticks = sorted(rows["scale"].unique())
    text = [f"{tick:g}" for tick in ticks]
    figure.update_xaxes(
        type="log", title_text="scale of query and key weights (1: how training starts)", tickvals=ticks, ticktext=text
    )
    figure.update_yaxes(title_text="normalised attention dispersion", range=[-0.03, 1.03])
    return apply_theme(figure, title=f"Attention before training, at length {length}", width=720, height=440)


def exchangeability(frame: pd.DataFrame) -> go.Figure:
    """Change of the last prediction when earlier tokens change their order, beside that between two sequences; two panels.

    Args:
        frame: of `probes.exchangeability.exchangeability`, of one checkpoint.
    """
    panels = {"total_variation": "total variation", "logit_change": "change of centred logits (RMS)"}
    figure = make_subplots(rows=1, cols=2, horizontal_spacing=0.12)
    for column, (metric, title) in enumerate(panels.items(), start=1):
        for at, pair in enumerate(frame["pair"].unique()):
            rows = frame[(frame["pair"] == pair) & (frame["metric"] == metric)]
            _add_measured(figure, rows, "length", numbered_style(at), pair, column)
        figure.update_yaxes(title_text=title, rangemode="tozero", row=1, col=column)
    length_axis(figure, training_length(frame))
    return apply_theme(figure, title="Does the order of the earlier tokens matter?", width=980, height=430)


def _add_measured(figure: go.Figure, rows: pd.DataFrame, x: str, style: Style, name: str, column: int | None = None) -> None:
    """A curve with its 95 % interval as a band; `column`: the panel, of which only the first shows in the legend."""
    place = {} if column is None else {"row": 1, "col": column}
    figure.add_trace(interval_band(rows, x, style.colour), **place)
    curve = go.Scatter(
        x=rows[x],
        y=rows["value"],
        name=name,
        legendgroup=name,
        showlegend=column in (None, 1),
        mode="lines+markers",
        line=dict(color=style.colour, dash=style.dash, width=1.5),
        marker=dict(symbol=style.marker, size=6, maxdisplayed=MARKED),
        **numbers(rows, INTERVAL),
    )
    figure.add_trace(curve, **place)
