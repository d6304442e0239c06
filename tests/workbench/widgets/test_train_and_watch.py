import time

import pytest
import torch

from models.checkpoint import find_checkpoint, read_card, read_weights
from models.hooked import load
from workbench.training import train
from workbench.widgets.checkpoint_timeline import CheckpointTimeline
from workbench.widgets.train_and_watch import TrainAndWatch, quick_config

SETTINGS = dict(vocab=6, train_length=3, steps=120, seed=4, embedding=0.0, attention=0.1, residual=0.0, decay=0.9, eta=0.2)


def test_a_watched_run_is_an_ordinary_run_whatever_its_pauses(tmp_path, checked):
    watch = TrainAndWatch(tmp_path / "runs")
    assert watch.pictures[0].layout.annotations[0].text.startswith("press Start")
    watch.set(**SETTINGS)
    watch.start()
    watch.pause()
    watch.background.wait(60)
    assert "Start goes on with it" in watch.background.message.value
    watch.start()
    watch.background.wait(60)
    assert "it is finished" in watch.background.message.value

    train(quick_config(**SETTINGS), tmp_path / "plain")
    for weights in ("raw", "ema", "bema"):
        watched, plain = (read_weights(find_checkpoint(run), weights) for run in (watch.run, tmp_path / "plain"))
        assert all(torch.equal(watched[name], plain[name]) for name in plain)
    assert load(watch.run, weights="ema").card.model.dropout.attention == 0.1
    assert len(CheckpointTimeline([watch.run], sequences=5).pictures[0].data) >= 15

    last = watch.view.moments[-1].table
    assert set(last["weights"]) == {"raw", "ema", "bema"} and (last["step"] == 120).all()
    assert "step 120 of 120" in watch.pictures[0].layout.title.text
    checked(watch.figures()[0])
    watch.set(moment=1)
    assert watch.view.moments[0].title == watch.pictures[0].layout.title.text


def test_the_next_run_has_a_new_name_and_impossible_settings_are_a_sentence(tmp_path):
    watch = TrainAndWatch(tmp_path)
    watch.set(**SETTINGS | dict(steps=100))
    watch.start()
    watch.stop()
    assert watch.name.value == "watched-2" and find_checkpoint(tmp_path / "watched-1")
    watch.set(train_length=20)
    watch.start()
    watch.background.wait(60)
    assert "train length 20 is longer than 5" in watch.background.message.value and not (tmp_path / "watched-2").exists()


def test_background_work_that_is_stopped_leaves_a_run_that_goes_on(tmp_path):
    watch = TrainAndWatch(tmp_path)
    watch.set(**SETTINGS | dict(steps=20_000))
    steps = []
    for _ in range(2):
        seen = len(watch.view.moments)
        watch.start()
        while len(watch.view.moments) == seen and watch.background.running:
            time.sleep(0.01)
        watch.background.stop()
        watch.background.wait(60)
        assert f"saved as '{watch.run}'; Start goes on with it" in watch.background.message.value
        steps.append(read_card(find_checkpoint(watch.run)).step)
    assert 0 < steps[0] < steps[1] < 20_000


def run_to_its_end(watch):
    watch.start()
    watch.background.wait(60)
    return watch.background.message.value


def test_moments_belong_to_the_run_that_is_shown_and_titles_name_it(tmp_path):
    watch = TrainAndWatch(tmp_path)
    watch.set(**SETTINGS | dict(steps=100))
    assert "it is finished" in run_to_its_end(watch)
    first = list(watch.view.moments)
    watch.name.value = "other"
    watch.set(seed=5)
    assert "it is finished" in run_to_its_end(watch)
    assert {moment.run for moment in watch.view.moments} == {"other"}
    assert watch.controls["moment"].max == len(watch.view.moments) and "other · step 100" in watch.pictures[0].layout.title.text

    again = TrainAndWatch(tmp_path)  # another session: "other" is there already, and nothing of it was measured here
    again.set(**SETTINGS | dict(steps=100))
    again.name.value = "third"
    assert "it is finished" in run_to_its_end(again)
    again.name.value = "other"
    again.set(seed=5, steps=120)
    assert "it is finished" in run_to_its_end(again)
    assert {moment.run for moment in again.view.moments} == {"other"} and again.view.moments[-1].step == 120

    watch.name.value = "watched-1"
    watch.set(seed=4, steps=120)
    assert "it is finished" in run_to_its_end(watch)
    assert watch.view.moments[: len(first)] == first and watch.controls["moment"].max == len(watch.view.moments) > len(first)


def test_other_settings_after_a_pause_are_one_sentence_with_the_remedies_of_the_widget(tmp_path):
    watch = TrainAndWatch(tmp_path)
    watch.set(**SETTINGS | dict(steps=100))
    run_to_its_end(watch)
    watch.set(vocab=16, attention=0.3)
    said = "watched-1 was begun with vocabulary 6, attention dropout 0.1; set that again to go on with it, or press Stop"
    assert said in run_to_its_end(watch)
    watch.stop()
    assert "watched-2" in run_to_its_end(watch) and watch.view.moments[-1].run == "watched-2"


@pytest.mark.parametrize("name", ["a/b/../c", "", "  ", "..", ".", "/tmp/elsewhere"])
def test_a_run_has_a_plain_name(tmp_path, name):
    watch = TrainAndWatch(tmp_path / "runs")
    watch.name.value = name
    assert f"'{name.strip()}' cannot be the name of a run; give a plain name" in run_to_its_end(watch)
    assert not list(tmp_path.iterdir())


def test_before_the_start_there_is_a_sentence_and_nothing_to_export(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    watch = TrainAndWatch()
    assert watch.figures()[0].layout.annotations[0].text.startswith("press Start")
    watch.export_box.button.click()
    assert "press Start" in watch.background.message.value and not list(tmp_path.iterdir())
