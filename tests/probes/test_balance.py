"""Balance against loops over all inputs of one and two tokens."""

import itertools

import numpy as np
import pytest

from models.set_complement.closed_form import closed_form
from probes.balance import balance

from .set_complement_models import model_logits, random_model, trained_model


@pytest.mark.parametrize("model", [random_model(5, 0, solved=10.0), trained_model(6, 0)], ids=["random", "trained"])
def test_against_plain_loops(model):
    vocab = model.cfg.d_vocab
    frame = balance(model).set_index(["length", "role"])
    gathered: dict = {(1, "query"): [], (2, "query"): [], (2, "context"): []}
    for length in (1, 2):
        for tokens in itertools.permutations(range(vocab), length):
            logits = model_logits(model, np.array([tokens]))[0]
            absent = [logits[token] for token in range(vocab) if token not in tokens]
            for token, role in zip(tokens[::-1], ("query", "context"), strict=False):
                pushed, margin = np.mean(absent) - logits[token], min(absent) - logits[token]
                gathered[length, role].append((pushed, margin, max(absent) - min(absent)))
    for key, values in gathered.items():
        pushed, margin, spread = np.array(values).T
        expected = {
            "displacement": pushed.mean(),
            "spread": pushed.max() - pushed.min(),
            "margin": margin.min(),
            "absent_spread": spread.max(),
            "absent_spread_mean": spread.mean(),
            "misordered": (margin <= 0).mean(),
        }
        for column, value in expected.items():
            assert frame.loc[key, column] == pytest.approx(value, abs=1e-11), (key, column)


def test_the_closed_form_is_tied_and_balanced_but_for_its_bias():
    frame = balance(closed_form(8, gap=1.0)).set_index(["length", "role"])
    assert frame[["spread", "absent_spread"]].to_numpy().max() < 1e-13
    np.testing.assert_allclose(frame["margin"], [8.0, 4.5, 3.5], rtol=1e-12)
    assert (frame["misordered"] == 0).all()


def test_a_context_of_one_token_is_refused():
    with pytest.raises(ValueError, match="context is 1 token, and balance compares lengths 1 and 2"):
        balance(random_model(5, 0, context=1))
