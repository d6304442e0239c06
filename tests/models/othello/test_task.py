"""The Othello task: what training, evaluation and comparison know of the game."""

import pytest
import torch

from models.othello import labels
from models.othello.games import replay
from models.othello.task import OthelloTask
from models.task import Task

TASK = OthelloTask()


@pytest.mark.parametrize(("side", "vocab"), [(8, 61), (6, 33), (4, 13)])
def test_it_is_a_task(side, vocab):
    task = OthelloTask(board=side)
    assert isinstance(task, Task)
    assert (task.name, task.vocab, task.longest, task.pad) == ("othello", vocab, vocab - 2, 0)
    sequences = task.sequences(seed=1, start=0, count=3)
    assert sequences.shape == (3, task.longest + 1) and sequences.dtype == torch.int64
    assert task.legal(sequences).shape == (3, task.longest + 1, vocab)


@pytest.mark.parametrize("side", [4, 6, 8])
def test_every_next_token_is_a_legal_one(side):
    task = OthelloTask(board=side)
    sequences = task.sequences(seed=1, start=0, count=2000)
    legal = task.legal(sequences[:, :-1])
    following = sequences[:, 1:]
    assert torch.equal(legal.gather(2, following[..., None])[..., 0], following != 0)
    assert torch.equal(legal.any(dim=-1), following != 0), "nothing is legal after the end, and only there"


def test_sequences_are_a_function_of_seed_and_index():
    whole = TASK.sequences(seed=5, start=100, count=50)
    assert torch.equal(TASK.sequences(seed=5, start=120, count=7), whole[20:27])
    assert not torch.equal(TASK.sequences(seed=6, start=100, count=50), whole)


def test_legal_tokens_of_a_prefix_do_not_depend_on_what_follows():
    sequences = TASK.sequences(seed=5, start=0, count=20)
    legal = TASK.legal(sequences)
    for length in (1, 30, 59):
        assert torch.equal(TASK.legal(sequences[:, :length]), legal[:, :length])


def test_full_games_only():
    assert (OthelloTask(keep="full").sequences(seed=5, start=0, count=2000) != 0).all()
    assert (TASK.sequences(seed=5, start=0, count=2000) == 0).any()


def test_labels_of_the_task():
    tokens = TASK.sequences(seed=5, start=0, count=20)
    played = replay(TASK.board, tokens)
    assert torch.equal(TASK.to_move(tokens), played.to_move)
    assert torch.equal(TASK.board_state(tokens), labels.board_state(played, "to_move"))
    assert torch.equal(TASK.board_state(tokens, "parity"), labels.board_state(played, "parity"))


ILLEGAL = {
    "flips nothing": ([20, 27, 20, 27, 14], "sequence 1, move 2: c4 (token 27) is illegal for white, it flips no disc"),
    "first move": ([21], "sequence 1, move 1: e3 (token 21) is illegal for black, it flips no disc"),
    "taken": ([20, 20], "sequence 1, move 2: d3 (token 20) is illegal for white, the square is taken"),
    "padding inside": ([20, 0, 19], "sequence 1, move 2: padding (token 0) is followed by more moves"),
    "no token": ([20, 61], "sequence 1, move 2: token 61 is no move, expected 1 .. 60"),
    "negative": ([-1], "sequence 1, move 1: token -1 is no move, expected 1 .. 60"),
    "far beyond": ([20, 276], "sequence 1, move 2: token 276 is no move, expected 1 .. 60"),  # 276 = 256 + 20
}


@pytest.mark.parametrize(("moves", "message"), ILLEGAL.values(), ids=ILLEGAL.keys())
def test_illegal_input_is_refused(moves, message):
    tokens = torch.zeros(3, 8, dtype=torch.int64)
    tokens[:, 0] = 20
    tokens[1] = torch.tensor(moves + [0] * (8 - len(moves)))
    for ask in (TASK.legal, TASK.to_move, TASK.board_state):
        with pytest.raises(ValueError) as raised:
            ask(tokens)
        assert str(raised.value) == f"{message}; give the first moves of legal games, padded with 0 at the end only"


def test_labels_of_tokens():
    assert [TASK.token_label(token) for token in (0, 1, 20, 34, 60)] == ["pad", "a1", "d3", "f5", "h8"]
    assert OthelloTask(board=6).token_label(32) == "f6"
    with pytest.raises(ValueError, match="token 61 names no move"):
        TASK.token_label(61)
