import pandas as pd
import plotly.graph_objects as go
import pytest

from workbench.figures import browser as browser_module
from workbench.widgets.choices import Choices
from workbench.widgets.explorer import Explorer, NothingYet, dropdown, slider
from workbench.widgets.redraw import figure_of


@pytest.fixture
def explorer(tmp_path, monkeypatch):
    """Two pictures: one of `power` and `word`, one of `word` alone; `drawn` counts how often each was drawn."""
    monkeypatch.chdir(tmp_path)
    drawn = {"curve": 0, "sign": 0}

    def curve(power: int, word: str) -> go.Figure:
        drawn["curve"] += 1
        if power == 3:
            raise ValueError("3 is not drawn; choose another")
        return go.Figure(go.Scatter(x=[1, 2, 3], y=[at**power for at in (1, 2, 3)], name=word))

    def sign(word: str) -> go.Figure:
        drawn["sign"] += 1
        return go.Figure(layout_title_text=word)

    made = Explorer(
        "trial", {"power": slider("power", 1, 5, 2), "word": dropdown("word", ["a", "b"])}, [["power", "word"]], [curve, sign]
    )
    made.drawn = drawn
    return made


def test_a_moved_control_redraws_the_pictures_that_depend_on_it(explorer):
    assert explorer.drawn == {"curve": 1, "sign": 1}
    explorer.set(power=4)
    assert list(explorer.pictures[0].data[0].y) == [1, 16, 81] and explorer.drawn == {"curve": 2, "sign": 1}
    explorer.set(word="b")
    assert explorer.pictures[1].layout.title.text == "b" == explorer.pictures[0].data[0].name
    assert explorer.drawn == {"curve": 3, "sign": 2}


def texts(picture):
    """What a picture says in words."""
    return [note.text for note in picture.layout.annotations]


def visible(picture):
    return [trace for trace in picture.data if trace.visible is not False]


def test_an_error_is_one_sentence_in_place_of_the_picture_until_it_is_mended(explorer):
    explorer.set(power=3)
    assert "3 is not drawn; choose another" in explorer.background.message.value
    assert texts(explorer.pictures[0]) == ["3 is not drawn; choose another"] and not visible(explorer.pictures[0])
    explorer.set(word="b")  # the other picture goes on, and the sentence stays
    assert explorer.pictures[1].layout.title.text == "b" and "3 is not drawn" in explorer.background.message.value
    explorer.set(power=5)
    assert not explorer.background.message.value and not texts(explorer.pictures[0])
    assert list(visible(explorer.pictures[0])[0].y) == [1, 32, 243]


def test_where_nothing_is_there_yet_the_first_picture_is_its_sentence_and_is_not_exported(tmp_path, monkeypatch, click):
    monkeypatch.chdir(tmp_path)
    rows: list[list[int]] = []

    def table(scale: int) -> go.Figure:
        if not rows:
            raise NothingYet("press Measure")
        return go.Figure(go.Heatmap(z=[[scale * cell for cell in row] for row in rows]))

    chosen = []
    made = Explorer("trial", {"scale": slider("scale", 1, 5, 2)}, [["scale"]], [table])
    made.pictures[0].on_cell([0], lambda row, column: chosen.append((row, column)))
    assert texts(made.pictures[0]) == texts(made.figures()[0]) == ["press Measure"]
    made.export_box.button.click()
    assert "press Measure" in made.background.message.value and not (tmp_path / "exports").exists()
    rows.append([1, 2])
    made.renew()
    assert not texts(made.pictures[0]) and not made.background.message.value
    click(made.pictures[0], 0, 0, 1)
    assert chosen == [(0, 1)]


def test_a_state_that_cannot_be_drawn_is_not_exported_and_said_so(explorer, tmp_path):
    explorer.set(power=3)
    explorer.background.say("")
    explorer.export_box.button.click()
    assert "3 is not drawn; choose another" in explorer.background.message.value
    assert not (tmp_path / "exports").exists()


def test_export_writes_what_is_on_screen_and_its_data(explorer, tmp_path):
    explorer.set(power=4)
    explorer.export_box.format.value = "html"
    explorer.export_box.button.click()
    explorer.background.wait(60)
    assert {path.name for path in (tmp_path / "exports").glob("trial*")} == {
        "trial-1.html",
        "trial-1.csv",
        "trial-2.html",
        "trial-2.csv",
    }
    assert list(pd.read_csv(tmp_path / "exports" / "trial-1.csv")["y"]) == [1, 16, 81]
    assert "exports/trial-1.html" in explorer.background.message.value


def test_a_figure_of_unchecked_parts_is_exported(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    halves = dict(xaxis=dict(domain=(0, 0.4)), xaxis2=dict(domain=(0.6, 1)))  # plotly can read no tuple that it has not checked

    def pair(scale: int) -> go.Figure:
        return figure_of([dict(type="scatter", x=[1], y=[scale]), dict(type="scatter", x=[2], y=[3], xaxis="x2")], halves)

    made = Explorer("pair", {"scale": slider("scale", 1, 5, 2)}, [["scale"]], [pair])
    made.export_box.format.value = "html"
    made.export_box.button.click()
    made.background.wait(60)
    assert (
        list(pd.read_csv(tmp_path / "exports" / "pair-1.csv")["y"]) == [2, 3] and "pair-1.html" in made.background.message.value
    )


@pytest.mark.parametrize("browser", ["absent", "failing"])
def test_where_there_is_html_instead_the_status_line_says_why(explorer, tmp_path, monkeypatch, browser):
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / browser))
    if browser == "failing":
        (tmp_path / browser).write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / browser).chmod(0o755)
        monkeypatch.setattr(browser_module, "START_SECONDS", 5)
        monkeypatch.setattr(browser_module, "FIGURE_SECONDS", 0)
    explorer.export_box.format.value = "pdf"
    explorer.export_box.button.click()
    explorer.background.wait(60)
    said = explorer.background.message.value
    why = {"absent": "no Chrome or Chromium found at BROWSER_PATH", "failing": "failing failed ("}[browser]
    assert "exports/trial-1.html" in said and why in said and "make system" in said


@pytest.mark.parametrize("name", ["", "../up", "a/b"])
def test_a_name_that_is_no_file_name_is_refused(explorer, tmp_path, name):
    explorer.export_box.name.value = name
    explorer.export_box.button.click()
    explorer.background.wait(60)
    assert "cannot be the name of a file" in explorer.background.message.value and not (tmp_path / "exports").exists()


def test_choices_are_the_checked_boxes_in_their_order():
    choices = Choices(["a", "b", "c"], "some", chosen=["c", "a"])
    assert choices.value == ("a", "c")
    choices.boxes["b"].value = True
    choices.boxes["a"].value = False
    assert choices.value == ("b", "c")
