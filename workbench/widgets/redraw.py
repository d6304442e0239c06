"""Makes a live figure look like another one, by sending only what differs.

A picture in a notebook is redrawn at every step of a slider. Sending the whole figure would flicker, lose the user's zoom and
take long; so what was drawn before is remembered and the differences go out in one message.
"""

import copy
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import traitlets
from ipywidgets import widget_serialization
from jaxtyping import Float
from plotly.callbacks import Points
from plotly.serializers import custom_serializers

from workbench.figures.theme import TEMPLATE
from workbench.widgets.late_page import ToldAgain
from workbench.widgets.plotly_in_page import LIVE_FIGURE_SCRIPT, PlotlyScript, plotly_script

Json = dict[str, Any]
LOW = 200
CHOSEN = "chosen"
"""The name of shapes that are vertical lines at the place of a slider."""


def figure_of(traces: Sequence[Json], layout: Json) -> go.Figure:
    """A figure of traces and layout as plain data, unchecked: plotly's check of every property takes longer than the drawing.

    Tests check them instead, by `checked`. What is shared by all of it, such as the model, stands in the layout's `meta` and so
    in the table of an export (`drawn_data`).
    """
    return go.Figure(dict(data=list(traces), layout=layout), _validate=False)


def checked(figure: go.Figure) -> go.Figure:
    """The same figure with every property checked and as plotly keeps it, which what reads figures relies on.

    Raises ValueError for a property that does not exist or cannot have its value.
    """
    return go.Figure([trace.to_plotly_json() for trace in figure.data], figure.layout.to_plotly_json())


def blank(words: str, before: Json | None = None) -> go.Figure:
    """A picture of nothing but a sentence, low, or as high as the one of the layout that was there `before`.

    The axes of that stay, unseen, since plotly guesses ranges for axes that come anew.
    """
    old: Json = before or dict(template=TEMPLATE, height=LOW, xaxis={}, yaxis={})
    kept: Json = {name: old[name] for name in ("template", "height", "margin") if name in old}
    kept |= {name: axis | dict(visible=False) for name, axis in old.items() if name.startswith(("xaxis", "yaxis"))}
    text = dict(text=words, showarrow=False, xref="paper", yref="paper", x=0.5, y=0.5)
    return figure_of([], kept | dict(annotations=[text]))


def cells(values: Float[np.ndarray, "row column"]) -> list[list[float | None]]:
    """The values of a heatmap with gaps where they are NaN, which the messages of notebooks cannot hold in two dimensions."""
    return [[None if np.isnan(value) else float(value) for value in row] for row in values]


