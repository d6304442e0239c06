"""Every explorer's pictures and their data as files, and what every explorer says of one path where it takes a list."""

import pandas as pd
import pytest

from workbench.figures.export import find_browser
from workbench.widgets.ablation_map import AblationMap
from workbench.widgets.attention_explorer import AttentionExplorer
from workbench.widgets.checkpoint_timeline import CheckpointTimeline
from workbench.widgets.displacement_explorer import DisplacementExplorer
from workbench.widgets.length_explorer import LengthExplorer
from workbench.widgets.train_and_watch import TrainAndWatch

needs_browser = pytest.mark.skipif(find_browser() is None, reason="no Chrome or Chromium found")


def lengths(runs, othello_run, folder):
    explorer = LengthExplorer(runs, sequences=5)
    explorer.set(model="attention-1, ema", example=2, length=4)
    return explorer, [{}, dict(model="attention-1, ema", example=2, length=4)]


def timeline(runs, othello_run, folder):
    return CheckpointTimeline(runs, sequences=5), [{}]


def displacement(runs, othello_run, folder):
    explorer = DisplacementExplorer(runs)
    explorer.set(model="attention-1, ema")
    return explorer, [dict(model="attention-1, ema", tables="as in the weights"), dict(model="attention-1, ema")]


def attention(runs, othello_run, folder):
    explorer = AttentionExplorer([othello_run])
    explorer.set(model="game, bema", example=3, layer=1, head=2, length=12)
    return explorer, [dict(model="game, bema", example=3, layer=1, head=2, length=12)] * 2


def ablation(runs, othello_run, folder):
    explorer = AblationMap([othello_run], sequences=4)
    explorer.background.wait(60)
    return explorer, [dict(model="game, raw", method="zero", sequences=4)]


def training(runs, othello_run, folder):
    watch = TrainAndWatch(folder / "runs")
    watch.set(vocab=6, train_length=3, steps=100)
    watch.start()
    watch.background.wait(60)
    return watch, [dict(run="watched-1", step=100)]


EXPLORERS = {make.__name__: make for make in (lengths, timeline, displacement, attention, ablation, training)}


DRAWN = ("displacement", "ablation")
"""Explorers whose pictures a browser draws, too, which takes seconds."""


@pytest.mark.parametrize(
    ("name", "format"),
    [*((name, "html") for name in EXPLORERS), *(pytest.param(name, "svg", marks=needs_browser) for name in DRAWN)],
)
def test_every_picture_is_written_with_its_data_and_what_it_is_of(name, format, runs, othello_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    explorer, facts = EXPLORERS[name](runs, othello_run, tmp_path)
    stem = explorer.export_box.name.value
    explorer.export_box.format.value = format
    explorer.export_box.button.click()
    explorer.background.wait(100)
    assert explorer.background.message.value.startswith('<span role="status" style="color:#444444">written: ')
    assert len(facts) == len(explorer.pictures)
    for number, (picture, told) in enumerate(zip(explorer.pictures, facts, strict=True), start=1):
        drawn = (tmp_path / "exports" / f"{stem}-{number}.{format}").read_text()
        assert len(drawn) > 2000
        if format == "svg":
            assert drawn.count("<path") > 10 and "<svg" in drawn
        table = pd.read_csv(tmp_path / "exports" / f"{stem}-{number}.csv")
        assert len(table) >= max(len(trace.x if trace.x is not None else trace.z[0]) for trace in picture.data) > 0
        assert {"panel", "x", "y"} <= set(table)
        for column, value in told.items():
            assert (table[column] == value).all(), column


MANY = [LengthExplorer, CheckpointTimeline, DisplacementExplorer, AttentionExplorer, AblationMap]


@pytest.mark.parametrize("explorer", MANY)
def test_one_path_in_place_of_a_list_is_one_sentence(explorer):
    with pytest.raises(ValueError, match=r"'some-run' is one path, expected a list of them; give \['some-run'\]"):
        explorer("some-run")
