"""The notebooks' widgets in a real JupyterLab: by mouse and by keys, in time, exported, and without a script that fails."""

from collections.abc import Iterator
from contextlib import contextmanager

import nbformat
import pandas as pd
import pytest
from playwright.sync_api import Locator, Page, expect

from .quick import is_quick

pytestmark = pytest.mark.browser


def data(plot: Locator, what: str = "y") -> list:
    """What a plot shows: one list a visible trace, and the title."""
    return plot.evaluate(
        """(plot, what) => [plot.layout.title?.text, JSON.stringify(plot.layout.shapes),
            ...plot._fullData.filter(trace => trace.visible === true).map(trace => Array.from(trace[what] ?? [], String))]""",
        what,
    )


def changes(plot: Locator, before: list, what: str = "y") -> list:
    """Waits until a plot shows something else, and returns it."""
    for _ in range(100):
        now = data(plot, what)
        if now != before:
            return now
        plot.page.wait_for_timeout(100)
    raise AssertionError("the plot did not change in 10 s")


def inside(plot: Locator, panel: int) -> bool:
    """Whether the axis of a panel, from 0, holds some of its curves."""
    return plot.evaluate(
        """(plot, axis) => plot._fullData.filter(trace => trace.visible === true && (trace.yaxis ?? 'y') === axis)
            .some(trace => Array.from(trace.y).some(y => {
                const {d2l, range} = plot._fullLayout[axis.replace('y', 'yaxis')];
                return Math.min(...range) <= d2l(y) && d2l(y) <= Math.max(...range);
            }))""",
        f"y{panel + 1 if panel else ''}",
    )


def shows(widget: Locator, plots: int) -> list[Locator]:
    """The plots of a widget, once they are drawn."""
    found = widget.locator(".js-plotly-plot")
    found.nth(plots - 1).locator(".main-svg").first.wait_for(timeout=30_000)
    return [found.nth(number) for number in range(plots)]


@contextmanager
def slowed(page: Page, times: int) -> Iterator[None]:
    """The page's script runs this many times slower."""
    session = page.context.new_cdp_session(page)
    session.send("Emulation.setCPUThrottlingRate", {"rate": times})
    yield
    session.send("Emulation.setCPUThrottlingRate", {"rate": 1})


def test_lengths_and_training_steps_are_explored_and_exported(lab, page, tmp_path):
    """On a page that comes up slowly."""
    notebook = lab.open(page, "01_compare_dropout_and_ema")
    with slowed(page, 4):
        notebook.run_all()
        widget = notebook.widget("workbench-length-explorer")
        curves, example = shows(widget, 2)
    before = data(curves), data(example)
    notebook.slide(widget.locator(".control-length"), example, ["ArrowRight"] * 3)
    assert changes(curves, before[0])[1] != before[0][1] and changes(example, before[1])

    before = data(curves)
    widget.get_by_label("raw", exact=True).press(" ")
    assert len(changes(curves, before)) < len(before)
    widget.get_by_label("raw", exact=True).press(" ")
    page.wait_for_timeout(1000)
    page.screenshot(path=tmp_path / "length-explorer.png")
    widget.screenshot(path=tmp_path / "length-explorer-whole.png")

    widget.locator(".workbench-export").click()
    expect(widget.get_by_role("status")).to_contain_text("written: ", timeout=60_000)
    pdf = lab.folder / "exports" / "length-explorer-1.pdf"
    assert pdf.read_bytes().startswith(b"%PDF") and pdf.stat().st_size > 10_000
    table = pd.read_csv(lab.folder / "exports" / "length-explorer-1.csv")
    assert {"no dropout, raw", "dropout residual 0.1, bema"} <= set(table["curve"]) and table["x"].max() == 31
    is_quick(lab, notebook, widget.locator(".control-length"), example)

    timeline = notebook.widget("workbench-checkpoint-timeline")
    (course,) = shows(timeline, 1)
    before = data(course)
    notebook.slide(timeline.locator(".control-length"), course, ["ArrowLeft"] * 5)
    assert "length 10" in changes(course, before)[0]
    timeline.screenshot(path=tmp_path / "checkpoint-timeline.png")
    is_quick(lab, notebook, timeline.locator(".control-length"), course)


