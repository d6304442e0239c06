"""The one look of all figures: fonts, colours that colour-blind readers can tell apart, dashes, markers, the length axis.

The scheme, everywhere but in the figures of a study, where hundreds of dropout rates are one curve and weights have the hues:
**dropout by hue and marker, weights by dash and shade** (raw solid, ema dashed and darker, bema dotted and lighter). So each of
the two can be told apart by colour, and without colour by dash (weights) and marker (dropout).
Intervals are bands. Where a figure shows several seeds, its bands are their spread and sampling error is error bars; the line
under it says which.

Labels are plain text with Unicode symbols: no LaTeX, since MathJax would have to be fetched from the network.
"""

import math
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

import pandas as pd
import plotly.graph_objects as go

from models.config import WeightsName

FONT = "Open Sans, Helvetica, Arial, DejaVu Sans, sans-serif"
INK = "#222222"
MUTED = "#666666"
GRID = "#e6e6e6"

# Okabe and Ito 2008, "Color Universal Design"; yellow is left out, it is too faint for lines on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("circle", "square", "diamond", "triangle-up", "x", "star", "hexagon")
DASHES = ("solid", "8px,3px", "2px,2px", "8px,2px,2px,2px", "14px,4px", "8px,2px,2px,2px,2px,2px")

SEQUENTIAL = "Cividis"
"""Colour scale of heatmaps of non-negative values; monotone in lightness and made for colour-blind readers."""
DIVERGING = "RdBu_r"
"""Colour scale of heatmaps of signed values; set `zmid=0` (plotly: `coloraxis_cmid=0`)."""

WEIGHTS_DASH: dict[WeightsName, str] = {"raw": "solid", "ema": "7px,3px", "bema": "2px,2px"}
WEIGHTS_SHADE: dict[WeightsName, float] = {"raw": 0.0, "ema": -0.4, "bema": 0.35}
"""How far a hue goes towards black (negative) or white (positive)."""

_SITE_SLOT = {"none": 0, "attention": 1, "residual": 2, "embedding": 3, "all": 4}


class Style(NamedTuple):
    """How one curve is drawn."""

    colour: str
    dash: str
    marker: str


class DropoutStyle(NamedTuple):
    """What dropout decides of a curve."""

    hue: str
    marker: str


def dropout_styles(labels: Iterable[str]) -> dict[str, DropoutStyle]:
    """Hue and marker of each dropout label (`DropoutRates.label`).

    A site keeps its hue in every figure (none blue, attention vermilion, residual green); two rates of one site in the same
    figure take the next free ones. More labels than hues start over.
    """
    ordered = sorted(set(labels), key=lambda label: (label != "none", label))
    slots: dict[str, int] = {}
    for label in ordered:
        slot = _SITE_SLOT.get(label.split(" ")[0])
        if slot is not None and slot not in slots.values():
            slots[label] = slot
    for label in ordered:
        free = (slot for slot in range(len(PALETTE)) if slot not in slots.values())
        slots.setdefault(label, next(free, len(slots) % len(PALETTE)))
    return {label: DropoutStyle(PALETTE[slot], MARKERS[slot]) for label, slot in slots.items()}


def curve_style(dropout: DropoutStyle, weights: WeightsName) -> Style:
    """The style of a curve of one dropout and one set of weights."""
    return Style(shade(dropout.hue, WEIGHTS_SHADE[weights]), WEIGHTS_DASH[weights], dropout.marker)


def numbered_style(number: int) -> Style:
    """The style of the curve of a number that has no meaning as a colour, such as a layer.

    Dash and marker double the colour; all three start over by themselves, so 42 curves differ.
    """
    return Style(*(looks[number % len(looks)] for looks in (PALETTE, DASHES, MARKERS)))


def shade(colour: str, amount: float) -> str:
    """A `#rrggbb` colour moved towards white (amount in (0, 1]) or black (amount in [-1, 0)); 0 leaves it."""
    end = 255 if amount > 0 else 0
    return "#" + "".join(f"{round(channel + (end - channel) * abs(amount)):02x}" for channel in _channels(colour))


