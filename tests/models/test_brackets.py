"""The bracket task against a plain stack, and its random stream against the distribution it promises."""

import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from models.brackets import BracketTask
from models.task import Task


def legal_by_stack(tokens: list[int], kinds: int, bound: int) -> set[int]:
    """What may follow, by a plain stack."""
    stack: list[int] = []
    for token in tokens:
        if token < kinds:
            stack.append(token)
        else:
            assert stack.pop() == token - kinds
    assert len(stack) <= bound
    return (set(range(kinds)) if len(stack) < bound else set()) | ({kinds + stack[-1]} if stack else set())


def test_it_is_a_task():
    assert isinstance(BracketTask(2, 3), Task)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 9), st.integers(1, 9), st.integers(0, 2**32), st.integers(0, 2**40))
def test_sequences_are_legal_and_legal_is_what_a_stack_allows(kinds, depth, seed, start):
    task = BracketTask(kinds, depth)
    sequences = task.sequences(seed, start, 2)
    assert sequences.shape == (2, task.longest + 1)
    legal, depths = task.legal(sequences[:, :-1]), task.depths(sequences[:, :-1])
    for row, tokens in enumerate(sequences.tolist()):
        for length in range(1, task.longest + 1):
            allowed = legal_by_stack(tokens[:length], kinds, depth)
            assert set(legal[row, length - 1].nonzero()[:, 0].tolist()) == allowed
            assert tokens[length] in allowed
            opened = sum(token < kinds for token in tokens[:length])
            assert int(depths[row, length - 1]) == 2 * opened - length


def test_a_batch_is_a_pure_function_of_seed_and_index():
    task = BracketTask(3, 4)
    whole = task.sequences(7, 100, 50)
    assert torch.equal(whole[10:20], task.sequences(7, 110, 10))
    assert not torch.equal(whole, task.sequences(8, 100, 50))


def test_every_legal_token_is_equally_likely():
    task = BracketTask(3, 2)
    sequences = task.sequences(0, 0, 20_000)
    at = task.depths(sequences[:, :9])[:, 8] == 1  # three openings or the closing of the one that is open
    following = sequences[at, 9]
    counts = torch.bincount(torch.where(following < 3, following, 3), minlength=4)
    assert stats.chisquare(counts.numpy()).pvalue > 1e-4


@pytest.mark.parametrize(
    ("tokens", "problem"),
    [
        ([[0, 2], [0, 3]], "token 3 (]) at position 1 of sequence 1 is no legal bracket at depth 1"),
        ([[2]], "token 2 ()) at position 0 of sequence 0 is no legal bracket at depth 0"),
        ([[0, 1, 0]], "token 0 (() at position 2 of sequence 0 is no legal bracket at depth 2"),
        ([[0, 4]], "token 4 at position 1 of sequence 0 is outside 0 .. 3"),
        ([[]], "input of length 0"),
        ([[0, 2] * 32], "input of length 64"),
    ],
)
def test_bad_input_is_named(tokens, problem):
    with pytest.raises(ValueError, match=re.escape(problem)):
        BracketTask(2, 2).legal(torch.tensor(tokens, dtype=torch.long))


@pytest.mark.parametrize(("kinds", "depth"), [(1, 3), (2, 0)])
def test_a_language_too_small_is_refused(kinds, depth):
    with pytest.raises(ValueError, match=f"got {kinds} kinds and depth {depth}"):
        BracketTask(kinds, depth)


def test_labels():
    task = BracketTask(5, 2)
    assert [task.token_label(token) for token in range(10)] == ["(", "[", "{", "<", "<5", ")", "]", "}", ">", "5>"]
