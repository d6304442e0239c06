"""Whether a slider is quick: by the clock, or on a slow machine beside a slider of plotly's own figure widget."""

import statistics
from collections.abc import Iterator
from contextlib import contextmanager

import nbformat
from playwright.sync_api import BrowserContext, Locator

MEDIAN_MS, P95_MS = 150, 300
PLAIN_MS = 60
"""What a step of the plain slider takes on a machine that the milliseconds are meant for; on a slower one they grow with it.
There the explorers' medians are 1.2 (length explorer) to 2.2 times (attention explorer) the plain slider's."""
ROUNDS = 3
KEYS = ["ArrowLeft"] * 12 + ["ArrowRight"] * 12
PLAIN = """
import ipywidgets
import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

figure = go.FigureWidget(make_subplots(1, 2))
for column in (1, 2):
    figure.add_bar(x=np.arange(32), y=np.random.rand(32), row=1, col=column)
slider = ipywidgets.IntSlider(value=16, max=31)


def move(change):
    with figure.batch_update():
        for bars in figure.data:
            bars.y = np.random.rand(32)


slider.observe(move, "value")
box = ipywidgets.VBox([slider, figure])
box.add_class("plain")
"""
"""Two panels of bars that a slider moves: what server, kernel, plotly and browser take at least."""


def is_quick(lab, notebook, slider: Locator, plot: Locator) -> None:
    """Every step of the slider, once it was visited, is drawn in time in one of a few rounds."""
    _round(notebook, slider, plot)
    seen = []
    for _ in range(ROUNDS):
        seen.append(_round(notebook, slider, plot))
        if _in_time(seen[-1]):
            print(f"{plot.page.title()}: median and 95th percentile {seen[-1]} ms")  # noqa: T201
            return
    with _plain(lab, plot.page.context) as plain:
        beside = [(_round(notebook, slider, plot), _round(*plain)) for _ in range(ROUNDS)]
    plot.page.bring_to_front()
    told = f"medians and 95th percentiles {seen} ms; then, each beside a plain slider's, {beside}"
    print(f"{plot.page.title()}: {told}")  # noqa: T201
    assert any(_in_time(ours, max(1, least / PLAIN_MS)) for ours, (least, _) in beside), told


def _in_time(times: tuple[int, int], slower: float = 1) -> bool:
    """Whether median and 95th percentile are what is wanted, on a machine this many times slower."""
    return times[0] <= MEDIAN_MS * slower and times[1] <= P95_MS * slower


def _round(notebook, slider: Locator, plot: Locator) -> tuple[int, int]:
    """Median and 95th percentile of the steps there and back, in ms."""
    plot.page.bring_to_front()  # a page behind another is drawn once a second
    times = sorted(notebook.slide(slider, plot, KEYS))
    return round(statistics.median(times)), round(times[int(0.95 * len(times))])


@contextmanager
def _plain(lab, context: BrowserContext) -> Iterator[tuple]:
    """The plain slider in a page of its own, moved once: its notebook, slider and plot."""
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    cells = [nbformat.v4.new_code_cell(PLAIN), nbformat.v4.new_code_cell("box")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), lab.folder / "plain.ipynb")
    page = context.new_page()
    notebook = lab.open(page, "plain")
    notebook.run_all()
    widget = notebook.widget("plain")
    plot = widget.locator(".js-plotly-plot")
    plot.locator(".main-svg").first.wait_for(timeout=30_000)
    moved = notebook, widget.locator(".widget-slider"), plot
    _round(*moved)
    yield moved
    page.close()
