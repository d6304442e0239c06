"""Figures of ablation and patching: each a function of a tidy frame of `ablation_map`, `patch` or `path_patch`."""

import pandas as pd
import plotly.graph_objects as go

from workbench.figures.bands import interval_band
from workbench.figures.theme import DIVERGING, INK, MARKERS, MUTED, PALETTE, apply_theme, length_axis, transparent
from workbench.metrics import METRICS

NAMED = 6
"""How many components get a colour, a name and an interval where there are more: those of the greatest change."""
_NOUNS = {"heads": "head", "attention": "attention", "mlp": "MLP", "layers": "layer", "stream": "stream"}


def ablation_figures(frame: pd.DataFrame) -> dict[str, go.Figure]:
    """The figures of a map by file name: by length, and of heads by layer and head at its longest length."""
    name = f"{frame['what'].iloc[0]}-{frame['method'].iloc[0]}"
    figures = {f"{name}-by-length": ablation_by_length(frame)}
    if frame["what"].iloc[0] == "heads":
        figures[f"{name}-by-head"] = ablation_by_head(frame, int(frame["length"].max()))
    return figures


def ablation_by_head(frame: pd.DataFrame, length: int, metric: str = "illegal_mass") -> go.Figure:
    """Heatmap of layer by head: the change in a metric at one length when the head is ablated; red is more of it.

    Args:
        frame: of `ablation_map`, of one checkpoint and method, with `what` heads.
        length: one of the frame's lengths.
        metric: one of the frame's metrics.

    Raises:
        ValueError: a length or metric that is not in the frame; a frame of something else than heads.
    """
    rows = _rows(frame, metric)
    if length not in set(rows["length"]):
        raise ValueError(f"length {length} is not in the frame; choose one of {', '.join(map(str, rows['length'].unique()))}")
    if rows["head"].isna().any():
        raise ValueError("the frame is no map of heads; draw it by length with ablation_by_length")
    title = f"Heads ablated ({_method(frame)}), length {length}"
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
        ValueError: a metric that is not in the frame.
    """
    rows = _rows(frame, metric)
    parts = ["layer", *(axis for axis in ("head", "position") if rows[axis].notna().any())]
    curves = {key if isinstance(key, tuple) else (key,): part for key, part in rows.groupby(parts, sort=False)}
    order = sorted(curves, key=lambda key: -curves[key]["difference"].abs().mean())
    figure = go.Figure()
    for key in order[NAMED:]:
        figure.add_trace(_line(curves[key], _name(frame, parts, key), dict(color=transparent(MUTED, 0.35), width=1), False))
    for at, key in enumerate(order[:NAMED]):
        colour, curve = PALETTE[at], curves[key].sort_values("length")
        figure.add_trace(interval_band(curve, "length", colour, "difference_low", "difference_high"))
        line = _line(curve, _name(frame, parts, key), dict(color=colour, width=2), True)
        figure.add_trace(line.update(mode="lines+markers", marker=dict(symbol=MARKERS[at], size=6, color=colour)))
    figure.add_hline(0, line=dict(color=INK, width=1))
    figure.update_yaxes(title_text=f"change in {METRICS[metric].axis}")
    known = frame["train_length"].dropna().unique()
    length_axis(figure, int(known[0]) if len(known) == 1 else None)
    others = f"; {len(order) - NAMED} others grey" if len(order) > NAMED else ""
    return apply_theme(figure, title=f"What ablation changes ({_method(frame)}){others}", width=820, height=460)


def _rows(frame: pd.DataFrame, metric: str) -> pd.DataFrame:
    rows = frame[frame["metric"] == metric]
    if rows.empty:
        raise ValueError(f"metric '{metric}' is not in the frame; choose one of {', '.join(frame['metric'].unique())}")
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
