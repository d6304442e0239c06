"""The panels of a figure: which axes, traces and titles belong together, and where they stand in the grid.

Read off the figure itself (domains of the axes, places of the annotations), so it holds for any figure of `make_subplots`.
"""

from dataclasses import dataclass, field

import plotly.graph_objects as go
from plotly.basedatatypes import BaseTraceType

SAME_PLACE = 1e-6


@dataclass
class Panel:
    """One pair of axes with what is drawn in it. `row` counts from the top."""

    x: str
    """its x axis as the layout names it: `xaxis`, `xaxis2`"""
    y: str
    row: int = 0
    column: int = 0
    traces: list[BaseTraceType] = field(default_factory=list)
    title: go.layout.Annotation | None = None
    notes: list[go.layout.Annotation] = field(default_factory=list)
    """annotations placed by its axes, such as `trained to 8`"""


def panels_of(figure: go.Figure) -> list[Panel]:
    """The panels that hold traces, row by row from the top left."""
    panels: dict[tuple[str, str], Panel] = {}
    for trace in figure.data:
        x, y = (f"{axis[0]}axis{axis[1:]}" for axis in (trace.xaxis or "x", trace.yaxis or "y"))
        panels.setdefault((x, y), Panel(x, y)).traces.append(trace)
    lefts = _distinct(domain(figure, panel.x)[0] for panel in panels.values())
    tops = _distinct(-domain(figure, panel.y)[1] for panel in panels.values())
    for panel in panels.values():
        panel.column = _position(domain(figure, panel.x)[0], lefts)
        panel.row = _position(-domain(figure, panel.y)[1], tops)
        for note in figure.layout.annotations:
            if _is_title(figure, note, panel):
                panel.title = note
            elif _axis(note.xref) == panel.x and _axis(note.yref) == panel.y:
                panel.notes.append(note)
    return sorted(panels.values(), key=lambda panel: (panel.row, panel.column))


def footnotes(figure: go.Figure) -> list[go.layout.Annotation]:
    """The annotations beneath the panels, placed on the paper."""
    return [note for note in figure.layout.annotations if note.xref == "paper" and note.yref == "paper" and note.y <= 0]


def domain(figure: go.Figure, axis: str) -> tuple[float, float]:
    """Where an axis begins and ends on the paper, in [0, 1]."""
    return figure.layout[axis].domain or (0.0, 1.0)


def _axis(reference: str | None) -> str:
    short = (reference or "").split(" ")[0]
    return f"{short[:1]}axis{short[1:]}"


def _is_title(figure: go.Figure, note: go.layout.Annotation, panel: Panel) -> bool:
    if note.xref != "paper" or note.yref != "paper":
        return False
    middle = sum(domain(figure, panel.x)) / 2
    return abs(note.x - middle) < SAME_PLACE and abs(note.y - domain(figure, panel.y)[1]) < SAME_PLACE


def _distinct(values) -> list[float]:
    ordered = sorted(values)
    return [value for at, value in enumerate(ordered) if at == 0 or value - ordered[at - 1] > SAME_PLACE]


def _position(value: float, among: list[float]) -> int:
    return min(range(len(among)), key=lambda at: abs(among[at] - value))
