import os
import subprocess
import sys

import numpy as np
import plotly
import plotly.graph_objects as go
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.widgets.plotly_in_page import plotly_script
from workbench.widgets.redraw import CHOSEN, LiveFigure, cells, figure_of

LINE = st.fixed_dictionaries(
    {"type": st.just("scatter"), "y": st.lists(st.integers(-5, 5), min_size=1, max_size=4).map(np.array)},
    optional={"name": st.sampled_from("ab"), "line": st.fixed_dictionaries({"width": st.integers(1, 3)})},
)
HEAT = st.fixed_dictionaries({"type": st.just("heatmap"), "z": st.just([[1.0, None], [2.0, 3.0]]), "zmax": st.integers(3, 5)})
SHAPES = st.lists(st.fixed_dictionaries({"type": st.just("line"), "x0": st.integers(0, 3)}), max_size=3)
SETTINGS = {"shapes": SHAPES, "height": st.integers(100, 103), "title": st.just({"text": "t"})}
LAYOUT = st.fixed_dictionaries({}, optional=SETTINGS)
FIGURE = st.tuples(st.lists(LINE | HEAT, min_size=1, max_size=4), LAYOUT)


def shown(figure):
    """What is visible of a figure, without what is empty and the identities that plotly gives to live traces."""
    traces = [trace.to_plotly_json() for trace in figure.data if trace.visible is not False]
    layout = {**figure.layout.to_plotly_json(), "template": None}
    return _plain([{**trace, "uid": None, "visible": None} for trace in traces]), _plain(layout)


def _plain(value):
    if isinstance(value, dict):
        kept = {key: _plain(inner) for key, inner in value.items()}
        return {key: inner for key, inner in kept.items() if inner not in (None, {}, [])}
    return [_plain(inner) for inner in value] if isinstance(value, (list, tuple, np.ndarray)) else value


@settings(max_examples=25)
@given(st.lists(FIGURE, min_size=2, max_size=4))
def test_a_live_figure_becomes_any_other_figure_also_to_a_page_that_is_new(course):
    live = LiveFigure(figure_of(*course[0]))
    for traces, layout in course[1:]:
        target = figure_of(traces, layout)
        live.redraw(target)
        expected = shown(go.Figure(dict(data=traces, layout=layout)))
        assert shown(live) == expected
        state = live.get_state()
        assert shown(go.Figure(state["_widget_data"], state["_widget_layout"])) == expected
        assert live.get_state("chosen_lines") == {"chosen_lines": []}  # of one thing nothing else is told


def lines_at(at, name):
    """Twenty lines, the last of which stands at `at` and has a name."""
    lines = [dict(type="line", x0=number, x1=number, y0=0, y1=1) for number in range(19)]
    moved = dict(type="line", x0=at, x1=at, y0=0, y1=1, name=name)
    return figure_of([dict(type="scatter", y=np.arange(5))], dict(shapes=[*lines, moved]))


def messages(live):
    """What a live figure sends to the page from now on."""
    sent = []
    for name in ("_py2js_update", "_py2js_restyle", "_py2js_relayout", "_py2js_addTraces", "_py2js_deleteTraces"):
        live.observe(lambda change: sent.append(change["new"]) if change["new"] else None, name)
    return sent


def test_a_page_that_comes_up_late_is_told_all_again(monkeypatch):
    live = LiveFigure(lines_at(2, name=CHOSEN))
    live.redraw(lines_at(4, name=CHOSEN))
    told = []
    monkeypatch.setattr(live.comm, "publish_msg", lambda kind, data=None, **_: told.append(data["state"]))
    page_says(live, moves_lines=True)
    assert not [state for state in told if "_widget_data" in state]
    page_says(live, late_pages=1)
    (whole,) = (state for state in told if "_widget_data" in state)
    assert whole == live.get_state() and whole["moves_lines"] and whole["late_pages"] == 1
    assert shown(go.Figure(whole["_widget_data"], whole["_widget_layout"])) == shown(lines_at(4, name=CHOSEN))


def page_says(live, **state):
    """A page sets traits of a live figure."""
    live.comm.handle_msg({"content": {"data": {"method": "update", "state": state}}, "buffers": []})


def test_a_script_that_was_closed_with_all_widgets_is_made_anew_for_the_next_figure():
    first, again = (LiveFigure(lines_at(0, name="other")).script for _ in range(2))
    assert again is first and plotly_script() is first
    first.close()
    after = LiveFigure(lines_at(0, name="other")).script
    assert after is not first and after.comm is not None and plotly_script() is after
    assert (after.code, after.version) == (first.code, plotly.__version__)


def test_another_line_than_a_chosen_one_is_sent_and_nothing_else():
    live = LiveFigure(lines_at(3, name="other"))
    sent = messages(live)
    live.redraw(lines_at(3, name="other"))
    assert not sent
    live.redraw(lines_at(4, name="other"))
    (message,) = sent
    assert list(message["layout_data"]) == ["shapes"] and not message["style_data"]


def test_a_chosen_line_is_left_to_the_page_to_move():
    live = LiveFigure(lines_at(2, name=CHOSEN))
    sent = messages(live)
    live.redraw(lines_at(3, name=CHOSEN))
    assert len(sent) == 1  # nobody there to move it
    live.moves_lines = True
    live.redraw(lines_at(4, name=CHOSEN))
    assert len(sent) == 1 and live.chosen_lines == [(19, 4)] and live.layout.shapes[19].x0 == 4


@pytest.mark.parametrize("seed", range(4))  # of Python's hashes, by which the order of keys would else be drawn
def test_an_axis_is_told_its_type_before_its_range(seed):
    order = """
from workbench.widgets.redraw import _news
linear, logarithmic = dict(yaxis=dict(visible=False)), dict(yaxis=dict(range=[-2, 0], tickvals=[0.1, 1], type="log"))
print(*_news(linear, logarithmic))
"""
    told = subprocess.run([sys.executable, "-c", order], env=os.environ | {"PYTHONHASHSEED": str(seed)}, capture_output=True)
    assert told.stdout.decode().split()[0] == "yaxis.type"


def test_a_cleared_picture_keeps_its_axes_unseen():
    scatter = dict(type="scatter", y=np.arange(1, 5))
    layout = dict(height=321, title=dict(text="t"), yaxis=dict(type="log", range=[-1, 1]), xaxis2=dict(range=[0, 2]))
    live = LiveFigure(figure_of([scatter], layout))
    live.clear("nothing")
    assert [note.text for note in live.layout.annotations] == ["nothing"] and live.data[0].visible is False
    assert live.layout.height == 321 and live.layout.title.text is None
    assert not live.layout.yaxis.visible and not live.layout.xaxis2.visible
    assert live.layout.yaxis.type == "log" and live.layout.yaxis.range == (-1, 1)
    live.redraw(figure_of([scatter], layout))
    assert live.layout.yaxis.visible is None and live.data[0].visible is None and not live.layout.annotations


def test_what_only_tables_say_is_not_sent():
    live = LiveFigure(figure_of([dict(type="scatter", y=np.arange(5))], dict(meta=dict(length=3))))
    sent = messages(live)
    live.redraw(figure_of([dict(type="scatter", y=np.arange(5))], dict(meta=dict(length=4))))
    assert not sent and live.layout.meta is None


def test_gaps_are_none_as_json_has_no_nan():
    assert cells(np.array([[1.0, np.nan]])) == [[1.0, None]]
