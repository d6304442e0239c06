"""From a tidy frame to curves: which rows make one curve, what it is called, how it looks, and how it is drawn.

A curve is the mean over training seeds of checkpoints that are equal in everything else. Where any has several seeds, its band
runs from the least to the greatest seed, and its bars are the 95 % interval over sequences of one checkpoint (averaged over
seeds). Where all are one seed, that interval is the band.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from models.config import WEIGHTS, WeightsName
from workbench.figures.bands import band, numbers
from workbench.figures.scales import Scale
from workbench.figures.theme import MARKERS, MUTED, PALETTE, DropoutStyle, Style, curve_style, dropout_styles, transparent

BARS = 6
"""About how many points of a curve carry a marker and error bar."""

Points = tuple[str, str, str]
VALUES: Points = ("value", "ci_low", "ci_high")
DIFFERENCES: Points = ("difference", "difference_low", "difference_high")
NUMBERS = {"value": "y", "low": "low", "high": "high", "seeds": "seeds", "seed_low": "seed_low", "seed_high": "seed_high"}
BAND_OPACITY = 0.1


@dataclass(frozen=True)
class Curve:
    """One curve: its legend entry, its look, and a frame with x, value, low, high, seeds, seed_low, seed_high."""

    name: str
    weights: WeightsName
    style: Style
    points: pd.DataFrame


def organisms(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The frame split by task and vocabulary: `set complement, v = 32` -> its rows. Only such rows belong in one figure."""
    names = {}
    for (task, vocab), rows in frame.groupby(["task", "vocab"], sort=True):
        names["Othello" if (task, vocab) == ("othello", 61) else f"{str(task).replace('-', ' ')}, v = {vocab}"] = rows
    return names


