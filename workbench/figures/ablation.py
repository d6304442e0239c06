"""Figures of ablation and patching: each a function of a tidy frame of `ablation_map`, `patch` or `path_patch`."""

import pandas as pd
import plotly.graph_objects as go

from workbench.figures.bands import interval_band, side_by_side
from workbench.figures.theme import (
    DIVERGING,
    INK,
    MUTED,
    apply_theme,
    length_axis,
    numbered_style,
    training_length,
    transparent,
)
from workbench.metrics import METRICS

NAMED = 6
"""How many components get a colour, a name and an interval where there are more: those of the greatest change."""
MAP = ("checkpoint", "step", "weights", "what", "method")
"""What the rows of one map agree in."""
_NOUNS = {"heads": "head", "attention": "attention", "mlp": "MLP", "layers": "layer", "stream": "stream"}


def ablation_figures(frame: pd.DataFrame) -> dict[str, go.Figure]:
    """The figures of each map by file name: by length, and of heads by layer and head at its longest length (and position).

    Args:
        frame: of `ablation_map`, or of several, whose names then say what they differ in: checkpoint, step, weights.
    """
    figures: dict[str, go.Figure] = {}
    telling = [name for name in MAP[:3] if frame[name].nunique(dropna=False) > 1]
    for _, rows in frame.groupby(list(MAP), sort=False, dropna=False):
        first = rows.iloc[0]
        whose = [f"step {first[name]}" if name == "step" else str(first[name]) for name in telling]
        name = "-".join([*(word.replace(" ", "-") for word in whose), first["what"], first["method"]])
        drawn = {f"{name}-by-length": ablation_by_length(rows)}
        if first["what"] == "heads":
            for _, here in rows.groupby("position", dropna=False):
                at = "".join(f"-position-{int(position)}" for position in here["position"].dropna().unique())
                drawn[f"{name}-by-head{at}"] = ablation_by_head(here, int(rows["length"].max()))
        for figure in drawn.values():
            figure.layout.title.text = ", ".join([*whose, figure.layout.title.text])
        figures |= drawn
    return figures


def ablation_by_head(frame: pd.DataFrame, length: int, metric: str = "illegal_mass") -> go.Figure:
    """Heatmap of layer by head: the change in a metric at one length when the head is ablated; red is more of it.

    Args:
        frame: of `ablation_map`, of one checkpoint and method (and one position, if it has positions), with `what` heads.
        length: one of the frame's lengths.
        metric: one of the frame's metrics.

    Raises:
        ValueError: a length or metric that is not in the frame; a frame of something else than heads, or of several maps.
    """
    rows = _rows(frame, metric, ["layer", "head", "length"])
    if length not in set(rows["length"]):
        raise ValueError(f"length {length} is not in the frame; choose one of {', '.join(map(str, rows['length'].unique()))}")
    if rows["head"].isna().any():
        raise ValueError("the frame is no map of heads; draw it by length with ablation_by_length")
    at = "".join(f" at position {int(position)}" for position in rows["position"].dropna().unique())
    title = f"Heads ablated{at} ({_method(frame)}), length {length}"
    return map_of_heads(rows[rows["length"] == length], title, f"change in {METRICS[metric].axis}")


def map_of_heads(rows: pd.DataFrame, title: str, scale_title: str, column: str = "difference") -> go.Figure:
    """Heatmap of layer by head of signed numbers, one row a cell; white is 0.

    Args:
        rows: with columns `layer`, `head` and `column`, such as `patch` and `path_patch` give.
        title: of the figure.
        scale_title: what the colours say, with the unit.
        column: which numbers.
    """
    table = rows.pivot(index="layer", columns="head", values=column)
    few = table.size <= 64
    cells = go.Heatmap(
        z=table.to_numpy(float),
        x=list(table.columns),
        y=list(table.index),
        colorscale=DIVERGING,
        zmid=0,
        texttemplate="%{z:.2g}" if few else None,
        colorbar=dict(title=scale_title, title_side="right"),
        hovertemplate="layer %{y}, head %{x}: %{z:.3g}<extra></extra>",
    )
    figure = go.Figure(cells)
    figure.update_xaxes(title_text="head", dtick=1, showgrid=False)
    figure.update_yaxes(title_text="layer", dtick=1, showgrid=False)
    return apply_theme(figure, title=title, width=640, height=420)


