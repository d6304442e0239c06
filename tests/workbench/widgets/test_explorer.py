import pandas as pd
import plotly.graph_objects as go
import pytest

from workbench.widgets.choices import Choices
from workbench.widgets.explorer import Explorer, dropdown, slider


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


def test_an_error_leaves_the_picture_and_is_one_sentence_until_it_is_mended(explorer):
    explorer.set(power=3)
    assert "3 is not drawn; choose another" in explorer.background.message.value
    assert list(explorer.pictures[0].data[0].y) == [1, 4, 9]
    explorer.set(power=5)
    assert not explorer.background.message.value and list(explorer.pictures[0].data[0].y) == [1, 32, 243]


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
