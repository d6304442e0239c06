"""Metrics and certificate in the tails, single precision against double, and the same bytes from the same command.

Metrics against scipy and in closed form are in tests/workbench/test_metrics.py, the certificate against brute force in
tests/probes/test_certificate.py; here are the far ends, against 60 digits.
"""

import os
import subprocess
import sys

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.hooked import load
from models.set_complement.task import SetComplementTask
from probes.certificate import certify
from workbench.evaluation import evaluate
from workbench.metrics import position_metrics

from ..workbench.saved_runs import gap_model

BOUNDED = ["illegal_mass", "total_variation", "normalised_dispersion"]
OPEN = ["uniformity_kl", "dispersion", "effective_tokens"]


def exact(logits: list[float], legal: list[bool]) -> dict[str, float]:
    """The metrics by their definitions, in 60 digits."""
    with mpmath.workdps(60):
        weights = [mpmath.exp(mpmath.mpf(logit)) for logit in logits]
        total, right = mpmath.fsum(weights), mpmath.fsum(w for w, ok in zip(weights, legal, strict=True) if ok)
        k, p = sum(legal), [weight / total for weight in weights]
        distance = mpmath.fsum(abs(one - mpmath.mpf(ok) / k) for one, ok in zip(p, legal, strict=True)) / 2
        restricted = [weight / right for weight, ok in zip(weights, legal, strict=True) if ok]
        divergence = -mpmath.fsum(mpmath.log(k * one) for one in restricted) / k
        mass = mpmath.fsum(one for one, ok in zip(p, legal, strict=True) if not ok)
        return {"illegal_mass": float(mass), "total_variation": float(distance), "uniformity_kl": float(divergence)}


FAR = st.one_of(st.floats(-1e4, 1e4, width=32), st.sampled_from([-1e4, 1e4, 0.0]))


@given(st.lists(FAR, min_size=3, max_size=16), st.sampled_from(["one legal", "all but one"]), st.data())
def test_metrics_in_the_tails_are_exact(logits, kind, data):
    odd = data.draw(st.integers(0, len(logits) - 1))
    legal = [(token == odd) == (kind == "one legal") for token in range(len(logits))]
    expected = exact(logits, legal)
    for dtype in (torch.float32, torch.float64):  # the logits are numbers of both
        got = position_metrics(torch.tensor(logits, dtype=dtype)[None, None], torch.tensor(legal)[None, None])
        assert not any(bool(value.isnan()) for value in got.values())
        for name, value in expected.items():
            assert got[name].item() == pytest.approx(value, rel=1e-9, abs=1e-11), name


@pytest.mark.parametrize("gamma", [1e4, 1e-4, -1e4])
def test_models_of_huge_and_tiny_logits_have_finite_metrics_and_the_certificate_of_theory(gamma):
    """From one token seen, all but one legal, to all but one seen, one legal; uniform attention makes the gap gamma / s."""
    vocab = 12
    model = gap_model(vocab, gamma)
    frame = evaluate(model, SetComplementTask(vocab), sequences=20)
    assert np.isfinite(frame[["value", "ci_low", "ci_high"]]).all().all()
    lengths = np.arange(1, vocab)
    found = frame[frame["metric"] == "margin"].set_index("length")["value"]
    np.testing.assert_allclose(found, gamma / lengths, rtol=1e-9)
    certificate = certify(model)
    np.testing.assert_allclose(certificate.worst_gap, gamma / lengths, rtol=1e-9)
    assert set(certificate.verdict) == {"certified" if gamma > 0 else "fails"}


@pytest.mark.parametrize("weights", ["raw", "ema", "bema"])
@pytest.mark.parametrize(
    "name", ["set-complement-v16-none-seed0", "set-complement-v32-residual-0.1-seed0", "othello-mini-none"]
)
def test_single_precision_is_within_1e_5_of_double(name, weights):
    frames = [
        evaluate(load(name, weights, dtype=dtype), sequences=20).pivot(index="length", columns="metric", values="value")
        for dtype in (torch.float32, torch.float64)
    ]
    single, double = frames
    np.testing.assert_allclose(single[BOUNDED], double[BOUNDED], rtol=0, atol=1e-5)
    np.testing.assert_allclose(single[OPEN], double[OPEN], rtol=1e-5, atol=1e-5)
    # a difference of logits, so it is as exact as those, which are as large as the largest margin
    np.testing.assert_allclose(single["margin"], double["margin"], rtol=0, atol=1e-5 * double["margin"].abs().max())


@pytest.mark.slow  # a quick one, in one process, is in tests/workbench/test_comparison.py
def test_the_same_command_in_two_processes_gives_the_same_bytes(tmp_path):
    """In processes that hash strings differently, so that no order of a set gets into a table, a figure or the report."""
    words = "compare set-complement-v16-none-seed0 othello-mini-none --sequences 10 --lengths 1:3 --format html --out out"
    written = []
    for hash_seed in "12":
        folder = tmp_path / hash_seed
        folder.mkdir()
        environment = os.environ | {"PYTHONHASHSEED": hash_seed, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "workbench", *words.split()]
        subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
        written.append({str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()})
    assert {"out/comparison.csv", "out/comparison.parquet", "out/report.html"} <= written[0].keys()
    assert written[0] == written[1]
