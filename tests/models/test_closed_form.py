"""The written-down construction solves every length with the gap it promises, as the model itself computes it."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.set_complement import theory
from models.set_complement.closed_form import closed_form


def gaps_of_random_inputs(model, length: int, count: int = 20) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(query gap, context gaps, spread of the absent logits) on random inputs."""
    vocab = model.cfg.d_vocab
    rng = np.random.default_rng(length)
    tokens = np.stack([rng.permutation(vocab) for _ in range(count)])
    with torch.inference_mode():
        logits = model(torch.from_numpy(tokens[:, :length]))[:, -1].numpy()
    ordered = np.take_along_axis(logits, tokens, axis=1)
    absent = ordered[:, length:]
    gap = absent.min(axis=1, keepdims=True) - ordered[:, :length]
    return gap[:, -1], gap[:, :-1], np.ptp(absent, axis=1)


@pytest.mark.parametrize("vocab", range(3, 25))
def test_every_length_is_solved_with_the_gap_of_the_derivation(vocab):
    gap = 0.7
    model = closed_form(vocab, vocab - 1, gap=gap)
    for length in range(1, vocab):
        query, context, spread = gaps_of_random_inputs(model, length)
        push = gap * (vocab - 1) / length
        np.testing.assert_allclose(query, gap + push, rtol=1e-11)
        np.testing.assert_allclose(context, push, rtol=1e-11)
        assert spread.max() < 1e-12 * vocab


def test_it_is_tight():
    model = closed_form(9)
    assert (model.cfg.d_model, model.cfg.d_head, model.cfg.n_ctx) == (8, 8, 8)
    assert model.W_E.dtype == torch.float64
    assert not model.training


@settings(max_examples=20, deadline=None)
@given(vocab=st.integers(3, 10), extra=st.integers(0, 5), gap=st.floats(1e-3, 1e3))
def test_a_wider_model_computes_the_same(vocab, extra, gap):
    tokens = torch.randperm(vocab)[None, :-1]
    with torch.inference_mode():
        narrow, wide = closed_form(vocab, gap=gap)(tokens), closed_form(vocab, vocab - 1 + extra, gap=gap)(tokens)
    torch.testing.assert_close(narrow, wide, rtol=1e-12, atol=1e-12 * gap * vocab)


def test_too_narrow_a_model_is_refused_with_the_reason():
    with pytest.raises(ValueError, match=r"width 6 cannot solve .* 8 tokens.*d >= v - 1 = 7.*Radon.*use width >= 7"):
        closed_form(8, 6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((2,), "vocab 2 is too small"), ((5, 4, 0.0), "gap 0.0"), ((5, 4, -1.0), "gap -1.0"), ((5, 4, math.inf), "gap inf")],
)
def test_nonsense_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        closed_form(*arguments)


def test_illegal_mass_is_that_of_a_softmax():
    vocab, gap = 10, 2.5
    for length in range(1, vocab):
        logits = torch.zeros(vocab, dtype=torch.float64)
        logits[:length] = -gap
        assert theory.illegal_mass(gap, length, vocab) == pytest.approx(float(logits.softmax(0)[:length].sum()), rel=1e-12)
    assert theory.illegal_mass(0.0, 4, 16) == pytest.approx(0.25)
    assert theory.illegal_mass(3.0, 16, 16) == 1


@given(mass=st.floats(1e-6, 0.99), length=st.integers(1, 31))
def test_the_needed_gap_leaves_the_illegal_mass_asked_for(mass, length):
    assert theory.illegal_mass(theory.needed_gap(mass, length, 32), length, 32) == pytest.approx(mass, rel=1e-9)


@pytest.mark.parametrize("vocab", [3, 8])
def test_the_laws_predict_long_inputs_from_short_ones(vocab):
    model = closed_form(vocab, gap=1.3)
    one = gaps_of_random_inputs(model, 1)[0][0]
    query_two, context_two, _ = gaps_of_random_inputs(model, 2)
    for length in range(2, vocab):
        query, context, _ = gaps_of_random_inputs(model, length)
        np.testing.assert_allclose(theory.query_displacement(one, query_two[0], length), query, rtol=1e-11)
        np.testing.assert_allclose(theory.context_displacement(context_two[0, 0], length), context, rtol=1e-11)
