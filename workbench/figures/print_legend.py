"""The legend of a figure in print: its entries, and how they stand in rows above the panels.

Where the entries are all pairs of two things (`no dropout, raw` .. `dropout 0.1, ema`), each drawn in its own way, colour or
marker for the first and dash for the second (where there are markers alone, their filling), the two are listed apart: five
entries instead of six, eight instead of fifteen. Curves of pairs that are drawn in some other way are listed as they are.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go
from plotly.basedatatypes import BaseTraceType

from workbench.figures.print_text import LINE, TEXT, text_width
from workbench.figures.theme import MUTED

SYMBOL = 30
"""Least width that plotly gives the line of an entry."""
AROUND, INSET = 15, 10
"""What plotly leaves beside the line and the text of an entry, and at the ends of a row."""
ROW = 19
"""Height of a row: plotly adds 3 px to the 16 it gives every symbol."""
FEWEST_PAIRS = 5


@dataclass(frozen=True)
class Legend:
    """The traces that draw it (they hold no data) and its measures in px."""

    entries: tuple[BaseTraceType, ...]
    entry_width: float
    title: str | None
    height: float


def taken_out(figure: go.Figure, width: float) -> Legend | None:
    """Takes the legend off a figure's own traces and returns one of at most `width` px; None where it shows none."""
    named = {trace.name: trace for trace in reversed(figure.data) if trace.name and _in_legend(trace)}
    many = figure.layout.showlegend or (figure.layout.showlegend is None and sum(map(_in_legend, figure.data)) > 1)
    for trace in figure.data:
        trace.update(showlegend=False)
    if not named or not many:
        return None
    shown = dict(reversed(named.items()))
    entries = _factored(shown) or tuple(_entry(trace, name) for name, trace in shown.items())
    widest = max(text_width(entry.name) for entry in entries)
    columns = min(len(entries), max(1, int((width - INSET) // (widest + SYMBOL + AROUND))))
    entry_width = min((width - INSET) / columns - SYMBOL - AROUND, widest + AROUND)
    title = figure.layout.legend.title.text
    height = ROW * math.ceil(len(entries) / columns) + (LINE if title else 0)
    return Legend(entries, entry_width, title, height)


def _in_legend(trace: BaseTraceType) -> bool:
    return trace.type != "heatmap" and trace.showlegend is not False


def _factored(named: dict[str, BaseTraceType]) -> tuple[BaseTraceType, ...] | None:
    pairs = [tuple(name.rsplit(", ", 1)) for name in named]
    if len(named) < FEWEST_PAIRS or any(len(pair) != 2 for pair in pairs) or any(map(_is_bar, named.values())):
        return None
    first, second = zip(*pairs, strict=True)
    firsts, seconds = (list(dict.fromkeys(words)) for words in (first, second))
    colours, markers, dashes = zip(*map(_look, named.values()), strict=True)
    drawn_so = (_tells(colours, first) or _tells(markers, first)) and _tells(dashes, second)
    if min(len(firsts), len(seconds)) < 2 or len(firsts) * len(seconds) != len(pairs) or not drawn_so:
        return None
    hues = [_entry(named[f"{first}, {seconds[0]}"], first) for first in firsts]
    greys = [_entry(named[f"{firsts[0]}, {second}"], second) for second in seconds]
    for entry in greys:
        entry.update(dict(marker_color=MUTED) if entry.mode == "markers" else dict(mode="lines", line_color=MUTED))
    return (*hues, *greys)


def _look(trace: BaseTraceType) -> tuple[str, str, str]:
    """Colour, marker, and dash or, where there are markers alone, filling of a trace."""
    marker, filling, _ = (trace.marker.symbol or "").partition("-open")
    if trace.mode == "markers":
        return str(trace.marker.color), marker, filling
    return str(trace.line.color), marker, trace.line.dash or "solid"


def _is_bar(trace: BaseTraceType) -> bool:
    return trace.type == "bar"


def _tells(looks: Sequence[str], words: Sequence[str]) -> bool:
    """Whether every word has one look, and every look one word."""
    return len(set(zip(looks, words, strict=True))) == len(set(looks)) == len(set(words))


def _entry(trace: BaseTraceType, name: str) -> BaseTraceType:
    if _is_bar(trace):
        return go.Bar(x=[None], y=[None], name=name, marker=trace.marker, showlegend=True, offsetgroup=trace.offsetgroup)
    own = {key: trace[key] for key in ("mode", "line", "marker", "fill", "fillcolor") if key in trace}
    return go.Scatter(x=[None], y=[None], name=name, showlegend=True, **own)


def place(figure: go.Figure, legend: Legend, left: float, top: float) -> None:
    """Puts a legend into a figure whose layout has its size and no margins; `left` and `top` in px from the top left corner."""
    figure.add_traces(legend.entries)
    width, height = figure.layout.width, figure.layout.height
    figure.update_layout(
        showlegend=True,
        legend=dict(
            orientation="h",
            x=left / width,
            y=1 - top / height,
            xanchor="left",
            yanchor="top",
            entrywidth=legend.entry_width,
            entrywidthmode="pixels",
            itemwidth=SYMBOL,
            tracegroupgap=0,
            traceorder="normal",
            font_size=TEXT,
            bgcolor="rgba(255,255,255,0)",
            title=dict(text=legend.title or "", side="top", font_size=TEXT),
        ),
    )
