"""Where panels, their titles and colour bars go in print: how many a row, how wide and high, what is written beside them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import plotly.graph_objects as go

from workbench.figures.panels import Panel, domain
from workbench.figures.print_text import LINE, line_count, text_width, wrapped

LEAST_WIDTH, LEAST_SQUARE = 92, 72
"""In px: panels narrower than this (for square ones the second) move to further rows."""
LEAST_HEIGHT, GREATEST_HEIGHT, SHAPE = 96, 215, 0.72
"""A panel's height in px is `SHAPE` times its width, within these."""
ALL_HEIGHTS = 460
"""The most that the rows of panels take together, unless they are square, so that four fit a printed page."""
GAP, LAST = 12, 9
"""Between columns, and after the last one, for half a tick label."""
BELOW_TICKS, BESIDE_TICKS = 20, 7
ROW_GAP = 9
LEAST_ROW = 15
GREATEST_BAR = 190


@dataclass
class Box:
    """A panel's place: px from the corner of the grid, and what stands around it."""

    left: float = 0
    top: float = 0
    width: float = 0
    height: float = 0
    labels_left: bool = True
    labels_below: bool = True
    title: str = ""
    x_title: str = ""
    y_title: str = ""


@dataclass
class Bars:
    """A colour bar and its place in px from the corner of the grid; `panel` is None for one that all panels share."""

    THICKNESS: ClassVar[int] = 9
    colorbar: go.heatmap.ColorBar | go.layout.coloraxis.ColorBar
    panel: Panel | None
    title: str
    left: float = 0
    top: float = 0
    length: float = 0

    @property
    def width(self) -> float:
        """All of it: bar, numbers and title."""
        form = self.colorbar.tickformat or ""
        return 6 + self.THICKNESS + 5 + text_width("100%" if "%" in form else "−0.00") + LINE * line_count(self.title) + 2


@dataclass
class Grid:
    """The boxes of all panels by their axes, the colour bars, and the height of it all."""

    boxes: dict[tuple[str, str], Box]
    bars: list[Bars]
    height: float


def arranged(figure: go.Figure, panels: Sequence[Panel], width: float) -> Grid:
    """The grid with the most columns, at most the figure's own, in which panels are wide enough."""
    if not panels:
        return Grid({}, [], LEAST_HEIGHT)
    own = max(panel.column for panel in panels) + 1
    least = LEAST_SQUARE if any(figure.layout[panel.y].scaleanchor for panel in panels) else LEAST_WIDTH
    for columns in range(own, 0, -1):
        grid = _grid(figure, panels, width, columns, moved=columns < own)
        if columns == 1 or min(box.width for box in grid.boxes.values()) >= least:
            break
    return grid