def transparent(colour: str, opacity: float) -> str:
    """A `#rrggbb` colour as `rgba(...)` with the given opacity in [0, 1], for bands."""
    return f"rgba({','.join(map(str, _channels(colour)))},{opacity:g})"


def _channels(colour: str) -> list[int]:
    return [int(colour[at : at + 2], 16) for at in (1, 3, 5)]


def _template() -> go.layout.Template:
    axis = dict(
        showline=True, linecolor=MUTED, linewidth=1, ticks="outside", tickcolor=MUTED, ticklen=4, gridcolor=GRID, gridwidth=1,
        zeroline=False, automargin=True, title=dict(standoff=8, font=dict(size=13)), exponentformat="power",
    )  # fmt: skip
    return go.layout.Template(
        layout=dict(
            font=dict(family=FONT, size=12, color=INK),
            title=dict(font=dict(size=16), x=0, xref="paper", xanchor="left", yanchor="bottom", y=1, yref="paper", pad_b=34),
            paper_bgcolor="white",
            plot_bgcolor="white",
            colorway=PALETTE,
            colorscale=dict(sequential=SEQUENTIAL, diverging=DIVERGING),
            xaxis=axis,
            yaxis=axis,
            legend=dict(bgcolor="rgba(255,255,255,0.85)", font=dict(size=12), itemwidth=40, tracegroupgap=8),
            hoverlabel=dict(font=dict(family=FONT, size=12)),
            margin=dict(l=70, r=30, t=80, b=60),
        )
    )


TEMPLATE = _template()


def apply_theme(fig: go.Figure, title: str | None = None, width: int | None = None, height: int | None = None) -> go.Figure:
    """Gives a figure the house look, in place, and returns it; width and height in pixels are for static export."""
    fig.update_layout(template=TEMPLATE)
    settings = {"title_text": title, "width": width, "height": height}
    fig.update_layout({name: value for name, value in settings.items() if value is not None})
    return fig


def length_axis(
    fig: go.Figure,
    train_length: int | None,
    row: int | None = None,
    col: int | None = None,
    title: str = "length (tokens seen)",
) -> go.Figure:
    """Titles the x axis of a panel (all of them without row and col) as length and marks the training length, where known."""
    place: dict[str, Any] = {name: at for name, at in (("row", row), ("col", col)) if at is not None}
    fig.update_xaxes(title_text=title, showgrid=False, **place)  # plotly draws grid lines over the mark
    if train_length is not None:
        mark_training_length(fig, train_length, **place)
    return fig


def mark_training_length(
    fig: go.Figure,
    train_length: int,
    at: float | None = None,
    layer: Literal["below", "above"] = "below",
    **place: int,
) -> None:
    """A labelled grey vertical line at the longest length seen in training; it spans the panel whatever its range or zoom.

    Args:
        fig: whose axes have their type already.
        train_length: the length.
        at: where the line is, if the x axis is not the length.
        layer: above, for panels that are filled.
        place: row and col of a panel; all panels without.
    """
    text = dict(annotation_text=f"trained to {train_length}", annotation_font=dict(size=11, color=MUTED))
    line = dict(color=MUTED, width=1.5, dash="longdashdot")
    before = len(fig.layout.annotations)
    fig.add_vline(train_length if at is None else at, line=line, layer=layer, annotation_position="top", **text, **place)
    for note in fig.layout.annotations[before:]:
        if fig.layout[f"xaxis{note.xref[1:]}"].type == "log":  # annotations, unlike lines, are placed by exponent
            note.x = math.log10(note.x)


def training_length(frame: pd.DataFrame) -> int | None:
    """The training length of a frame of one checkpoint; None where the frame has none or several."""
    known = list(frame["train_length"].dropna().unique()) if "train_length" in frame else []
    return int(known[0]) if len(known) == 1 else None


def length_range(frame: pd.DataFrame) -> tuple[float, float]:
    """The range of a length axis, the same in all panels of a figure."""
    least, greatest = frame["length"].min(), frame["length"].max()
    margin = 0.5 + 0.02 * (greatest - least)
    return least - margin, greatest + margin
