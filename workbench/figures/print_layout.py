"""A figure laid out for print: one column (3.3 in) or the page (6.8 in) wide, all text 8 pt, nothing cut or overlapping.

Screen figures are not shrunk but laid out again. From the top: title, legend, rows of panels, and the note that says how to
read the figure. Panels that would become too narrow move to further rows. Every place is computed here, so nothing depends
on what the browser measures, and the page is exactly as wide as asked.
"""

import itertools
from typing import Any, Literal, get_args

import numpy as np
import plotly.graph_objects as go
from plotly.basedatatypes import BaseTraceType

from workbench.figures import print_legend
from workbench.figures.cells import cell_texts
from workbench.figures.panels import Panel, footnotes, panels_of
from workbench.figures.print_grid import Bars, Box, Grid, arranged
from workbench.figures.print_text import CSS_DPI, LINE, TEXT, line_count, text_width, wrapped
from workbench.figures.theme import PALETTE

Width = Literal["column", "page"]
WIDTHS: tuple[Width, ...] = get_args(Width)
INCHES: dict[Width, float] = {"column": 3.3, "page": 6.8}
EDGE = 5
"""White space in px around everything."""
TEXTS_A_GROUP = 4
"""How many texts stand side by side where bars are grouped."""
LEAST_BETWEEN = 3
"""White space in px between the labels of ticks."""
THINNER, SMALLER = 0.6, 0.7
"""What widths of lines and sizes of markers on the screen become in print."""


def for_print(figure: go.Figure, width: Width) -> go.Figure:
    """A copy of a figure laid out anew at a width in print; `INCHES` has the widths.

    The layout is in CSS pixels of 1/96 in, so that a vector file of it has its true size and type of 8 pt.
    """
    drawn = _resized_copy(figure)
    whole = round(INCHES[width] * CSS_DPI, 3)
    title = wrapped(drawn.layout.title.text or "", whole - 2 * EDGE, bold=True)
    _place_title(drawn, title)
    legend = print_legend.taken_out(drawn, whole - 2 * EDGE)
    notes = footnotes(drawn)
    note = wrapped(" ".join(note.text for note in notes), whole - 2 * EDGE)
    panels = panels_of(drawn)
    grid = arranged(drawn, panels, whole - 2 * EDGE)
    head = EDGE + LINE * line_count(title) + (4 + legend.height if legend else 0)
    bottom = EDGE + (LINE * line_count(note) + 4 if note else 0)
    height = round(head + grid.height + bottom)
    drawn.update_layout(width=whole, height=height, autosize=False, margin=dict(l=0, r=0, t=0, b=0, pad=0, autoexpand=False))
    for panel in panels:
        _place_panel(drawn, panel, grid, head)
    _place_bars(drawn, grid, head)
    for at, footnote in enumerate(notes):
        edges = dict(x=EDGE / whole, y=(bottom - 4) / height, xanchor="left", yanchor="top", xshift=0, yshift=0)
        footnote.update(text="" if at else note, align="left", **edges)
    if legend:
        print_legend.place(drawn, legend, EDGE, EDGE + LINE * line_count(title))
    return drawn


def _resized_copy(figure: go.Figure) -> go.Figure:
    """Every font at 8 pt, lines thinner, markers smaller; also in the template."""
    colours = figure.layout.template.layout.colorway or PALETTE
    traces = [_resized(_coloured(trace, colours[at % len(colours)])) for at, trace in enumerate(figure.data)]
    figure = go.Figure(data=traces, layout=_resized(figure.layout.to_plotly_json()))
    figure.update_traces(textfont_size=TEXT, selector={"mode": "text"})
    figure.update_layout(font_size=TEXT)
    for axes in (figure.layout.template.layout.xaxis, figure.layout.template.layout.yaxis):
        axes.update(linewidth=0.75, gridwidth=0.5, tickwidth=0.75, ticklen=3, automargin=False)
        axes.title.standoff = 3
    figure.update_xaxes(automargin=False, tickangle=0)
    return figure.update_yaxes(automargin=False)


def _coloured(trace: BaseTraceType, colour: str) -> dict:
    """A trace that leaves its colour to its number gets that colour, so that its entry in the legend has it too."""
    own = trace.to_plotly_json()
    if trace.type in ("scatter", "bar") and trace.marker.color is None and (trace.type == "bar" or trace.line.color is None):
        own["marker"] = {**own.get("marker", {}), "color": colour}
        if trace.type == "scatter":
            own["line"] = {**own.get("line", {}), "color": colour}
    return own


def _resized(node: Any, within: str = "") -> Any:
    if isinstance(node, (list, tuple)) and node and isinstance(node[0], dict):
        return [_resized(part, within) for part in node]
    if not isinstance(node, dict):
        return node
    changed = {name: _resized(value, name) for name, value in node.items()}
    if within.endswith("font") and "size" in changed:
        changed["size"] = TEXT
    if within == "line" and "width" in changed:
        changed["width"] = changed["width"] * THINNER
    if within == "marker" and isinstance(changed.get("size"), (int, float)):
        changed["size"] = changed["size"] * SMALLER
    if within.startswith("error_") and "thickness" in changed:
        changed["thickness"] = changed["thickness"] * THINNER
    return changed


