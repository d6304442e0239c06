"""Figures of attention dispersion: each a function of a tidy frame of `probes/dispersion.py`."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench.figures.bands import INTERVAL, interval_band, numbers
from workbench.figures.scales import linear_scale, log_scale
from workbench.figures.theme import (
    INK,
    MUTED,
    SEQUENTIAL,
    apply_theme,
    length_axis,
    mark_training_length,
    numbered_style,
    training_length,
    transparent,
)

METRIC_TITLES = {
    "dispersion": "attention dispersion (nats)",
    "normalised_dispersion": "normalised attention dispersion",
    "effective_tokens": "effective tokens attended to",
    "top_weight": "greatest attention weight",
}
MARKED = 9
"""About how many points of a curve carry a marker."""
CONTROL_DASHES = {"random weights": "7px,3px", "uniform attention": "1px,3px", "one-hot attention": "12px,3px,1px,3px"}


def dispersion_by_length(frame: pd.DataFrame, metric: str = "normalised_dispersion") -> go.Figure:
    """A metric of dispersion against length: a line a layer (mean over heads), thin lines for its heads, controls in grey.

    Args:
        frame: of `probes.dispersion.dispersion`, of one checkpoint.
        metric: dispersion, normalised_dispersion, effective_tokens or top_weight.
    """
    rows = frame[frame["metric"] == metric]
    if metric == "normalised_dispersion":
        rows = rows[rows["length"] > 1]  # 0 at length 1 is a definition, no measurement
    figure = go.Figure()
    own = rows[rows["control"] == "none"]
    several_heads = own["head"].nunique() > 1
    for layer in sorted(own["layer"].unique()):
        style, name, here = numbered_style(int(layer)), f"layer {layer}", own[own["layer"] == layer].sort_values("length")
        marker = dict(symbol=style.marker, size=6, maxdisplayed=MARKED)
        look = dict(line=dict(color=style.colour, dash=style.dash, width=2.5), marker=marker, mode="lines+markers")
        hover = "length %{x}: %{y:.3g}<extra>" + name + (", mean of heads" if several_heads else "") + "</extra>"
        if several_heads:
            for head, part in here.groupby("head"):
                one = f"length %{{x}}: %{{y:.3g}}<extra>layer {layer}, head {head}</extra>"
                thin = dict(mode="lines", line=dict(color=transparent(style.colour, 0.35), width=1), showlegend=False)
                figure.add_trace(_line(part, name, one, **thin, **numbers(part, INTERVAL | {"head": "head"})))
            mean = here.groupby("length")["value"].mean().reset_index()
            figure.add_trace(_line(mean, name, hover, **look))
        else:
            figure.add_trace(_quantiles(here, style.colour))
            kept = numbers(here, INTERVAL | {"q05": "q05", "q95": "q95"})
            figure.add_trace(_line(here, name, hover, **look, **kept))
    for control, dash in CONTROL_DASHES.items():
        mean = rows[rows["control"] == control].groupby("length")["value"].mean().reset_index()
        if not mean.empty:
            hover = "length %{x}: %{y:.3g}<extra>" + control + "</extra>"
            figure.add_trace(_line(mean, control, hover, mode="lines", line=dict(color=MUTED, dash=dash, width=1.5)))
    figure.update_yaxes(title_text=METRIC_TITLES[metric])
    length_axis(figure, training_length(frame))
    return apply_theme(figure, title=f"{METRIC_TITLES[metric].capitalize()} by length", width=820, height=460)


def _line(rows: pd.DataFrame, name: str, hover: str, **look: object) -> go.Scatter:
    return go.Scatter(x=rows["length"], y=rows["value"], name=name, legendgroup=name, hovertemplate=hover, **look)


def _quantiles(rows: pd.DataFrame, colour: str) -> go.Scatter:
    """The spread over sequences, from the 5 % to the 95 % quantile, for a layer of one head."""
    return interval_band(rows, "length", colour, "q05", "q95").update(name="5 % to 95 % of sequences", showlegend=True)


def dispersion_by_head(frame: pd.DataFrame, length: int, metric: str = "normalised_dispersion") -> go.Figure:
    """Heatmap of layer by head at one length.

    Args:
        frame: of `probes.dispersion.dispersion`, of one checkpoint.
        length: one of the frame's lengths. Raises ValueError for another.
        metric: dispersion, normalised_dispersion, effective_tokens or top_weight.
    """
    if length not in set(frame["length"]):
        raise ValueError(
            f"length {length} is not in the frame; choose one of {frame['length'].min()} .. {frame['length'].max()}"
        )
    rows = frame[(frame["metric"] == metric) & (frame["length"] == length) & (frame["control"] == "none")]
    table = rows.pivot(index="layer", columns="head", values="value")
    bounds = dict(zmin=0, zmax=1) if metric in ("normalised_dispersion", "top_weight") else {}
    heads = go.Heatmap(
        z=table.to_numpy(float),
        x=list(table.columns),
        y=list(table.index),
        colorscale=SEQUENTIAL,
        texttemplate="%{z:.2f}",
        colorbar=dict(title=METRIC_TITLES[metric], title_side="right"),
        hovertemplate="layer %{y}, head %{x}: %{z:.3g}<extra></extra>",
        **bounds,
    )
    figure = go.Figure(heads)
    figure.update_xaxes(title_text="head", dtick=1)
    figure.update_yaxes(title_text="layer", dtick=1)
    return apply_theme(figure, title=f"{METRIC_TITLES[metric].capitalize()} at length {length}", width=640, height=420)


def dispersion_and_errors(
    dispersion: pd.DataFrame, evaluation: pd.DataFrame, displacement: pd.DataFrame | None = None
) -> go.Figure:
    """What dispersion goes with: displacement (or the margin) and illegal mass against effective tokens, one point a length.

    Args:
        dispersion: of `probes.dispersion.dispersion`, of one checkpoint.
        evaluation: of `workbench.evaluation.evaluate`, of the same checkpoint: metrics `illegal_mass` and `margin`.
        displacement: of `probes.logit_displacement.displacement`, of the same checkpoint (set complement); without it the
            margin is drawn, which every organism has.
    """
    rows = dispersion[(dispersion["metric"] == "effective_tokens") & (dispersion["control"] == "none")]
    tokens = rows.groupby("length")["value"].mean().rename("tokens")
    if displacement is None:
        push, push_title = _by_length(evaluation[evaluation["metric"] == "margin"]), "margin (logits)"
    else:
        push, push_title = _by_length(displacement[displacement["measure"] == "context"]), "displacement (logits)"
    illegal = _by_length(evaluation[evaluation["metric"] == "illegal_mass"])
    figure = make_subplots(rows=1, cols=2, horizontal_spacing=0.14, subplot_titles=("what pushes apart", "what goes wrong"))
    doublings = 2 ** np.arange(int(np.log2(tokens.max())) + 1)
    figure.update_xaxes(type="log", title_text="effective tokens (mean of heads)", tickvals=doublings)
    trained = training_length(dispersion)
    for column, (values, title) in enumerate(((push, push_title), (illegal, "illegal mass")), start=1):
        figure.add_trace(_points(values.join(tokens, how="inner"), title), row=1, col=column)
        logarithmic = (values["value"] > 0).all() and title != "margin (logits)"
        scale = log_scale(values["value"], title) if logarithmic else linear_scale(title)
        figure.update_yaxes(scale.layout, row=1, col=column)
        if trained is not None and trained in tokens.index:
            mark_training_length(figure, trained, at=float(tokens[trained]), row=1, col=column)
    figure.update_annotations(selector={"yref": "paper"}, yshift=18)
    figure.update_layout(coloraxis=dict(colorscale=SEQUENTIAL, colorbar=dict(title="length")), showlegend=False)
    title = f"Dispersion, {push_title.split(' ')[0]} and illegal mass"
    return apply_theme(figure, title=title, width=980, height=460)


def _by_length(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.set_index("length")[["value", "ci_low", "ci_high"]].dropna(subset=["value"])


def _points(rows: pd.DataFrame, title: str) -> go.Scatter:
    spread = dict(array=rows["ci_high"] - rows["value"], arrayminus=rows["value"] - rows["ci_low"], symmetric=False)
    return go.Scatter(
        x=rows["tokens"],
        y=rows["value"],
        mode="lines+markers",
        line=dict(color=MUTED, width=1),
        marker=dict(color=rows.index.to_numpy(), coloraxis="coloraxis", size=8, line=dict(color=INK, width=0.5)),
        error_y=dict(type="data", color=MUTED, thickness=1, width=0, **spread),
        customdata=rows.index.to_numpy(),
        hovertemplate="length %{customdata}: %{x:.3g} tokens, %{y:.3g}<extra>" + title + "</extra>",
    )
