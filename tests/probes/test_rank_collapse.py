import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.hooked import load
from models.set_complement.closed_form import closed_form
from models.set_complement.task import SetComplementTask
from models.streams import Draw
from models.tasks import make_task
from probes.rank_collapse import pairwise_cosine, rank_collapse

from .othello_models import SMALL_BOARD, small_checkpoint


@given(st.integers(1, 3), st.integers(1, 7), st.integers(1, 5), st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_pairwise_cosine_is_the_mean_over_pairs(batch, length, width, seed):
    stream = torch.randn(batch, length, width, generator=torch.Generator().manual_seed(seed))
    found = pairwise_cosine(stream).numpy()
    unit = stream.double().numpy() / np.linalg.norm(stream.double().numpy(), axis=-1, keepdims=True)
    for row in range(batch):
        for s in range(2, length + 1):
            pairs = [unit[row, i] @ unit[row, j] for i in range(s) for j in range(i)]
            assert found[row, s - 1] == pytest.approx(np.mean(pairs), abs=1e-6)
    assert (found[:, 0] == 0).all()


def test_limits():
    alike = torch.ones(1, 5, 3)
    assert torch.allclose(pairwise_cosine(alike)[:, 1:], torch.ones(1, 4, dtype=torch.float64))
    apart = torch.eye(4)[None]
    assert torch.allclose(pairwise_cosine(apart), torch.zeros(1, 4, dtype=torch.float64))
    assert torch.equal(pairwise_cosine(torch.zeros(1, 4, 3)), torch.zeros(1, 4, dtype=torch.float64))


def test_simplex_embeddings_are_as_far_apart_as_can_be():
    frame = rank_collapse(closed_form(9), SetComplementTask(9), sequences=10)
    first = frame[frame["layer"] == 0]
    np.testing.assert_allclose(first["value"], -1 / 8, atol=1e-9)
    assert (frame[frame["layer"] == 1]["value"] > first["value"].to_numpy()).all()
    assert set(frame["control"]) == {"none"}  # no card tells the shape


def test_every_layer_and_length_is_there_and_padding_is_not(tmp_path):
    path = small_checkpoint(tmp_path / "small")
    frame = rank_collapse(path, sequences=150)
    assert set(frame["layer"]) == {0, 1, 2} and set(frame["length"]) == set(range(2, 32))
    assert set(frame["control"]) == {"none", "random weights"}
    task = make_task(SMALL_BOARD)
    tokens = task.sequences(Draw.PROBES, 0, 150)[:, :31]
    present = task.legal(tokens).any(-1)[:, -1]
    _, cache = load(path).run_with_cache(tokens)
    expected = pairwise_cosine(cache["blocks.1.hook_resid_post"])[present, -1].mean()
    row = frame[(frame["layer"] == 2) & (frame["length"] == 31) & (frame["control"] == "none")].iloc[0]
    assert row["value"] == pytest.approx(float(expected), abs=1e-5) and row["sequences"] == int(present.sum())
    assert row["ci_low"] < row["value"] < row["ci_high"]
