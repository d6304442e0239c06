"""Logits of every length follow from those of one and two tokens."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.checkpoint import bundled_names
from models.config import WEIGHTS
from models.hooked import load
from models.set_complement.closed_form import closed_form
from probes.logit_tables import logit_tables
from probes.two_token_identity import reconstruct, two_token_identity

from .set_complement_models import all_inputs, model_logits, random_model, trained_model


@pytest.mark.parametrize("seed", range(4))
def test_it_holds_on_trained_models(seed):
    frame = two_token_identity(trained_model(6, seed, train_length=3))
    assert list(frame["length"]) == [1, 2, 3, 4, 5]
    assert frame["residual"].max() <= 1e-12


@pytest.mark.parametrize("name", [name for name in bundled_names() if name.startswith("set-complement")])
@pytest.mark.parametrize("weights", WEIGHTS)
def test_it_holds_on_every_bundled_model(name, weights):
    assert two_token_identity(load(name, weights))["residual"].max() <= 1e-9


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), attention=st.floats(0, 1000))
def test_it_holds_for_any_weights(seed, attention):
    assert two_token_identity(random_model(5, seed, attention=attention), sequences=20)["residual"].max() <= 1e-11


def test_uniform_attention_is_enough_only_where_attention_is_uniform():
    assert two_token_identity(closed_form(6))["uniform_residual"].max() <= 1e-13
    uneven = two_token_identity(random_model(6, 0, attention=3.0))
    assert (uneven[uneven["length"] >= 3]["uniform_residual"] > 1e-2).all()


def test_reconstruction_from_brute_force_logits():
    model = random_model(5, 1, attention=2.0)
    one = model_logits(model, np.arange(5)[:, None])
    two = np.zeros((5, 5, 5))
    pairs = all_inputs(5, 2)
    two[pairs[:, 0], pairs[:, 1]] = model_logits(model, pairs)
    for length in range(1, 5):
        tokens = all_inputs(5, length)
        rebuilt = reconstruct(one, two, logit_tables(model).attention_logits, tokens)
        np.testing.assert_allclose(rebuilt, model_logits(model, tokens), atol=1e-12)


def test_a_context_of_one_token_is_refused():
    with pytest.raises(ValueError, match="context is 1 token, and the identity needs inputs of 2"):
        two_token_identity(random_model(5, 0, context=1))