def ablation_by_length(frame: pd.DataFrame, metric: str = "illegal_mass") -> go.Figure:
    """The change in a metric against length, a line a component; 95 % intervals over sequences as bands around the greatest.

    Args:
        frame: of `ablation_map`, of one checkpoint and method.
        metric: one of the frame's metrics.

    Raises:
        ValueError: a metric that is not in the frame; a frame of several maps.
    """
    rows = _rows(frame, metric, ["layer", "head", "position", "length"])
    parts = ["layer", *(axis for axis in ("head", "position") if rows[axis].notna().any())]
    curves = {key if isinstance(key, tuple) else (key,): part for key, part in rows.groupby(parts, sort=False)}
    order = sorted(curves, key=lambda key: -curves[key]["difference"].abs().mean())
    figure = go.Figure()
    for key in order[NAMED:]:
        figure.add_trace(_line(curves[key], _name(frame, parts, key), dict(color=transparent(MUTED, 0.35), width=1), False))
    for at, key in enumerate(order[:NAMED]):
        style, curve = numbered_style(at), curves[key].sort_values("length")
        figure.add_trace(interval_band(curve, "length", style.colour, "difference_low", "difference_high"))
        line = _line(curve, _name(frame, parts, key), dict(color=style.colour, dash=style.dash, width=2), True)
        figure.add_trace(line.update(mode="lines+markers", marker=dict(symbol=style.marker, size=6, color=style.colour)))
    figure.add_hline(0, line=dict(color=INK, width=1))
    figure.update_yaxes(title_text=f"change in {METRICS[metric].axis}")
    length_axis(figure, training_length(frame))
    others = f"; {len(order) - NAMED} others grey" if len(order) > NAMED else ""
    side_by_side(figure, rows["length"])
    return apply_theme(figure, title=f"What ablation changes ({_method(frame)}){others}", width=820, height=460)


def _rows(frame: pd.DataFrame, metric: str, cell: list[str]) -> pd.DataFrame:
    """The rows of a metric, one each `cell`."""
    rows = frame[frame["metric"] == metric]
    if rows.empty:
        raise ValueError(f"metric '{metric}' is not in the frame; choose one of {', '.join(frame['metric'].unique())}")
    if rows.duplicated(cell).any():
        several = [name for name in (*MAP, "position") if name not in cell and rows[name].nunique(dropna=False) > 1]
        raise ValueError(
            f"the frame holds several maps (of more than one {' and '.join(several) or 'run'}) and a figure shows one: give "
            "the rows of one, or draw each with ablation_figures"
        )
    return rows


def _method(frame: pd.DataFrame) -> str:
    return ", ".join(frame["method"].unique())


def _name(frame: pd.DataFrame, parts: list[str], key: tuple) -> str:
    words = dict(zip(parts, key, strict=True))
    what = frame["what"].iloc[0]
    own = f"layer {words['layer']}" + (f", head {words['head']}" if "head" in words else "")
    noun = "" if what in ("heads", "layers") else f", {_NOUNS[what]}"
    return own + noun + (f", position {words['position']}" if "position" in words else "")


def _line(rows: pd.DataFrame, name: str, line: dict, showlegend: bool) -> go.Scatter:
    rows = rows.sort_values("length")
    return go.Scatter(
        x=rows["length"],
        y=rows["difference"],
        name=name,
        mode="lines",
        line=line,
        showlegend=showlegend,
        hovertemplate="length %{x}: %{y:.3g}<extra>" + name + "</extra>",
    )
