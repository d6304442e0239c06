import numpy as np
import pytest
import scipy.stats
import torch

from models.hooked import load
from models.tasks import make_task
from workbench.widgets.example import read_example


@pytest.mark.parametrize("run", ["runs", "othello_run"])
def test_an_example_is_what_the_model_itself_gives(run, request):
    found = request.getfixturevalue(run)
    model = load(found[0] if isinstance(found, list) else found)
    task = make_task(model.card.task)
    read = read_example(model, task, 3)
    tokens = torch.from_numpy(read.tokens)[None]
    logits, cache = model.run_with_cache(tokens)
    assert np.allclose(read.probability, logits[0].detach().double().softmax(-1).numpy(), atol=1e-12)
    for layer in range(model.cfg.n_layers):
        pattern = cache["pattern", layer][0].detach().numpy()
        assert np.array_equal(read.pattern[layer], pattern.astype(float))
        expected = scipy.stats.entropy(pattern.astype(float), axis=-1)
        assert np.allclose(read.entropy[layer], expected, atol=1e-6)
    assert np.allclose(read.effective_tokens(), np.exp(read.entropy))
    assert read.labels == [task.token_label(token) for token in read.tokens.tolist()]


def test_the_target_is_uniform_over_what_is_legal(runs):
    model = load(runs[0])
    read = read_example(model, make_task(model.card.task), 0)
    for length in range(1, read.longest + 1):
        unseen = [token not in read.tokens[:length] for token in range(8)]
        assert np.allclose(read.target(length), np.array(unseen) / sum(unseen)) and sum(unseen) == 8 - length


def test_examples_are_not_training_sequences_and_a_model_in_training_is_refused(runs):
    model = load(runs[0])
    task = make_task(model.card.task)
    drawn = [tuple(read_example(model, task, number).tokens) for number in range(20)]
    trained = {tuple(row[:7]) for row in task.sequences(0, 0, 20).tolist()}
    assert len(set(drawn)) == 20 and not trained & set(drawn)
    with pytest.raises(ValueError, match="training mode"):
        read_example(model.train(), task, 0)
