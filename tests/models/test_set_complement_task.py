import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from models.set_complement.task import SetComplementTask
from models.task import Task


def test_it_is_a_task():
    assert isinstance(SetComplementTask(5), Task)


@given(st.integers(3, 40), st.integers(0, 2**32), st.integers(0, 2**40))
def test_sequences_are_permutations_and_legal_is_what_is_absent(vocab, seed, start):
    task = SetComplementTask(vocab)
    sequences = task.sequences(seed, start, 3)
    assert sequences.sort(dim=1).values.tolist() == [list(range(vocab))] * 3
    legal = task.legal(sequences[:, : task.longest])
    for row in range(3):
        for length in range(1, task.longest + 1):
            absent = set(range(vocab)) - set(sequences[row, :length].tolist())
            assert set(legal[row, length - 1].nonzero()[:, 0].tolist()) == absent
            assert int(sequences[row, length]) in absent


def test_a_batch_is_a_pure_function_of_seed_and_index():
    task = SetComplementTask(16)
    whole = task.sequences(7, 100, 50)
    assert torch.equal(whole[10:20], task.sequences(7, 110, 10))
    assert not torch.equal(whole, task.sequences(8, 100, 50))


def test_every_order_is_equally_likely():
    orders = SetComplementTask(4).sequences(0, 0, 24_000)
    codes = (orders * torch.tensor([64, 16, 4, 1])).sum(dim=1)
    counts = codes.unique(return_counts=True)[1]
    assert len(counts) == 24
    assert stats.chisquare(counts.numpy()).pvalue > 1e-4


@pytest.mark.parametrize(
    ("tokens", "problem"),
    [
        ([[0, 1, 0]], "token 0 is repeated at position 2 of sequence 0"),
        ([[0, 1], [2, 5]], "token 5 at position 1 of sequence 1 is outside 0 .. 4"),
        ([[-1]], "token -1 at position 0 of sequence 0 is outside 0 .. 4"),
        ([[0, 1, 2, 3, 4]], "input of length 5"),
        ([[]], "input of length 0"),
    ],
)
def test_bad_input_is_named(tokens, problem):
    with pytest.raises(ValueError, match=problem):
        SetComplementTask(5).legal(torch.tensor(tokens, dtype=torch.long))


@pytest.mark.parametrize("vocab", [-1, 0, 2])
def test_a_vocabulary_too_small_is_refused(vocab):
    with pytest.raises(ValueError, match=f"got vocab {vocab}, expected v >= 3"):
        SetComplementTask(vocab)