def rows_of(frame: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The rows of one metric; raises ValueError where there are none.

    Normalised dispersion is left out at length 1, where it is 0 by definition and says nothing of the model; but where no other
    length was measured.
    """
    rows = frame[frame["metric"] == metric]
    if metric == "normalised_dispersion" and (rows["length"] > 1).any():
        rows = rows[rows["length"] > 1]
    if rows.empty:
        raise ValueError(f"the frame has no metric '{metric}'; it has {', '.join(sorted(frame['metric'].unique()))}")
    return rows


def one_organism(frame: pd.DataFrame) -> str:
    """The name of the one organism in a frame; raises ValueError for none and for several."""
    names = list(organisms(frame))
    if len(names) != 1:
        raise ValueError(
            f"the frame holds {', '.join(names) or 'no rows'}; a figure shows one organism: split it by `organisms`"
        )
    return names[0]


def curves(frame: pd.DataFrame, x: Literal["length", "step"] = "length", columns: Points = VALUES) -> list[Curve]:
    """The curves of one metric's rows, by dropout (none first) and weights (raw, ema, bema).

    Legend entries name dropout and weights, and whatever else differs between curves: shape (of its words those that differ),
    training length, step, averaging.
    Checkpoints that the table cannot tell apart but by name are curves of their own.
    """
    frame = frame.dropna(subset=[columns[0]])
    keys = [key for key in ("train_length", "shape", "step", "dropout") if key != x]
    seeds = frame.groupby([*keys, "weights", "averaging", x], dropna=False)["seed"]
    if (seeds.nunique() < seeds.size()).any():
        keys.append("checkpoint")
    averaged = frame.loc[frame["weights"] != "raw"]
    telling = [key for key in keys if frame[key].nunique(dropna=False) > 1 or key == "dropout"]
    averaging_differs = averaged["averaging"].nunique(dropna=False) > 1

    shapes = [set(shape.split(", ")) for shape in frame["shape"].dropna().unique()]
    alike = set.intersection(*shapes) if shapes else set()

    groups: dict[tuple[str, WeightsName, str], pd.DataFrame] = {}
    for _, rows in frame.groupby([*keys, "weights", "averaging"], dropna=False, sort=False):
        first = rows.iloc[0]
        configuration = ", ".join(_told(key, first[key], alike) for key in reversed(telling))
        note = f" ({first['averaging']})" if averaging_differs and first["weights"] != "raw" else ""
        groups[configuration, cast(WeightsName, first["weights"]), note] = rows
    styles = _styles(dict.fromkeys(configuration for configuration, _, _ in groups), only_dropout=telling == ["dropout"])
    ordered = sorted(groups, key=lambda key: (list(styles).index(key[0]), WEIGHTS.index(key[1]), key[2]))
    return [
        Curve(
            f"{name}, {weights}{note}",
            weights,
            curve_style(styles[name], weights),
            _points(groups[name, weights, note], x, columns),
        )
        for name, weights, note in ordered
    ]


def _told(key: str, value: object, alike: set[str]) -> str:
    if value is None or value is pd.NA:
        return f"{key.replace('_', ' ')} unknown"
    if key == "shape":
        return ", ".join(word for word in str(value).split(", ") if word not in alike)
    words = {"dropout": "no dropout" if value == "none" else f"dropout {value}", "train_length": f"trained to {value}"}
    return words.get(key, f"step {value:,}" if key == "step" else str(value))


def _styles(configurations: Sequence[str] | dict[str, None], only_dropout: bool) -> dict[str, DropoutStyle]:
    if only_dropout:
        labels = {name: name.removeprefix("dropout ").replace("no dropout", "none") for name in configurations}
        by_label = dropout_styles(labels.values())
        return dict(
            sorted(
                ((name, by_label[label]) for name, label in labels.items()),
                key=lambda item: list(by_label).index(labels[item[0]]),
            )
        )
    return {name: DropoutStyle(PALETTE[i % len(PALETTE)], MARKERS[i % len(MARKERS)]) for i, name in enumerate(configurations)}


def _points(rows: pd.DataFrame, x: str, columns: Points) -> pd.DataFrame:
    value, low, high = columns
    points = rows.groupby(x, sort=True).agg(
        value=(value, "mean"),
        low=(low, "mean"),
        high=(high, "mean"),
        seeds=(value, "size"),
        seed_low=(value, "min"),
        seed_high=(value, "max"),
    )
    return points.rename_axis("x").reset_index()


def add_curves(
    fig: go.Figure, drawn: Sequence[Curve], scale: Scale, row: int, col: int, legend: bool = True, rate: bool = False
) -> None:
    """Draws curves into a panel: bands beneath, then lines, then markers with error bars, staggered so as not to collide.

    For a `rate` one grey line shows the upper limit of the interval where none of the sequences counted, instead of the same
    bar on every curve.
    """
    place = {"row": row, "col": col}
    spread = any((curve.points["seeds"] > 1).any() for curve in drawn)
    if rate:
        fig.add_trace(_limit_of_zero(drawn, scale), **place)
    for curve in drawn:
        fig.add_trace(_spread(curve, scale) if spread else _sampling(curve, scale, rate), **place)
    for curve in drawn:
        fig.add_trace(_line(curve, scale), **place)
    for number, curve in enumerate(drawn):
        fig.add_trace(_markers(curve, scale, number / len(drawn), rate, bars=spread), **place)
        if legend:
            fig.add_trace(_legend_entry(curve), **place)


def _limit_of_zero(drawn: Sequence[Curve], scale: Scale) -> go.Scatter:
    points = pd.concat([curve.points for curve in drawn])
    limit = points.loc[points["value"] == 0].groupby("x")["high"].max()
    return go.Scatter(
        x=limit.index,
        y=scale.place(limit),
        mode="lines",
        line=dict(color=MUTED, width=1, dash="1px,3px"),
        hovertemplate="none seen at length %{x}: at most %{y:.2g} with 95 % confidence<extra></extra>",
        showlegend=False,
    )


def _spread(curve: Curve, scale: Scale) -> go.Scatter:
    low, high = (scale.place(curve.points[column]) for column in ("seed_low", "seed_high"))
    return band(curve.points["x"], low, high, curve.style.colour, BAND_OPACITY, legendgroup=curve.name)


def _sampling(curve: Curve, scale: Scale, rate: bool) -> go.Scatter:
    """For a rate, points at 0 are left out of the band: one grey line has their limit."""
    points = curve.points[curve.points["value"] > 0] if rate else curve.points
    low, high = (scale.place(points[column]) for column in ("low", "high"))
    return band(points["x"], low, high, curve.style.colour, BAND_OPACITY, legendgroup=curve.name)


def _line(curve: Curve, scale: Scale) -> go.Scatter:
    points = curve.points
    spread = [
        f"<br>{low:.3g} to {high:.3g} over {seeds} seeds" if seeds > 1 else ""
        for low, high, seeds in points[["seed_low", "seed_high", "seeds"]].itertuples(index=False)
    ]
    text = [
        f"{curve.name}<br>at {x:,}: {value:.3g}<br>{low:.3g} to {high:.3g} over sequences{seeds}"
        for x, value, low, high, seeds in zip(points["x"], points["value"], points["low"], points["high"], spread, strict=True)
    ]
    return go.Scatter(
        x=points["x"],
        y=scale.place(points["value"]),
        mode="lines",
        line=dict(color=curve.style.colour, dash=curve.style.dash, width=2),
        text=text,
        hovertemplate="%{text}<extra></extra>",
        name=curve.name,
        legendgroup=curve.name,
        showlegend=False,
        **numbers(points, NUMBERS),
    )


def _markers(curve: Curve, scale: Scale, phase: float, rate: bool, bars: bool) -> go.Scatter:
    stride = max(1, round(len(curve.points) / BARS))
    points = curve.points.iloc[int(phase * stride) :: stride]
    barred = bars & ((points["value"] > 0) | (not rate))
    y, low, high = (scale.place(points[column]) for column in ("value", "low", "high"))
    return go.Scatter(
        x=points["x"],
        y=y,
        mode="markers",
        marker=_marker(curve),
        error_y=dict(
            symmetric=False,
            array=np.where(barred, np.maximum(high - y, 0), 0),
            arrayminus=np.where(barred, np.maximum(y - low, 0), 0),
            thickness=1,
            width=2,
            color=transparent(curve.style.colour, 0.6),
        ),
        hoverinfo="skip",
        legendgroup=curve.name,
        showlegend=False,
    )


def _legend_entry(curve: Curve) -> go.Scatter:
    return go.Scatter(
        x=[None],
        y=[None],
        mode="lines+markers",
        line=dict(color=curve.style.colour, dash=curve.style.dash, width=2),
        marker=_marker(curve),
        name=curve.name,
        legendgroup=curve.name,
    )


def _marker(curve: Curve) -> dict:
    return dict(symbol=curve.style.marker, color=curve.style.colour, size=6, line=dict(color="white", width=0.5))
