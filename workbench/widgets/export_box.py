"""The export button of a widget: what is on screen as PDF, SVG, PNG or HTML, and the data behind it as CSV."""

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import ipywidgets as widgets
import plotly.graph_objects as go

from workbench.error_sentence import sentence
from workbench.figures.export import save_figures
from workbench.widgets.background import Background, Progress

FOLDER = Path("exports")
FORMATS = ("pdf", "svg", "png", "html")
DRAWING = logging.getLogger("workbench.figures")


class ExportBox(widgets.HBox):
    """Name, format and button; what it wrote, or why not, is said in `background`."""

    def __init__(self, name: str, figures: Callable[[], Sequence[go.Figure]], background: Background):
        """`figures` gives what is on screen at the time the button is pressed; files are named after `name`."""
        self.name = widgets.Text(value=name, description="save as", layout=widgets.Layout(width="260px"))
        self.format = widgets.Dropdown(options=FORMATS, layout=widgets.Layout(width="80px"))
        self.button = widgets.Button(description="Export", icon="download", tooltip="write picture and data into exports/")
        self.button.add_class("workbench-export")
        self.button.on_click(lambda _: self.export())
        self._figures, self._background = figures, background
        super().__init__([self.name, self.format, self.button])

    def export(self) -> None:
        """Writes `exports/name-1.format` and `exports/name-1.csv`, and so on for every picture; on a thread."""
        stem, format = self.name.value.strip(), self.format.value
        try:
            figures = self._figures()  # here, as they are when the button is pressed
        except Exception as error:  # in a widget there is no other place to show it
            self._background.say(sentence(error), error=True)
            return

        def work(progress: Progress) -> str:
            if not stem or Path(stem).name != stem:
                raise ValueError(f"'{stem}' cannot be the name of a file; give a name without slashes")
            progress(0.1, f"drawing {stem}.{format} …")
            named = {f"{stem}-{number}": figure for number, figure in enumerate(figures, start=1)}
            with Warnings() as warnings:
                drawn = save_figures(named, FOLDER, (format,))
            written = [*map(str, drawn), *(str(FOLDER / f"{name}.csv") for name in named)]
            return "; ".join([f"written: {', '.join(written)}", *warnings.messages])

        self._background.start(work)


class Warnings(logging.Handler):
    """What drawing on this thread warns of inside a `with`, such as why there is HTML in place of a PDF."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps a message."""
        if record.thread == self._thread:
            self.messages.append(record.getMessage())

    def __enter__(self) -> "Warnings":
        DRAWING.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        DRAWING.removeHandler(self)
