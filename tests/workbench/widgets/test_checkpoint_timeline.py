import numpy as np
import pytest

from workbench.comparison import compare
from workbench.widgets import checkpoint_timeline
from workbench.widgets.checkpoint_timeline import CheckpointTimeline, TimelineView
from workbench.widgets.metric_panels import PANELS


def test_every_length_shows_its_own_rows(runs, checked):
    table = compare(runs, sequences=20, steps="all")
    timeline = CheckpointTimeline(runs, table)
    for length in (1, 4, 7):
        timeline.set(length=length)
        figure = checked(timeline.figures()[0])
        assert f"length {length}, {'seen' if length <= 3 else 'longer'}" in timeline.pictures[0].layout.title.text
        for panel, metric in enumerate(PANELS):
            drawn = [trace for trace in figure.data if trace.name == "dropout attention 0.1, bema"][panel]
            rows = table[(table["metric"] == metric) & (table["length"] == length)]
            rows = rows[(rows["dropout"] == "attention 0.1") & (rows["weights"] == "bema")]
            expected = rows.groupby("step")["value"].mean()
            assert list(drawn.x) == [100, 1000] == list(expected.index)
            assert np.allclose(np.asarray(drawn.customdata)[:, 0].astype(float), expected)
    assert not timeline.background.message.value


def test_weights_are_chosen_and_one_step_is_no_course(runs):
    timeline = CheckpointTimeline(runs, compare(runs, sequences=5, steps="all"))
    timeline.controls["weights"].boxes["raw"].value = False
    names = {trace.name for trace in timeline.pictures[0].data if trace.visible is not False and trace.name}
    dropouts = ("no dropout", "dropout attention 0.1")
    assert names == {f"{dropout}, {weights}" for dropout in dropouts for weights in ("ema", "bema")}
    for box in timeline.controls["weights"].boxes.values():
        box.value = False
    said = "no checkpoint has these dropout rates and weights; check a box in each row"
    assert said in timeline.background.message.value and not [t for t in timeline.pictures[0].data if t.visible is not False]
    timeline.controls["weights"].boxes["ema"].value = True
    assert not timeline.background.message.value and timeline.state["weights"] == ("ema",)
    with pytest.raises(ValueError, match="two training steps"):
        TimelineView(compare(runs, sequences=5))


def test_runs_of_several_tasks_are_refused_before_anything_is_measured(runs, othello_run, monkeypatch):
    monkeypatch.setattr(checkpoint_timeline, "compare", lambda *_, **__: pytest.fail("measured first"))
    with pytest.raises(ValueError, match="of several tasks or vocabularies"):
        CheckpointTimeline([runs[0], othello_run])
