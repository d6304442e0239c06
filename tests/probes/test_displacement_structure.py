"""The structure fit against structures made on purpose, and against a general least-squares solver."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.set_complement.closed_form import closed_form
from probes.displacement_structure import displacement_structure, fit_structure

from .set_complement_models import trained_model


def made_structure(vocab: int, rng) -> tuple:
    gamma, b, d0, r, c = rng.normal(size=(5, vocab))
    return gamma, b, -np.diag(b) - d0[None] + c[:, None], -np.diag(gamma) + d0[None] + r[:, None]


@given(vocab=st.integers(4, 12), seed=st.integers(0, 2**31))
def test_an_exact_structure_is_found_whatever_its_gauge(vocab, seed):
    rng = np.random.default_rng(seed)
    gamma, b, bias, displacement = made_structure(vocab, rng)
    gauge = 10 * rng.normal(size=vocab)
    fit = fit_structure(bias - gauge, displacement + gauge)
    np.testing.assert_allclose(fit.gamma, gamma, atol=1e-11)
    np.testing.assert_allclose(fit.b, b, atol=1e-11)
    assert np.abs(fit.displacement_residual).max() < 1e-11
    assert np.abs(fit.bias_residual).max() < 1e-11


@given(vocab=st.integers(3, 8), seed=st.integers(0, 2**31))
def test_the_joint_fit_is_the_least_squares_optimum(vocab, seed):
    """The oracle writes every off-diagonal entry as an equation and asks numpy; only the residual norm is unique."""
    bias, displacement = np.random.default_rng(seed).normal(size=(2, vocab, vocab))
    rows, values = [], []
    for row in range(vocab):
        for column in range(vocab):
            if row == column:
                continue
            unit = np.zeros((3, vocab))
            unit[0, column], unit[1, row] = 1, 1
            rows.append(unit.ravel())
            values.append(displacement[row, column])
            unit = np.zeros((3, vocab))
            unit[0, column], unit[2, row] = -1, 1
            rows.append(unit.ravel())
            values.append(bias[row, column])
    matrix, target = np.array(rows), np.array(values)
    best = np.sum((matrix @ np.linalg.lstsq(matrix, target, rcond=None)[0] - target) ** 2)
    fit = fit_structure(bias, displacement)
    assert np.sum(fit.displacement_residual**2) + np.sum(fit.bias_residual**2) == pytest.approx(best, rel=1e-9, abs=1e-18)


def test_the_closed_form_has_no_residual():
    frame = displacement_structure(closed_form(10, gap=2.0))
    np.testing.assert_allclose(frame["gamma"], 18.0, rtol=1e-12)
    np.testing.assert_allclose(frame["b"], 2.0, rtol=1e-12)
    assert frame["relative_residual"].max() < 1e-13
    # the control gives -gamma to the neighbour's logit, so -gamma / (v - 1) is left of it
    np.testing.assert_allclose(frame["gamma_control"], -18.0 / 9, rtol=1e-12)
    assert frame["query_fails_from"].isna().all()


def test_a_trained_model_is_nearly_diagonal_and_its_control_is_not():
    frame = displacement_structure(trained_model(6, 0))
    assert (frame["gamma"] > 0).all()
    assert frame["gamma_control"].max() < 0.1 * frame["gamma"].min()


def test_a_negative_b_says_from_which_length_the_query_fails():
    from probes.displacement_structure import _query_fails_from

    gamma, b = np.array([10.0, 10.0, 10.0, 1.0]), np.array([-2.0, -3.0, 1.0, -2.0])
    # gap b + gamma / s: zero at exactly s = 5, negative from 4 (10 / 3), never, and from the start
    assert _query_fails_from(gamma, b) == [5, 4, np.inf, 1]