def _grid(figure: go.Figure, panels: Sequence[Panel], width: float, columns: int, moved: bool) -> Grid:
    places = {at: (at // columns, at % columns) if moved else (panel.row, panel.column) for at, panel in enumerate(panels)}
    boxes = [_labelled(figure, panels, places, at) for at in range(len(panels))]
    bars = _colour_bars(figure, panels)
    for _ in range(2):  # titles break by the panel's size, which what they leave decides
        _set_widths(figure, panels, places, boxes, bars, width, columns, moved)
        for box, bar_panel in zip(boxes, panels, strict=True):
            box.y_title = wrapped(figure_title(figure, panels, places, bar_panel), box.height)
            box.x_title = wrapped(box.x_title, box.width + 24)
            box.title = wrapped(bar_panel.title.text, box.width + 10) if bar_panel.title is not None else ""
    height = _set_tops(figure, panels, places, boxes)
    grid = Grid({(panel.x, panel.y): box for panel, box in zip(panels, boxes, strict=True)}, bars, height)
    _set_bars(grid, width)
    return grid


def _labelled(figure: go.Figure, panels: Sequence[Panel], places: dict[int, tuple[int, int]], at: int) -> Box:
    """What is written beside a panel: numbers of a shared axis only at the row's first, an x title only above no equal one."""
    panel, (row, column) = panels[at], places[at]
    title = figure.layout[panel.x].title.text or ""
    beneath = [figure.layout[panels[i].x].title.text or "" for i, place in places.items() if place == (row + 1, column)]
    return Box(
        labels_left=figure.layout[panel.y].showticklabels is not False or column == 0,
        labels_below=figure.layout[panel.x].showticklabels is not False,
        x_title="" if title in beneath else title,
    )


def figure_title(figure: go.Figure, panels: Sequence[Panel], places: dict[int, tuple[int, int]], panel: Panel) -> str:
    """A panel's y title; where panels share an axis, that of the first for every first of a row."""
    own = figure.layout[panel.y].title.text or ""
    shares = figure.layout[panel.y].showticklabels is False and places[panels.index(panel)][1] == 0
    return own or (figure.layout[panels[0].y].title.text or "" if shares else "")


def _set_widths(
    figure: go.Figure,
    panels: Sequence[Panel],
    places: dict[int, tuple[int, int]],
    boxes: Sequence[Box],
    bars: Sequence[Bars],
    width: float,
    columns: int,
    moved: bool,
) -> None:
    """Sets left, width and height of the boxes."""
    beside = [[_beside(figure, panels[at], boxes[at]) for at, place in places.items() if place[1] == c] for c in range(columns)]
    left = [max(column, default=0) for column in beside]
    shared = max((bar.width for bar in bars if bar.panel is None), default=LAST)
    own = {id(bar.panel): bar.width for bar in bars}
    bars_beside = [[own.get(id(panels[at]), 0) for at, place in places.items() if place[1] == c] for c in range(columns)]
    right = [max(column, default=0) for column in bars_beside]
    left_over = width - sum(left) - sum(right) - GAP * (columns - 1) - (shared if not any(right) else 0)
    spans = {panel.column: domain(figure, panel.x) for panel in panels}
    shares = [1.0 if moved or c not in spans else spans[c][1] - spans[c][0] for c in range(columns)]
    widths = [left_over * share / sum(shares) for share in shares]
    heights = {panel.row: domain(figure, panel.y) for panel in panels}
    rows = 1 + max(row for row, _ in places.values())
    tallest = max(high - low for low, high in heights.values())
    for at, (row, column) in places.items():
        box, panel = boxes[at], panels[at]
        box.left = sum(left[: column + 1]) + sum(widths[:column]) + sum(right[:column]) + GAP * column
        box.width = widths[column]
        share = 1.0 if moved else (heights[row][1] - heights[row][0]) / tallest
        box.height = max(LEAST_ROW, share * _height(figure, panel, box.width, rows))


def _height(figure: go.Figure, panel: Panel, width: float, rows: int) -> float:
    if figure.layout[panel.y].scaleanchor:
        high, wide = np.asarray(panel.traces[0].z).shape if panel.traces[0].type == "heatmap" else (1, 1)
        return width * high / wide
    return max(min(SHAPE * width, GREATEST_HEIGHT, ALL_HEIGHTS / rows), LEAST_HEIGHT)


def _beside(figure: go.Figure, panel: Panel, box: Box) -> float:
    labels = _tick_width(figure, panel) + BESIDE_TICKS if box.labels_left else 0
    return labels + (LINE * line_count(box.y_title) + 4 if box.y_title else 0)


def _tick_width(figure: go.Figure, panel: Panel) -> float:
    """Width of a y axis's numbers, estimated where the browser chooses them."""
    axis = figure.layout[panel.y]
    if axis.ticktext:
        return max(map(text_width, axis.ticktext))
    values = [y for trace in panel.traces for y in (() if trace.y is None else trace.y) if y is not None]
    names = [value for value in values if isinstance(value, str)]
    if names:
        return max(map(text_width, names))
    if axis.tickformat and "%" in axis.tickformat:
        return text_width("100%")
    known = np.asarray([value for value in values if np.isfinite(value)] or [0.0], float)
    if axis.type == "log":
        return text_width("10<sup>−8</sup>" if (known[known > 0] < 1e-3).any() else "0.001")
    step = 10.0 ** math.floor(math.log10((np.ptp(known) or 1) / 4))
    decimals = max(0, -math.floor(math.log10(step)))
    return max(text_width(f"{value:.{decimals}f}".replace("-", "−")) for value in (known.min(), known.max()))


def _set_tops(figure: go.Figure, panels: Sequence[Panel], places: dict[int, tuple[int, int]], boxes: Sequence[Box]) -> float:
    """Sets the tops of the boxes, row by row, and returns where the last row ends with all that stands beneath it."""
    top = 0.0
    for row in range(max(place[0] for place in places.values()) + 1):
        here = [at for at, place in places.items() if place[0] == row]
        over = max(LINE * (line_count(boxes[at].title) + bool(panels[at].notes)) + 5 for at in here)
        height = max(boxes[at].height for at in here)
        under = max(BELOW_TICKS * boxes[at].labels_below + LINE * line_count(boxes[at].x_title) + 3 for at in here)
        for at in here:
            boxes[at].top, boxes[at].height = top + over, height
        top += over + height + under + ROW_GAP
    return top - ROW_GAP


def _colour_bars(figure: go.Figure, panels: Sequence[Panel]) -> list[Bars]:
    bars = []
    for panel in panels:
        for trace in panel.traces:
            scale = trace if trace.type == "heatmap" else trace.marker
            if scale.coloraxis is None and (trace.type == "heatmap" and scale.showscale is not False or scale.showscale):
                bars.append(Bars(scale.colorbar, panel, scale.colorbar.title.text or ""))
    used = {(trace if trace.type == "heatmap" else trace.marker).coloraxis for trace in figure.data} - {None}
    for name in sorted(used):
        axis = figure.layout[name]
        if axis.showscale is not False:
            bars.append(Bars(axis.colorbar, None, axis.colorbar.title.text or ""))
    return bars


def _set_bars(grid: Grid, width: float) -> None:
    boxes = list(grid.boxes.values())
    top, bottom = min(box.top for box in boxes), max(box.top + box.height for box in boxes)
    for bar in grid.bars:
        box = grid.boxes[bar.panel.x, bar.panel.y] if bar.panel is not None else None
        bar.top = top if box is None else box.top
        bar.length = min(GREATEST_BAR, bottom - top) if box is None else box.height
        bar.title = wrapped(bar.title, bar.length)
        bar.left = width - bar.width + 6 if box is None else box.left + box.width + 6