def test_widgets_are_told_all_again_where_anywidget_gave_them_up_and_on_a_new_page(lab, page, tmp_path):
    """It does so after 2 s, if a widget is not up by then; here after none, and so to all."""
    page.add_init_script(
        """AbortSignal.timeout = () => {
            const controller = new AbortController();
            Promise.resolve().then(() => controller.abort());
            return controller.signal;
        }"""
    )
    notebook = lab.open(page, "01_compare_dropout_and_ema")
    notebook.run_all()
    timeline = notebook.widget("workbench-checkpoint-timeline")
    (course,) = shows(timeline, 1)
    expect(course.locator(".gtitle")).to_contain_text("length 15")
    before = data(course)
    notebook.slide(timeline.locator(".control-length"), course, ["ArrowLeft"] * 5)
    assert "length 10" in changes(course, before)[0]
    page.keyboard.press("Control+s")
    page.wait_for_function("!window.jupyterapp.shell.currentWidget.context.model.dirty")
    page.reload()
    expect(notebook.widget("workbench-checkpoint-timeline").locator(".gtitle")).to_contain_text("length 10", timeout=60_000)
    timeline.screenshot(path=tmp_path / "checkpoint-timeline-late.png")

    notebook = lab.open(page, "03_othello_explorer")
    notebook.run_all()
    explorer = notebook.widget("othello-explorer")
    expect(explorer.locator("[data-place=boards] svg").first).to_be_visible()


def test_the_mechanism_is_explored(lab, page, tmp_path):
    notebook = lab.open(page, "02_set_complement_mechanism")
    notebook.run_all()
    widget = notebook.widget("workbench-displacement-explorer")
    tables, summary = shows(widget, 2)
    before = data(summary)
    notebook.slide(widget.locator(".control-length"), summary, ["ArrowLeft"] * 4)
    assert "length 27" in changes(summary, before)[0]
    before = data(summary)
    notebook.click_point(tables, "2", 14, 7)
    changes(summary, before)
    expect(tables).to_contain_text("D[7, 14]")
    page.wait_for_timeout(500)
    widget.screenshot(path=tmp_path / "displacement-explorer.png")
    widget.locator(".workbench-export").click()
    expect(widget.get_by_role("status")).to_contain_text("written: ", timeout=60_000)
    assert (lab.folder / "exports" / "displacement-explorer-2.pdf").read_bytes().startswith(b"%PDF")
    is_quick(lab, notebook, widget.locator(".control-length"), summary)

    attention = notebook.widget("workbench-attention-explorer")
    pattern, rows = shows(attention, 2)
    before = data(rows)
    attention.locator(".control-model select").select_option("othello-mini-none, raw")
    changes(rows, before)
    notebook.slide(attention.locator(".control-length"), pattern, ["End"])
    expect(pattern).to_contain_text("dispersion / ln 59")
    before = data(rows)
    notebook.click_point(pattern, "", 2, 3)
    changes(rows, before)
    expect(pattern).to_contain_text("attention of layer 3, head 2")
    page.wait_for_timeout(500)
    attention.screenshot(path=tmp_path / "attention-explorer.png")
    is_quick(lab, notebook, attention.locator(".control-length"), pattern)


AT_ONCE = """
from workbench.widgets.ablation_map import AblationMap
AblationMap(["othello-mini-none"], sequences=16)
"""


def test_the_ablation_map_is_there_before_it_is_measured(lab, page, tmp_path):
    notebook = opened(lab, page, "at-once", [AT_ONCE])
    notebook.run_all()
    widget = notebook.widget("workbench-ablation-map")
    page.screenshot(path=tmp_path / "ablation-map-at-once.png")
    (plot,) = shows(widget, 1)
    expect(plot).to_contain_text("heads ablated by zero, 16 sequences", timeout=60_000)
    before = data(plot)
    notebook.click_point(plot, "", 3, 2)
    changes(plot, before)
    expect(plot).to_contain_text("layer 2, head 3")


