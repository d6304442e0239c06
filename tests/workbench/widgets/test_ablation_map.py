import time

import numpy as np
import pandas as pd
import pytest

from workbench.ablation_map import ablation_map
from workbench.figures.drawn_data import drawn_data
from workbench.widgets import ablation_map as module
from workbench.widgets.ablation_map import AblationMap


@pytest.fixture(scope="module")
def explorer(othello_run):
    made = AblationMap([othello_run], sequences=24)
    made.background.wait(120)
    return made


UNMEASURED = "game, raw is not measured by {} yet; press Measure, or wait while that goes on"


def said(explorer):
    """What the picture says instead of showing something."""
    (note,) = explorer.pictures[0].layout.annotations
    return note.text


def visible(picture):
    return [trace for trace in picture.data if trace.visible is not False]


def test_it_shows_at_once_and_measures_a_coarse_map_beside(othello_run, monkeypatch, click):
    def slow(*arguments, report, **options):
        while True:  # until it is stopped
            report(0.25)
            time.sleep(0.01)

    monkeypatch.setattr(module, "ablation_map", slow)
    explorer = AblationMap([othello_run], sequences=24)
    assert explorer.background.running and said(explorer) == UNMEASURED.format("zero")
    while not explorer.background.bar.value:
        time.sleep(0.01)
    assert explorer.background.bar.value == 0.25 and "16 of 16 sequences" in explorer.background.message.value
    explorer.background.stop()
    explorer.background.wait(10)
    assert not explorer.background.running and "stopped" in explorer.background.message.value

    monkeypatch.setattr(module, "ablation_map", ablation_map)
    explorer.measure()
    explorer.background.wait(120)
    assert "24 sequences" in explorer.background.message.value
    click(explorer.pictures[0], 0, 1, 2)  # the map was not there when clicks were asked for
    assert (explorer.state["layer"], explorer.state["head"]) == (1, 2)


def test_the_bar_goes_forward_over_coarse_and_finer_maps(explorer):
    explorer.set(model="game, ema", method="resample")
    seen = []
    explorer.background.bar.observe(lambda change: seen.append(change["new"]), "value")
    explorer.measure()
    explorer.background.wait(120)
    shares = seen[: seen.index(0, 1)] if 0 in seen[1:] else seen
    assert shares == sorted(shares) and len(shares) > 10 and shares[-1] == 1
    assert explorer.view.tables["game, ema", "resample"]["sequences"].max() == 24


def test_cells_and_curves_are_those_of_the_ablation_map(explorer, othello_run, checked):
    explorer.set(model="game, raw", method="zero")
    explorer.measure()
    explorer.background.wait(120)
    assert "24 sequences" in explorer.background.message.value
    explorer.set(metric="total_variation", length=10, layer=1, head=2)
    frame = ablation_map(othello_run, sequences=24)
    rows = frame[frame["metric"] == "total_variation"]
    heat, around, clean, ablated = checked(explorer.figures()[0]).data
    expected = rows[rows["length"] == 10].pivot(index="layer", columns="head", values="difference").to_numpy(float)
    assert np.allclose(np.array(heat.z, float), expected, atol=1e-7)
    own = rows[(rows["layer"] == 1) & (rows["head"] == 2)].sort_values("length")
    assert np.allclose(clean.y, own["clean"], atol=1e-7) and np.allclose(ablated.y, own["value"], atol=1e-7)
    assert len(around.x) == 2 * len(own)


def test_the_table_of_an_export_says_what_it_is_of_and_has_the_interval(explorer, othello_run):
    explorer.set(model="game, raw", method="zero", metric="illegal_mass", length=10, layer=1, head=2)
    explorer.measure()
    explorer.background.wait(120)
    table = drawn_data(explorer.figures()[0])
    for column, value in dict(model="game, raw", method="zero", metric="illegal_mass", sequences=24).items():
        assert (table[column] == value).all()
    drawn = table[table["curve"] == "ablated"].set_index("x")
    frame = ablation_map(othello_run, sequences=24)
    own = frame[(frame["metric"] == "illegal_mass") & (frame["layer"] == 1) & (frame["head"] == 2)].set_index("length")
    expected = pd.DataFrame({end: own["clean"] + own[f"difference_{end}"] for end in ("low", "high")}).astype(float)
    assert np.allclose(drawn.loc[own.index, ["low", "high"]], expected, atol=1e-7) and (drawn["low"] < drawn["high"]).any()
    assert table.loc[table["curve"] == "clean", ["low", "high"]].isna().all(axis=None)


def test_what_is_not_measured_yet_is_no_other_models_picture_and_measuring_can_be_stopped(explorer):
    explorer.set(model="game, raw", method="zero", layer=0, head=0)
    assert explorer.pictures[0].layout.title.text.startswith("game, raw · heads ablated by zero, ")
    explorer.set(method="mean")
    assert said(explorer) == UNMEASURED.format("mean")
    assert not visible(explorer.pictures[0]) and not explorer.pictures[0].layout.title.text
    explorer.measure()
    explorer.background.stop()
    explorer.background.wait(120)
    assert "stopped" in explorer.background.message.value
    explorer.set(method="zero")
    assert not explorer.background.message.value and len(visible(explorer.pictures[0])) == 4


def test_a_click_chooses_a_head(explorer, click):
    click(explorer.pictures[0], 0, 1, 0)
    assert (explorer.state["layer"], explorer.state["head"]) == (1, 0)
    assert "layer 1, head 0" in explorer.pictures[0].layout.annotations[1].text


@pytest.mark.parametrize("place", [dict(layer=2), dict(head=3), dict(length=60)])
def test_a_head_or_length_that_a_model_does_not_have_is_one_sentence(explorer, place):
    asked = dict(length=10, layer=1, head=2) | place
    told = "game, raw has no layer {layer}, head {head} at length {length}; choose others".format_map(asked)
    with pytest.raises(ValueError, match=told):
        explorer.view.figure("game, raw", "zero", "illegal_mass", **asked)


def test_fewer_than_two_sequences_are_refused(othello_run):
    with pytest.raises(ValueError, match="sequences"):
        AblationMap([othello_run], sequences=1)
