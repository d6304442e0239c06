"""Saves figures as HTML, PDF, SVG and PNG, each with its data beside it as CSV.

HTML files share one plotly.min.js beside them, so that they open without a network. Static formats are drawn by one browser
(`browser.py`). The same figures give the same files, byte for byte, with the same browser and fonts.
"""

import logging
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Literal

import plotly.graph_objects as go
from plotly.basedatatypes import BaseFigure

from models.durable import write_file, writing
from models.plain_file import as_path
from workbench.figures.browser import HOW_TO_GET_A_BROWSER, Drawn, draw, find_browser
from workbench.figures.cells import RASTER_DPI, with_cells
from workbench.figures.drawn_data import drawn_data
from workbench.figures.print_layout import WIDTHS, Width, for_print
from workbench.figures.print_text import CSS_DPI

logger = logging.getLogger(__name__)

FORMATS: tuple[str, ...] = ("html", "pdf", "svg", "png")
SCREEN_SCALE = 2
"""Dots of a PNG to a px of a figure that is laid out for the screen; in print it has `RASTER_DPI`."""


def save_figures(
    figures: Mapping[str, go.Figure],
    folder: str | os.PathLike[str],
    formats: Sequence[str] = FORMATS,
    width: Width | None = None,
) -> list[Path]:
    """Writes every figure as `folder/name.format`, its data as `folder/name.csv`, and returns the paths of the figures.

    Args:
        figures: by the name of their files.
        folder: made where it does not exist; files in it are replaced.
        formats: any of `FORMATS`.
        width: lays static formats out for print (`for_print`); None leaves them as on the screen, as HTML always is.

    Where there is no browser (`possible_formats`) or it fails, HTML takes the place of static formats, and one warning says why
    and what to do. Raises ValueError for an unknown format or width, a name no file can have, and what is no figure or path.
    """
    if width is not None and width not in WIDTHS:
        raise ValueError(f"unknown width '{width}'; choose from {', '.join(WIDTHS)}")
    _require_figures(figures)
    formats, folder = possible_formats(formats), as_path(folder)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for name, figure in figures.items():
        write_file(folder / f"{name}.csv", drawn_data(figure).to_csv(index=False, lineterminator="\n").encode())
    static = [name for name in formats if name != "html"]
    browser = find_browser() if static else None
    files: Drawn = {}
    if browser is not None and figures:
        printed = {name: _static(figure, width) for name, figure in figures.items()}
        files = draw(printed, static, browser, RASTER_DPI if width else CSS_DPI * SCREEN_SCALE)
    whole = [name for name in figures if all((name, format) in files for format in static)]
    pages = figures if "html" in formats else {name: figure for name, figure in figures.items() if name not in whole}
    written = _save_html(pages, folder)
    for (name, format), data in files.items():
        written.append(folder / f"{name}.{format}")
        write_file(written[-1], data)
    return written


def _require_figures(figures: Mapping[str, go.Figure]) -> None:
    if not isinstance(figures, Mapping):
        raise ValueError(f"a {type(figures).__name__} is no dict of figures by name; give one, such as {{'margin': figure}}")
    for name, figure in figures.items():
        if not isinstance(name, str) or not name or Path(name).name != name:
            raise ValueError(f"figure name '{name}' is no file name; use letters, digits and hyphens")
        if not isinstance(figure, BaseFigure):  # a widget's, too
            raise ValueError(f"figure '{name}' is a {type(figure).__name__}, expected a plotly figure; give a go.Figure")


def possible_formats(formats: Sequence[str]) -> tuple[str, ...]:
    """Those of the formats that can be written here, in the order of `FORMATS`: without a Chrome or Chromium, HTML alone.

    Ask before long work: where a browser is missing, one warning says so and what to do. Raises ValueError for an unknown
    format, and what is no list.
    """
    if isinstance(formats, str) or not isinstance(formats, Collection):
        raise ValueError(f"formats {formats!r:.60} are no list; give a list of any of {', '.join(FORMATS)}")
    unknown = [name for name in formats if name not in FORMATS]
    if unknown:
        raise ValueError(f"unknown format '{unknown[0]}'; choose from {', '.join(FORMATS)}")
    static = [name for name in FORMATS if name in formats and name != "html"]
    if not static or find_browser() is not None:
        return tuple(name for name in FORMATS if name in formats)
    where = f" at BROWSER_PATH={os.environ['BROWSER_PATH']}" if os.environ.get("BROWSER_PATH") else ""
    logger.warning(
        "no Chrome or Chromium found%s, so HTML will be written and no %s: %s", where, ", ".join(static), HOW_TO_GET_A_BROWSER
    )
    return ("html",)


def figure_html(figure: go.Figure, name: str, plotly_js: Literal["directory"] | bool) -> str:
    """A figure as HTML that is the same every time; `plotly_js` as plotly's include_plotlyjs, a whole page if not False."""
    config = {"responsive": True, "displaylogo": False, "toImageButtonOptions": {"format": "svg", "filename": name}}
    return figure.to_html(
        config=config,
        include_plotlyjs=plotly_js,
        full_html=plotly_js is not False,
        div_id=f"figure-{name}",
        include_mathjax=False,
    )


def _static(figure: go.Figure, width: Width | None) -> go.Figure:
    """A copy for static formats; its traces are numbered, since plotly would name those in an SVG by random words."""
    drawn = with_cells(for_print(figure, width) if width else go.Figure(figure))
    for number, trace in enumerate(drawn.data):
        trace.uid = str(number)
    return drawn


def _save_html(figures: Mapping[str, go.Figure], folder: Path) -> list[Path]:
    from plotly.offline import get_plotlyjs

    if figures:
        write_file(folder / "plotly.min.js", get_plotlyjs().encode())
    paths = []
    for name, figure in figures.items():
        paths.append(folder / f"{name}.html")
        write_file(paths[-1], figure_html(figure, name, "directory").encode())
    return paths
