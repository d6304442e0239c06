"""The certificate against brute force over all sequences, in every order, run through the model itself."""

import json
import time

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from models.hooked import hook
from models.set_complement.closed_form import closed_form
from models.transformer import Transformer
from probes.certificate import Certificate, certify
from probes.logit_tables import logit_tables
from probes.worst_set import worst_sets

from .set_complement_models import all_inputs, config_of, margins, model_logits, random_model, trained_model

pytestmark = pytest.mark.timeout(120, method="thread")  # a signal would wait for ever for a compiled loop that does not end


def brute_force(model) -> tuple[list[float], float]:
    """Worst margin of every length, and the largest |logit| over all inputs."""
    vocab = model.cfg.d_vocab
    worst, largest = [], 0.0
    for length in range(1, vocab):
        tokens = all_inputs(vocab, length)
        logits = model_logits(model, tokens)
        worst.append(float(margins(logits, tokens).min()))
        largest = max(largest, float(np.abs(logits).max()))
    return worst, largest


def check_against_brute_force(model) -> Certificate:
    certificate = certify(model)
    worst, largest = brute_force(model)
    np.testing.assert_allclose(certificate.worst_gap, worst, rtol=0, atol=1e-11 * largest)
    for verdict, gap, tokens in zip(certificate.verdict, worst, certificate.counterexample, strict=True):
        assert verdict == ("certified" if gap > 0 else "fails") or abs(gap) <= 1e-6 * largest
        assert (tokens is not None) == (verdict == "fails")
        if tokens is not None:
            sequence = np.array([tokens])
            assert margins(model_logits(model, sequence), sequence)[0] < 0
    return certificate


def check_tables_against_brute_force(bias, displacement, attention) -> None:
    """As above for bare tables; the softmax is torch's."""
    vocab = len(bias)
    gaps, _, members = worst_sets(bias, displacement, attention, vocab - 1)
    for length in range(1, vocab):
        tokens = all_inputs(vocab, length)
        scores = np.take_along_axis(attention[tokens[:, -1]], tokens, axis=1)
        pattern = torch.from_numpy(scores).softmax(dim=1).numpy()
        logits = bias[tokens[:, -1]] + np.einsum("bp,bpl->bl", pattern, displacement[tokens])
        assert gaps[length] == pytest.approx(margins(logits, tokens).min(), abs=1e-12)
        assert members[length].sum() == length


@pytest.mark.parametrize("vocab", [3, 4, 5, 6])
@pytest.mark.parametrize("seed", range(20))
def test_equals_brute_force_on_random_models(vocab, seed):
    model = random_model(vocab, seed, solved=(0, 1, 5, 20, 100)[seed % 5], attention=(0, 1, 5, 40)[seed % 4])
    check_against_brute_force(model)


@pytest.mark.parametrize("vocab", [4, 5, 6])
@pytest.mark.parametrize("seed", range(10))
def test_equals_brute_force_on_trained_models(vocab, seed):
    check_against_brute_force(trained_model(vocab, seed, steps=(5, 30, 150)[seed % 3], train_length=(2, vocab - 1)[seed % 2]))


@pytest.mark.parametrize("seed", range(4))
def test_equals_brute_force_on_seven_tokens(seed):
    check_against_brute_force(random_model(7, seed, solved=5.0 * seed))
    check_against_brute_force(trained_model(7, seed))


@settings(max_examples=60, deadline=None)
@given(
    vocab=st.integers(3, 5),
    seed=st.integers(0, 2**31),
    solved=st.floats(0, 200),
    attention=st.floats(0, 3000),
)
@example(vocab=5, seed=186, solved=2.0, attention=633.0)  # a heavy token's rounding hid a lighter, worse set
def test_equals_brute_force_whatever_the_scale_of_attention(vocab, seed, solved, attention):
    check_against_brute_force(random_model(vocab, seed, solved=solved, attention=attention))