class LiveFigure(ToldAgain, go.FigureWidget):
    """A plotly figure in a notebook that can be redrawn as any other figure."""

    _esm = LIVE_FIGURE_SCRIPT

    script: traitlets.Instance = traitlets.Instance(PlotlyScript).tag(sync=True, **widget_serialization)
    chosen_lines: traitlets.List = traitlets.List().tag(sync=True)
    """Where the lines named `CHOSEN` stand: the place of each among the shapes, and its x."""
    moves_lines: traitlets.Bool = traitlets.Bool(False).tag(sync=True)
    """Whether a page shows it, which moves such lines itself; else plotly does."""

    def __init__(self, figure: go.Figure):
        """Starts as `figure`."""
        self._drawn_traces, self._drawn_layout = _parts(figure)
        super().__init__(self._drawn_traces, self._drawn_layout)
        # the mode bar would cover titles, and a double click undoes a zoom; responsive follows the page's width
        self._config = {"displayModeBar": False, "responsive": True}
        self._clicked: dict[int, Callable[..., None]] = {}

    @traitlets.default("script")
    def _shared_script(self) -> PlotlyScript:
        return plotly_script()

    def get_state(self, key: Any = None, drop_defaults: bool = False) -> Json:
        """What a page is told; a new one of the figure as it is, where plotly would tell how it was at first."""
        state: Json = super().get_state(key, drop_defaults)
        if key is None and self.comm is not None:  # else it is not made yet
            tell = custom_serializers["to_json"]
            state |= {"_widget_layout": tell(self._layout, self), "_widget_data": tell(self._data, self)}
        return state

    def on_cell(self, places: Collection[int], choose: Callable[[int, int], None]) -> None:
        """Calls `choose(row, column)` when a cell of one of these traces is clicked; `places` are those of heatmaps, from 0.

        Also where such a trace is drawn only later.
        """

        def clicked(_: object, points: Points, __: object) -> None:
            for row, column in zip(points.ys, points.xs, strict=True):
                choose(int(row), int(column))

        self._clicked |= dict.fromkeys(places, clicked)
        self._listen(0)

    def clear(self, words: str) -> None:
        """Shows nothing but a sentence, in the same place."""
        self.redraw(blank(words, self._drawn_layout))

    def redraw(self, figure: go.Figure) -> None:
        """Shows `figure` in place of what is shown, in one batch.

        Traces are matched by order. Where a trace at some place is of another type, all are replaced; where there are fewer
        than before, the rest is hidden, since removing traces makes plotly draw anew. Where only chosen lines moved nothing is
        sent where a page moves them itself (`chosen_lines`), since plotly would draw every trace anew.
        """
        before, (after, layout) = self._drawn_traces, _parts(figure)
        kept = before if all(old["type"] == now["type"] for old, now in zip(before, after, strict=False)) else []
        after += [{**old, "visible": False} for old in kept[len(after) :]]
        news = [_news(old, now) for old, now in zip(kept, after, strict=False)]
        layout_news = _news(self._drawn_layout, layout)
        if self.moves_lines and kept and not any(news) and _only_lines_move(layout_news, self._drawn_layout):
            self._layout |= copy.deepcopy(layout_news)  # as `layout` tells it; the page learns of it by `chosen_lines`
        else:
            with self.batch_update():
                if not kept:
                    self.data = ()
                trace: Any
                for trace, changes in zip(self.data, news, strict=False):
                    _set(trace, changes)
                _set(self.layout, layout_news)
        if len(after) > len(kept):
            self.add_traces(after[len(kept) :])
            self._listen(len(kept))
        self._drawn_traces, self._drawn_layout = after, layout
        shapes = enumerate(layout.get("shapes", ()))
        self.chosen_lines = [(place, shape["x0"]) for place, shape in shapes if shape.get("name") == CHOSEN]

    def _listen(self, first: int) -> None:
        """Traces from number `first` on are new, and nothing listens to them yet."""
        traces: Any = self.data
        for place, trace in enumerate(traces[first:], start=first):
            if place in self._clicked:
                trace.on_click(self._clicked[place])


def _only_lines_move(news: Json, drawn: Json) -> bool:
    """Whether all that differs is where chosen lines stand."""
    return not news or (set(news) == {"shapes"} and _equal(_unplaced(news["shapes"]), _unplaced(drawn.get("shapes"))))


def _unplaced(shapes: Sequence[Json] | None) -> list[Json]:
    return [shape | {"x0": None, "x1": None} if shape.get("name") == CHOSEN else shape for shape in shapes or ()]


def _parts(figure: go.Figure) -> tuple[list[Json], Json]:
    """Traces and layout but for its `meta`: that is for tables, and where it differs plotly draws the whole figure anew."""
    layout = figure.layout.to_plotly_json()
    layout.pop("meta", None)
    return [trace.to_plotly_json() for trace in figure.data], layout


def _news(old: Json, now: Json) -> Json:
    """What differs, by path (`line.color`); lists, such as shapes and annotations, as wholes: of these plotly draws no more.

    The type of an axis stands before its range, which plotly would turn into one of the new type.
    """
    news: Json = {}
    for key in sorted(old.keys() | now.keys(), key=lambda key: (key != "type", key)):
        before, after = old.get(key), now.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            news |= {f"{key}.{path}": value for path, value in _news(before, after).items()}
        elif not _equal(before, after):
            news[key] = after
    return news


def _set(target: Any, news: Json) -> None:
    for path, value in news.items():
        target[path] = value


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return type(one) is type(other) and one.dtype == other.dtype and np.array_equal(one, other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(_equal, one, other))
    return bool(one == other)  # NaN is unequal to itself: such a value is sent again, which does no harm
