import numpy as np
import pytest
from plotly.callbacks import Points

from workbench.ablation_map import ablation_map
from workbench.widgets.ablation_map import AblationMap


@pytest.fixture(scope="module")
def explorer(othello_run):
    return AblationMap([othello_run], sequences=24)


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


def test_what_is_not_measured_yet_is_a_sentence_and_measuring_can_be_stopped(explorer):
    explorer.set(method="mean")
    assert "press Measure" in explorer.background.message.value
    explorer.measure()
    explorer.background.stop()
    explorer.background.wait(120)
    assert "stopped" in explorer.background.message.value
    explorer.set(method="zero")
    assert not explorer.background.message.value


def test_a_click_chooses_a_head(explorer):
    explorer._choose(None, Points(xs=[0], ys=[1]), None)
    assert (explorer.state["layer"], explorer.state["head"]) == (1, 0)
    assert "layer 1, head 0" in explorer.pictures[0].layout.annotations[1].text
