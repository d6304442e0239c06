"""Figures of attention dispersion: each a function of a tidy frame of `probes/dispersion_by_head.py`."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench.figures.theme import INK, MUTED, PALETTE, SEQUENTIAL, apply_theme, length_axis, transparent

METRIC_TITLES = {
    "dispersion": "attention dispersion (nats)",
    "normalised_dispersion": "normalised attention dispersion",
    "effective_tokens": "effective tokens attended to",
    "top_weight": "greatest attention weight",
}
CONTROL_DASHES = {"random weights": "7px,3px", "uniform attention": "1px,3px", "one-hot attention": "12px,3px,1px,3px"}


def dispersion_by_length(frame: pd.DataFrame, metric: str = "normalised_dispersion") -> go.Figure:
    """A metric of dispersion against length: a line a layer (mean over heads), thin lines for its heads, controls in grey.

    Args:
        frame: of `probes.dispersion_by_head.dispersion`, of one checkpoint.
        metric: dispersion, normalised_dispersion, effective_tokens or top_weight.
    """
    rows = frame[frame["metric"] == metric]
    if metric == "normalised_dispersion":
        rows = rows[rows["length"] > 1]  # 0 at length 1 is a definition, no measurement
    figure = go.Figure()
    own = rows[rows["control"] == "none"]
    several_heads = own["head"].nunique() > 1
    for layer in sorted(own["layer"].unique()):
        colour, name = PALETTE[layer % len(PALETTE)], f"layer {layer}"
        heads = own[own["layer"] == layer].pivot(index="length", columns="head", values="value")
        if several_heads:
            for head in heads:
                hover = f"length %{{x}}: %{{y:.3g}}<extra>layer {layer}, head {head}</extra>"
                line = dict(color=transparent(colour, 0.35), width=1)
                figure.add_trace(_line(heads.index, heads[head], name, line, hover, showlegend=False))
        else:
            figure.add_trace(_band(own[own["layer"] == layer], colour))
        hover = "length %{x}: %{y:.3g}<extra>" + name + (", mean of heads" if several_heads else "") + "</extra>"
        figure.add_trace(_line(heads.index, heads.mean(axis=1), name, dict(color=colour, width=2.5), hover))
    for control, dash in CONTROL_DASHES.items():
        mean = rows[rows["control"] == control].groupby("length")["value"].mean()
        if not mean.empty:
            hover = "length %{x}: %{y:.3g}<extra>" + control + "</extra>"
            figure.add_trace(_line(mean.index, mean, control, dict(color=MUTED, dash=dash, width=1.5), hover))
    figure.update_yaxes(title_text=METRIC_TITLES[metric])
    length_axis(figure, _train_length(frame))
    return apply_theme(figure, title=f"{METRIC_TITLES[metric].capitalize()} by length", width=820, height=460)


def _line(x: pd.Index, y: pd.Series, name: str, line: dict, hover: str, showlegend: bool = True) -> go.Scatter:
    return go.Scatter(
        x=list(x), y=y, name=name, mode="lines", line=line, legendgroup=name, showlegend=showlegend, hovertemplate=hover
    )


def _band(rows: pd.DataFrame, colour: str) -> go.Scatter:
    """The spread over sequences, from the 5 % to the 95 % quantile, for a layer of one head."""
    rows = rows.sort_values("length")
    x, y = [*rows["length"], *rows["length"][::-1]], [*rows["q95"], *rows["q05"][::-1]]
    fill = dict(fill="toself", fillcolor=transparent(colour, 0.15), line=dict(width=0), mode="lines")
    return go.Scatter(x=x, y=y, name="5 % to 95 % of sequences", hoverinfo="skip", **fill)


def dispersion_by_head(frame: pd.DataFrame, length: int, metric: str = "normalised_dispersion") -> go.Figure:
    """Heatmap of layer by head at one length.

    Args:
        frame: of `probes.dispersion_by_head.dispersion`, of one checkpoint.
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
        dispersion: of `probes.dispersion_by_head.dispersion`, of one checkpoint.
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
    for column, (values, title) in enumerate(((push, push_title), (illegal, "illegal mass")), start=1):
        figure.add_trace(_points(values.join(tokens, how="inner"), title), row=1, col=column)
        figure.update_yaxes(title_text=title, row=1, col=column)
    doublings = 2 ** np.arange(int(np.log2(tokens.max())) + 1)
    tokens_title = "effective tokens attended to (mean of heads)"
    figure.update_xaxes(type="log", title_text=tokens_title, tickvals=doublings)
    if displacement is not None and (push["value"] > 0).all():
        figure.update_yaxes(type="log", dtick="D2", row=1, col=1)
    if (illegal["value"] > 0).all():
        figure.update_yaxes(type="log", dtick=1, row=1, col=2)
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


def _train_length(frame: pd.DataFrame) -> int | None:
    known = frame["train_length"].dropna().unique()
    return int(np.max(known)) if len(known) == 1 else None