def _place_title(figure: go.Figure, title: str) -> None:
    """As an annotation: the lines of a plotly title leave the top of a figure without margins."""
    figure.layout.title.text = None
    if title:
        corner = dict(x=0, xshift=EDGE, xanchor="left", y=1, yshift=-EDGE, yanchor="top")
        text = dict(text=f"<b>{title}</b>", font=dict(size=TEXT), align="left", showarrow=False, borderpad=0)
        figure.add_annotation(xref="paper", yref="paper", **corner, **text)


def _place_panel(figure: go.Figure, panel: Panel, grid: Grid, head: float) -> None:
    """Puts axes, their titles and everything written above a panel where the grid has them."""
    width, height, box = figure.layout.width, figure.layout.height, grid.boxes[panel.x, panel.y]
    left, top = EDGE + box.left, head + box.top
    across = [left / width, (left + box.width) / width]
    along = [1 - (top + box.height) / height, 1 - top / height]
    figure.layout[panel.x].update(domain=across, showticklabels=box.labels_below, tickfont_size=TEXT)
    figure.layout[panel.y].update(domain=along, showticklabels=box.labels_left, tickfont_size=TEXT)
    for axis, text in ((panel.x, box.x_title), (panel.y, box.y_title)):
        figure.layout[axis].title = dict(text=text, standoff=3, font_size=TEXT)
    if panel.title is not None:
        middle = dict(x=sum(across) / 2, y=along[1], xanchor="center", yanchor="bottom", xshift=0)
        panel.title.update(text=box.title, yshift=2 + (LINE if panel.notes else 0), **middle)
    for note in panel.notes:
        _keep_within(figure, panel, note)
    for trace in panel.traces:
        _leave_out_crowded_text(trace, box)
    _thin_out_ticks(figure, panel, box)


def _leave_out_crowded_text(trace: BaseTraceType, box: Box) -> None:
    """Numbers in cells and over bars that would run into each other go; they stand in the file of data."""
    if trace.type == "heatmap" and trace.texttemplate:
        rows, columns = np.asarray(trace.z).shape
        if box.width / columns < max(map(text_width, cell_texts(trace).flat)) + 2 or box.height / rows < TEXT:
            trace.texttemplate = None
    elif trace.type == "scatter" and trace.mode == "text" and TEXTS_A_GROUP * sum(map(text_width, trace.text)) > box.width:
        trace.visible = False


def _keep_within(figure: go.Figure, panel: Panel, note: go.layout.Annotation) -> None:
    """Text at a line near an end of the axis goes to the line's inner side, so that it does not leave the panel."""
    if note.showarrow is not False and note.arrowhead is not None:
        return
    low, high = _span(figure, panel, "x")
    at = (float(note.x) - low) / (high - low) if high > low else 0.5
    note.update(xanchor="left" if at < 1 / 3 else "right" if at > 2 / 3 else "center", xshift=0, borderpad=0, yshift=0)


def _thin_out_ticks(figure: go.Figure, panel: Panel, box: Box) -> None:
    """Axes with a tick every whole number get one every 2, 5, 10 .. where their labels would run into each other."""
    for letter, axis, size in (("x", figure.layout[panel.x], box.width), ("y", figure.layout[panel.y], box.height)):
        low, high = _span(figure, panel, letter)
        if axis.dtick != 1 or axis.type == "log" or low == high:
            continue
        label = max(text_width(f"{end:.0f}") for end in (low, high)) if letter == "x" else TEXT
        least = (label + LEAST_BETWEEN) * (abs(high - low) + 1) / size
        tens = (10**power for power in itertools.count())
        axis.dtick = next(step for ten in tens for step in (ten, 2 * ten, 5 * ten) if step >= least)


def _span(figure: go.Figure, panel: Panel, letter: str) -> tuple[float, float]:
    """What a panel's x or y axis spans: its own range, else that of the numbers drawn."""
    axis = figure.layout[panel.x if letter == "x" else panel.y]
    if axis.range is not None:
        return float(axis.range[0]), float(axis.range[1])
    drawn = (place for trace in panel.traces for place in (() if trace[letter] is None else trace[letter]))
    known = [float(place) for place in drawn if isinstance(place, (int, float, np.number))]
    if axis.type == "log":
        known = [float(np.log10(place)) for place in known if place > 0]
    return (min(known), max(known)) if known else (0.0, 1.0)


def _place_bars(figure: go.Figure, grid: Grid, head: float) -> None:
    width, height = figure.layout.width, figure.layout.height
    for bar in grid.bars:
        bar.colorbar.update(
            x=(EDGE + bar.left) / width, xanchor="left", xpad=0, y=1 - (head + bar.top) / height, yanchor="top", ypad=0,
            lenmode="pixels", len=bar.length, thickness=Bars.THICKNESS, ticklen=2, outlinewidth=0.5, tickfont_size=TEXT,
            title=dict(text=bar.title, side="right", font_size=TEXT),
        )  # fmt: skip
