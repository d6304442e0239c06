"""The shell that every explorer shares: controls above live pictures, one sentence where something fails, and export.

An explorer gives it pure functions from its state, which is the values of its controls by name, to figures. What a slider moves
often and what rarely are figures apart, since plotly draws whole figures anew.
"""

import inspect
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ipywidgets as widgets
import plotly.graph_objects as go

from workbench.error_sentence import sentence
from workbench.widgets.background import Background
from workbench.widgets.export_box import ExportBox
from workbench.widgets.redraw import LiveFigure, blank, checked


class NothingYet(ValueError):
    """Raised by a figure's function where nothing is measured yet: its sentence stands in the picture, be it the first."""


class Explorer(widgets.VBox):
    """Controls, pictures, status line and export button."""

    def __init__(
        self,
        name: str,
        controls: Mapping[str, widgets.Widget],
        rows: Sequence[Sequence[str]],
        figures: Sequence[Callable[..., go.Figure]],
    ):
        """Draws the first pictures.

        Args:
            name: what exported files are called at first, and the CSS class `workbench-<name>`.
            controls: widgets with a `value`, by name.
            rows: names of controls, as they stand in rows above the pictures; what is in none is not shown.
            figures: functions of the controls that their parameters name, drawn one below the other.

        Raises:
            ValueError: where the first pictures cannot be drawn, but for `NothingYet`; later failures are shown.
        """
        self.controls = dict(controls)
        self._lock = threading.RLock()  # background work moves controls too
        self._figures = {figure: inspect.signature(figure).parameters for figure in figures}
        self._drawn = {figure: self._arguments(figure) for figure in figures}
        self._failed = dict.fromkeys(figures, "")
        self.pictures = [LiveFigure(_drawing(figure, self._drawn[figure])) for figure in figures]
        self.background = Background()
        self.export_box = ExportBox(name, self._exported, self.background)
        wrap = widgets.Layout(flex_flow="row wrap")
        shown = [widgets.HBox([self.controls[control] for control in row], layout=wrap) for row in rows]
        foot = widgets.HBox([self.export_box, self.background], layout=wrap)
        super().__init__([*shown, *self.pictures, foot])
        self.add_class("workbench-explorer")
        self.add_class(f"workbench-{name}")
        for control_name, control in self.controls.items():
            control.add_class(f"control-{control_name.replace('_', '-')}")
            control.observe(self._changed, "value")

    @property
    def state(self) -> dict[str, Any]:
        """The values of the controls, by name."""
        return {name: control.value for name, control in self.controls.items()}

    def set(self, **values: Any) -> None:
        """Moves controls, as a user would; the pictures follow."""
        for name, value in values.items():
            self.controls[name].value = value

    def figures(self) -> list[go.Figure]:
        """The figures of the present state, checked, for static pictures."""
        return [checked(_drawing(figure, self._arguments(figure))) for figure in self._figures]

    def refresh(self) -> None:
        """Redraws the pictures whose controls moved; where that fails, a sentence that says why stands there, and below."""
        with self._lock:
            for figure, picture in zip(self._figures, self.pictures, strict=True):
                arguments = self._arguments(figure)
                if arguments != self._drawn[figure]:
                    self._failed[figure] = _redraw(picture, figure, arguments)
                    self._drawn[figure] = arguments
            failed = next(filter(None, self._failed.values()), "")
        if failed or not self.background.running:
            self.background.say(failed, error=bool(failed))

    def renew(self) -> None:
        """Draws every picture anew, after what lies behind it has changed."""
        with self._lock:  # else a picture of the old state, drawn meanwhile, would pass for the new one
            self._drawn = {figure: {} for figure in self._figures}
            self.refresh()

    def _exported(self) -> list[go.Figure]:
        """Raises `NothingYet` where `figures` has a blank one."""
        return [checked(figure(**self._arguments(figure))) for figure in self._figures]

    def _arguments(self, figure: Callable[..., go.Figure]) -> dict[str, Any]:
        return {name: self.controls[name].value for name in self._figures[figure]}

    def _changed(self, _: object) -> None:
        self.refresh()


def _drawing(figure: Callable[..., go.Figure], arguments: Mapping[str, Any]) -> go.Figure:
    """The figure of a state, or a blank one where there is nothing to draw yet."""
    try:
        return figure(**arguments)
    except NothingYet as nothing:
        return blank(str(nothing))


def _redraw(picture: LiveFigure, figure: Callable[..., go.Figure], arguments: Mapping[str, Any]) -> str:
    """Draws into a picture, which must not go on showing another state; returns the sentence of an error, or nothing."""
    try:
        picture.redraw(figure(**arguments))
    except Exception as error:  # in a widget there is no other place to show it
        picture.clear(sentence(error))
        return "" if isinstance(error, NothingYet) else sentence(error)
    return ""


def slider(description: str, least: int, greatest: int, value: int) -> widgets.IntSlider:
    """A slider over whole numbers, moved by mouse or arrow keys, that reports while it moves."""
    style = {"description_width": "90px"}
    return widgets.IntSlider(
        value=value, min=least, max=greatest, description=description, style=style, layout=widgets.Layout(width="420px")
    )


def dropdown(description: str, options: Sequence[Any], value: Any = None, width: str = "420px") -> widgets.Dropdown:
    """A list to choose one of; the first where no value is given."""
    style = {"description_width": "90px"}
    chosen = {} if value is None else {"value": value}
    return widgets.Dropdown(options=options, description=description, style=style, layout=widgets.Layout(width=width), **chosen)