def test_models_of_both_verdicts_were_seen():
    trained = [certify(trained_model(5, seed, steps=(5, 30, 150)[seed % 3])).verdict for seed in range(6)]
    assert ["certified"] * 4 in trained
    assert any("fails" in verdict for verdict in trained)


@pytest.mark.parametrize("seed", range(6))
def test_attention_logits_of_a_thousand_neither_overflow_nor_mislead(seed):
    """Whole tiers of tokens lie e^1000 apart: whichever tier leads, the softmax over present tokens alone must be used."""
    vocab = 6
    rng = np.random.default_rng(seed)
    bias, displacement = rng.normal(size=(2, vocab, vocab)) - 5 * np.eye(vocab)
    attention = rng.choice([-1000.0, -400.0, -390.0, 0.0, 300.0, 1000.0], size=(vocab, vocab)) + rng.normal(size=(vocab, vocab))
    check_tables_against_brute_force(bias, displacement, attention)


@pytest.mark.parametrize("attention", [1e15, 1e17, 1e20, 1e100])
def test_attention_logits_that_a_tier_is_lost_beside_come_to_an_end(attention):
    """From 1e17 on a ceiling less a tier is, to float64, that ceiling."""
    check_against_brute_force(random_model(5, 3, solved=2.0, attention=attention))


def test_weights_beyond_float64_are_refused_in_one_sentence():
    config = config_of(5)
    state = {name: 1e120 * value for name, value in Transformer(config, seed=3).double().state_dict().items()}
    with (
        np.errstate(all="ignore"),
        pytest.raises(FloatingPointError, match="beyond the range of float64, .*; rescale its weights"),
    ):
        certify(hook(config, state))


def test_logits_that_rounding_keeps_from_the_search_are_refused():
    """A constant on all logits says nothing, but one of 1e14 takes the digits of what does."""
    model = random_model(5, 0, solved=5.0)
    with torch.no_grad():
        model.unembed.b_U.fill_(1e8)
    assert certify(model).verdict == certify(random_model(5, 0, solved=5.0)).verdict
    with torch.no_grad():
        model.unembed.b_U.fill_(1e14)
    told = r"margin in float64 is -5\.\d+, where the certificate's search expects -5\.\d+ within .*; .*, so rescale them"
    with pytest.raises(FloatingPointError, match=told):
        certify(model)


@pytest.mark.parametrize(("vocab", "seed"), [(4, 34), (5, 81), (6, 179)])
def test_a_gap_that_only_weights_below_rounding_keep_from_zero_comes_to_an_end(vocab, seed):
    """Whole costs of equal weights cancel, and the e^-90 of a third token would be followed down without end."""
    rng = np.random.default_rng(seed)
    bias, displacement = rng.integers(-2, 3, size=(2, vocab, vocab)).astype(float)
    check_tables_against_brute_force(bias, displacement, 30.0 * rng.integers(-2, 3, size=(vocab, vocab)))


@pytest.mark.parametrize("vocab", [3, 9, 24])
def test_the_closed_form_is_certified_with_its_known_gap(vocab):
    certificate = certify(closed_form(vocab, gap=0.5))
    lengths = np.arange(1, vocab)
    expected = 0.5 * (vocab - 1) / lengths + np.where(lengths == 1, 0.5, 0)
    np.testing.assert_allclose(certificate.worst_gap, expected, rtol=1e-12)
    assert certificate.certified_lengths == vocab - 1
    assert certificate.counterexample == [None] * (vocab - 1)


def test_a_negative_query_bias_fails_from_the_length_the_theory_says():
    """B = -b I with b < 0, D = -gamma I, uniform attention: the last token's gap is b + gamma / s."""
    vocab, gamma, b = 12, 55.0, -10.0
    gaps, triples, _ = worst_sets(-b * np.eye(vocab), -gamma * np.eye(vocab), np.zeros((vocab, vocab)), vocab - 1)
    lengths = np.arange(1, vocab)
    np.testing.assert_allclose(gaps[1:], b + gamma / lengths, rtol=1e-12)
    assert np.flatnonzero(gaps[1:] < 0)[0] + 1 == 6
    assert (triples[1:, 0] == triples[1:, 1]).all(), "it is the last token that fails"


