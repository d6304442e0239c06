import pytest
from pydantic import ValidationError

from models.config import AveragingConfig, DropoutRates, ModelConfig, TaskConfig
from models.default_models import default_model
from models.tasks import make_task


@pytest.mark.parametrize(
    ("rates", "label"),
    [
        (DropoutRates(), "none"),
        (DropoutRates(attention=0.1), "attention 0.1"),
        (DropoutRates(embedding=0.1, attention=0.1, residual=0.1), "all 0.1"),
        (DropoutRates(embedding=0.1, residual=0.25), "embedding 0.1, residual 0.25"),
    ],
)
def test_dropout_labels(rates, label):
    assert rates.label == label


@pytest.mark.parametrize(
    "bad",
    [
        lambda: DropoutRates(attention=1.0),
        lambda: DropoutRates(attention=-0.1),
        lambda: ModelConfig(vocab=2, context=1),
        lambda: ModelConfig(vocab=5, context=4, norm="post"),
        lambda: ModelConfig(vocab=5, context=4, widht=3),
        lambda: TaskConfig(name="chess"),
        lambda: TaskConfig(name="set-complement"),
        lambda: TaskConfig(name="set-complement", vocab=2),
        lambda: TaskConfig(name="othello", vocab=61),
        lambda: TaskConfig(name="brackets", vocab=4),
        lambda: TaskConfig(name="brackets", kinds=1),
        lambda: TaskConfig(name="set-complement", vocab=6, depth=3),
        lambda: AveragingConfig(decay=1.0),
    ],
)
def test_bad_values_and_unknown_keys_are_errors(bad):
    with pytest.raises(ValidationError):
        bad()


@pytest.mark.parametrize(
    "config",
    [TaskConfig(name="set-complement", vocab=32), TaskConfig(name="othello"), TaskConfig(name="othello", board=6)]
    + [TaskConfig(name="brackets"), TaskConfig(name="brackets", kinds=5, depth=3)],
    ids=str,
)
def test_the_default_model_fits_its_task(config):
    task, model = make_task(config), default_model(config)
    assert (model.vocab, model.context) == (task.vocab, task.longest)


def test_averaging_formulas():
    constant = AveragingConfig()
    assert constant.beta(1) == pytest.approx(1 - 2 / 11)
    assert constant.beta(10**6) == pytest.approx(0.001)
    power = AveragingConfig(schedule="power")
    assert power.beta(90) == pytest.approx(0.1)
    assert power.alpha(1) == pytest.approx(11**-0.2)