def opened(lab, page, name: str, cells: list[str]):
    """A notebook of these cells, open."""
    made = [nbformat.v4.new_code_cell(cell) for cell in cells]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    nbformat.write(nbformat.v4.new_notebook(cells=made, metadata=kernel), lab.folder / f"{name}.ipynb")
    return lab.open(page, name)


TWO_VIEWS = [
    """
from workbench.widgets.checkpoint_timeline import CheckpointTimeline
timeline = CheckpointTimeline(["set-complement-v16-none-seed0"], sequences=20)
timeline
""",
    "timeline",
]


def test_a_second_view_goes_on_when_the_first_is_closed(lab, page):
    notebook = opened(lab, page, "two-views", TWO_VIEWS)
    notebook.run_all()
    shows(notebook.widget("workbench-checkpoint-timeline"), 1)
    second = page.locator(".workbench-checkpoint-timeline").nth(1)
    shows(second, 1)
    page.evaluate(
        """async () => {
            jupyterapp.shell.currentWidget.content.activeCellIndex = 0;
            await jupyterapp.commands.execute('notebook:delete-cell');
        }"""
    )
    expect(page.locator(".workbench-checkpoint-timeline")).to_have_count(1)
    left = notebook.widget("workbench-checkpoint-timeline")
    (course,) = shows(left, 1)
    before = data(course)
    notebook.slide(left.locator(".control-length"), course, ["ArrowLeft"])
    changes(course, before)


def test_a_head_is_clicked_on_the_ablation_map(lab, page, tmp_path):
    notebook = lab.open(page, "04_ablation")
    notebook.run_all()
    widget = notebook.widget("workbench-ablation-map")
    (plot,) = shows(widget, 1)
    expect(plot).to_contain_text("othello-mini-none, raw · heads ablated by zero, 64 sequences")
    before = data(plot)
    notebook.click_point(plot, "", 3, 2)
    changes(plot, before)
    expect(plot).to_contain_text("layer 2, head 3")
    widget.locator(".control-method select").select_option("mean")
    expect(plot).to_contain_text("othello-mini-none, raw is not measured by mean yet; press Measure")
    expect(plot).not_to_contain_text("ablated by zero")
    assert not any(plot.evaluate("plot => ['xaxis', 'yaxis', 'xaxis2', 'yaxis2'].map(axis => plot._fullLayout[axis].visible)"))
    page.wait_for_timeout(500)
    widget.screenshot(path=tmp_path / "ablation-map-not-measured.png")
    widget.get_by_role("button", name="Measure").click()
    expect(widget.get_by_role("status")).to_contain_text("measured by mean on 64", timeout=90_000)
    expect(plot).to_contain_text("othello-mini-none, raw · heads ablated by mean, 64 sequences")
    page.wait_for_timeout(500)
    widget.screenshot(path=tmp_path / "ablation-map.png")
    is_quick(lab, notebook, widget.locator(".control-length"), plot)


def test_a_model_is_trained_paused_and_watched(lab, page, tmp_path):
    notebook = lab.open(page, "07_train_and_watch")
    notebook.run_all()
    widget = notebook.widget("workbench-train-and-watch")
    (plot,) = shows(widget, 1)
    expect(widget.get_by_role("status")).to_contain_text("it is finished")
    before = data(plot)
    notebook.slide(widget.locator(".control-moment"), plot, ["Home"])
    assert changes(plot, before)[0] != before[0]

    widget.get_by_role("button", name="Stop").click()
    expect(widget.get_by_label("run", exact=True)).to_have_value("watched-2")
    before = data(plot)
    widget.get_by_role("button", name="Start").click()
    changes(plot, before)
    expect(widget.get_by_role("status")).to_contain_text("step ", timeout=30_000)
    widget.get_by_role("button", name="Pause").click()
    expect(widget.get_by_role("status")).to_contain_text("Start goes on with it", timeout=30_000)
    assert list((lab.folder / "runs" / "watched-2" / "checkpoints").glob("step_*/ema.safetensors"))
    expect(plot).to_contain_text("watched-2 · step ")
    assert all(inside(plot, panel) for panel in range(5)), "a panel's curves are out of its range"
    page.wait_for_timeout(500)
    widget.screenshot(path=tmp_path / "train-and-watch.png")