def test_margin_without_ties_fails_at_length_three():
    """Tokens on a circle: positive margins at lengths 1 and 2 and yet failures at 3, under uniform attention."""
    angle = 2 * np.pi * np.arange(10) / 10
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    displacement = -circle @ circle.T
    gaps, _, _ = worst_sets(-6 * np.eye(10) - displacement / 2, displacement, np.zeros((10, 10)), 9)
    assert gaps[1] > 0 and gaps[2] > 0 and gaps[3] < 0


def test_the_worst_gap_is_found_where_enumeration_cannot_go():
    """At v = 16 no random input, and no one-token exchange of the worst input, is worse than the worst gap."""
    vocab = 16
    model = random_model(vocab, 1, solved=30.0, attention=2.0)
    certificate, tables = certify(model), logit_tables(model)
    rng = np.random.default_rng(0)
    for length, gap, worst in zip(certificate.lengths, certificate.worst_gap, certificate.worst_input, strict=True):
        random_inputs = np.stack([rng.permutation(vocab)[:length] for _ in range(500)])
        outside = np.setdiff1d(np.arange(vocab), worst)
        exchanges = np.array([[out if p == q else t for q, t in enumerate(worst)] for p in range(length) for out in outside])
        for tokens in (random_inputs, exchanges):
            assert margins(tables.last_logits(tokens), tokens).min() >= gap - 1e-9
        assert margins(model_logits(model, np.array([worst])), np.array([worst]))[0] == pytest.approx(gap, abs=1e-9)


@pytest.mark.parametrize("constant", [0.0, 1.0])
def test_a_gap_of_zero_is_undecided(constant):
    model = closed_form(6)
    with torch.no_grad():
        model.embed.W_E.zero_()
        model.unembed.b_U.fill_(constant)
    certificate = certify(model)
    assert certificate.verdict == ["undecided"] * 5
    assert certificate.counterexample == [None] * 5


def test_the_json_has_exactly_the_promised_keys_and_survives_a_round_trip():
    certificate = certify(trained_model(5, 0, steps=5))
    written = json.loads(json.dumps(certificate.to_json_dict(), allow_nan=False))
    assert list(written) == ["lengths", "verdict", "worst_gap", "counterexample"]
    assert written["lengths"] == [1, 2, 3, 4]
    assert all(len(column) == 4 for column in written.values())
    assert written == certificate.to_json_dict()


def test_the_frame_is_one_row_a_length():
    frame = certify(trained_model(5, 0, steps=5)).frame()
    own = ["length", "verdict", "worst_gap", "worst_input", "present", "absent", "counterexample"]
    assert list(frame.columns)[-len(own) :] == own and "checkpoint" in frame
    assert list(frame["length"]) == [1, 2, 3, 4]
    for row in frame.itertuples():
        assert len(row.worst_input) == row.length
        assert row.present in row.worst_input and row.absent not in row.worst_input


def test_a_short_context_is_certified_as_far_as_it_goes():
    config = config_of(6, context=3)
    model = hook(config, Transformer(config).double().state_dict())
    assert list(certify(model).lengths) == [1, 2, 3]


def test_float32_models_are_certified_in_float64_and_left_as_they_are():
    config = config_of(5)
    model = hook(config, Transformer(config, seed=3).state_dict())
    in_float64 = hook(config, Transformer(config, seed=3).double().state_dict())
    # Transformer draws in float32, so both hold the same numbers
    assert certify(model).worst_gap == certify(in_float64).worst_gap
    assert model.W_E.dtype == torch.float32


def test_fast_enough():
    certify(closed_form(4))  # compiles, or loads what was compiled
    for vocab, limit in ((32, 2.0), (64, 30.0)):
        model = random_model(vocab, 0, solved=60.0, attention=0.1)
        start = time.process_time()
        certify(model)
        assert time.process_time() - start < limit
