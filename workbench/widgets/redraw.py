"""Makes a live figure look like another one, by sending only what differs.

A picture in a notebook is redrawn at every step of a slider. Sending the whole figure would flicker, lose the user's zoom and
take long; so what was drawn before is remembered and the differences go out in one message.
"""

from collections.abc import Sequence
from typing import Any, TypeGuard

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

Json = dict[str, Any]


def figure_of(traces: Sequence[Json], layout: Json) -> go.Figure:
    """A figure of traces and layout as plain data, unchecked: plotly's check of every property takes longer than the drawing.

    Tests check them instead: `go.Figure(figure.to_dict())` raises for a property that does not exist.
    """
    return go.Figure(dict(data=list(traces), layout=layout), _validate=False)


def cells(values: Float[np.ndarray, "row column"]) -> list[list[float | None]]:
    """The values of a heatmap with gaps where they are NaN, which the messages of notebooks cannot hold in two dimensions."""
    return [[None if np.isnan(value) else float(value) for value in row] for row in values]


class LiveFigure(go.FigureWidget):
    """A plotly figure in a notebook that can be redrawn as any other figure."""

    def __init__(self, figure: go.Figure):
        """Starts as `figure`."""
        super().__init__(figure)
        # the mode bar would cover titles, and a double click undoes a zoom; responsive follows the page's width
        self._config = {"displayModeBar": False, "responsive": True}
        self._drawn_traces, self._drawn_layout = _parts(figure)

    def redraw(self, figure: go.Figure) -> None:
        """Shows `figure` in place of what is shown, in one batch.

        Traces are matched by order. Where a trace at some place is of another type, all are replaced; where there are fewer
        than before, the rest is hidden, since removing traces makes plotly draw anew.
        """
        before, (after, layout) = self._drawn_traces, _parts(figure)
        kept = before if all(old["type"] == now["type"] for old, now in zip(before, after, strict=False)) else []
        after += [{**old, "visible": False} for old in kept[len(after) :]]
        with self.batch_update():
            if not kept:
                self.data = ()
            trace: Any
            for trace, old, now in zip(self.data, kept, after, strict=False):
                _assign(trace, old, now)
            _assign(self.layout, self._drawn_layout, layout)
        if len(after) > len(kept):
            self.add_traces(after[len(kept) :])
        self._drawn_traces, self._drawn_layout = after, layout


def _parts(figure: go.Figure) -> tuple[list[Json], Json]:
    return [trace.to_plotly_json() for trace in figure.data], figure.layout.to_plotly_json()


def _assign(target: Any, old: Json, now: Json) -> None:
    """Sets what differs, as deep inside as it does: moving one line of twenty sends one number."""
    for key in old.keys() | now.keys():
        before, after = old.get(key), now.get(key)
        if _equal(before, after):
            continue
        if isinstance(before, dict) and isinstance(after, dict):
            _assign(target[key], before, after)
        elif _entries(before) and _entries(after) and len(before) == len(after):
            for entry, was, becomes in zip(target[key], before, after, strict=True):
                _assign(entry, was, becomes)
        else:
            target[key] = after


def _entries(value: Any) -> TypeGuard[Sequence[Json]]:
    return isinstance(value, (list, tuple)) and bool(value) and all(isinstance(entry, dict) for entry in value)


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return type(one) is type(other) and one.dtype == other.dtype and np.array_equal(one, other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    if _entries(one) and _entries(other):
        return len(one) == len(other) and all(map(_equal, one, other))
    return bool(one == other)  # NaN is unequal to itself: such a value is sent again, which does no harm
