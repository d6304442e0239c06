import torch

from models.checkpoint import find_checkpoint, read_weights
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
