import pytest

from models.config import ModelConfig, TaskConfig
from models.hooked import hook
from models.set_complement.task import SetComplementTask
from models.transformer import Transformer
from probes.entropy_at_initialisation import entropy_at_initialisation

from .othello_models import small_checkpoint

SETS = TaskConfig(name="set-complement", vocab=9)
SHAPE = ModelConfig(vocab=9, context=8, layers=2, heads=2, width=16, head_width=8, norm="pre", positions="learned")


def test_entropy_goes_from_uniform_to_one_hot_as_weights_grow(tmp_path):
    path = small_checkpoint(tmp_path / "sets", SHAPE, SETS)
    frame = entropy_at_initialisation(path, scales=(1e-3, 1.0, 10.0, 1e4), seeds=3, sequences=20)
    by_scale = frame.groupby("scale")["value"].mean()
    assert by_scale[1e-3] > 0.9999 and by_scale[1e4] < 0.05
    assert by_scale.is_monotonic_decreasing
    assert set(frame["length"]) == set(range(2, 9)) and set(frame["layer"]) == {0, 1}
    assert (frame["sequences"] == 3).all() and (frame["ci_low"] <= frame["ci_high"]).all()


def test_trained_weights_do_not_matter(tmp_path):
    paths = [small_checkpoint(tmp_path / f"seed{seed}", SHAPE, SETS, Transformer(SHAPE, seed).state_dict()) for seed in (5, 6)]
    frames = [entropy_at_initialisation(path, scales=(2.0,), seeds=2, sequences=10) for path in paths]
    assert frames[0]["value"].tolist() == frames[1]["value"].tolist()


def test_what_cannot_be_is_refused(tmp_path):
    path = small_checkpoint(tmp_path / "sets", SHAPE, SETS)
    with pytest.raises(ValueError, match="scale 0"):
        entropy_at_initialisation(path, scales=(0.0,))
    with pytest.raises(ValueError, match="1 initialisations"):
        entropy_at_initialisation(path, seeds=1)
    with pytest.raises(ValueError, match="no card to tell its shape"):
        entropy_at_initialisation(hook(SHAPE, Transformer(SHAPE).state_dict()), SetComplementTask(9))
