import numpy as np
import pytest
import torch

from models.hooked import load
from workbench.comparison import compare
from workbench.figures.theme import PALETTE
from workbench.metrics import METRICS
from workbench.widgets import length_explorer
from workbench.widgets.length_explorer import LengthExplorer
from workbench.widgets.metric_panels import PANELS


@pytest.fixture(scope="module")
def explorer(runs):
    return LengthExplorer(runs, sequences=30)


def curves(figure, panel):
    axis = "y" if panel == 1 else f"y{panel}"
    return {trace.name: trace for trace in figure.data if trace.yaxis == axis and trace.mode == "lines+markers"}


def test_curves_are_the_means_over_seeds_of_the_comparison(explorer, runs, checked):
    table = compare(runs, sequences=30)
    explorer.set(seed="all", length=4)
    figure = checked(explorer.figures()[0])
    for panel, metric in enumerate(PANELS, start=1):
        drawn = curves(figure, panel)
        dropouts = ("no dropout", "dropout attention 0.1")
        assert set(drawn) == {f"{dropout}, {weights}" for dropout in dropouts for weights in ("raw", "ema", "bema")}
        rows = table[(table["metric"] == metric) & (table["dropout"] == "none") & (table["weights"] == "ema")]
        expected = rows.groupby("length")["value"].mean()
        kept = np.asarray(drawn["no dropout, ema"].customdata)[:, 0].astype(float)
        assert np.allclose(kept, expected) and list(drawn["no dropout, ema"].x) == list(expected.index)
        if not METRICS[metric].log:
            assert np.allclose(np.asarray(drawn["no dropout, ema"].y, float), expected)


def test_the_chosen_length_and_the_training_length_are_marked_in_every_panel(explorer):
    explorer.set(length=5)
    lines = [(line.xref, line.x0) for line in explorer.pictures[0].layout.shapes]
    assert sorted(lines) == sorted((axis, at) for axis in ("x", "x2", "x3", "x4", "x5") for at in (3, 5))


def test_one_seed_is_shown_alone_and_hidden_curves_return(explorer):
    explorer.set(seed="1")
    boxes = explorer.controls["weights"].boxes
    boxes["ema"].value = boxes["bema"].value = False
    visible = {trace.name for trace in explorer.pictures[0].data if trace.visible is not False}
    assert visible == {"no dropout, raw", "dropout attention 0.1, raw"}
    boxes["ema"].value = boxes["bema"].value = True
    explorer.set(seed="all")
    assert len({trace.name for trace in explorer.pictures[0].data if trace.visible is not False and trace.name}) == 6


def test_nothing_chosen_is_a_sentence(explorer):
    boxes = explorer.controls["dropout"].boxes.values()
    for box in boxes:
        box.value = False
    assert "check a box in each row" in explorer.background.message.value
    for box in boxes:
        box.value = True
    assert not explorer.background.message.value


def test_the_example_shows_the_model_that_was_chosen(explorer, runs, checked):
    explorer.set(model="attention-1, ema", example=2, length=4)
    attention, uniform, legal, illegal, target = checked(explorer.figures()[1]).data
    read = explorer.view.variants.example("attention-1, ema", 2)
    model = load(runs[3], weights="ema")
    probability = model(torch.from_numpy(read.tokens[:4])[None])[0, -1].double().softmax(-1).detach().numpy()
    bars = np.nansum([np.asarray(legal.y, float), np.asarray(illegal.y, float)], axis=0)
    assert np.allclose(bars, probability, atol=1e-6) and np.allclose(uniform.y, 1 / 4)
    assert set(np.flatnonzero(~np.isnan(np.asarray(illegal.y, float)))) == set(read.tokens[:4])
    assert np.isclose(sum(attention.y), 1) and len(attention.y) == 4 and np.isclose(sum(target.y), 1)
    assert illegal.marker.color == PALETTE[1]


def test_checkpoints_of_several_tasks_are_refused_before_anything_is_measured(runs, othello_run, monkeypatch):
    monkeypatch.setattr(length_explorer, "compare", lambda *_, **__: pytest.fail("measured first"))
    with pytest.raises(ValueError, match=r"Othello \(game\), set complement, v = 8 \(none-0, none-1\); give those of one"):
        LengthExplorer([*runs[:2], othello_run])


def test_games_that_end_early_show_their_last_length(othello_run, checked):
    explorer = LengthExplorer([othello_run], sequences=4)
    explorer.set(length=59, example=0)
    for figure in explorer.figures():
        checked(figure)
    assert len(explorer.pictures[1].data[2].x) == 61 and not explorer.background.message.value
