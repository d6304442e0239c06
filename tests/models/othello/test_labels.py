"""Labels of positions, against the naive reference and hand-made bitboards."""

from inspect import unwrap

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.othello import dense, labels, rules_torch
from models.othello.board import SIZES, board_of_size
from models.othello.games import generate, replay
from models.random_stream import as_signed

BOARD = board_of_size(8)


@pytest.mark.parametrize("size", SIZES)
def test_frames_of_the_board(size, naive_game):
    """`to_move` follows the side that truly moves, `parity` the number of tokens, `colour` neither."""
    board = board_of_size(size)
    tokens = generate(board, seed=2, start=0, count=50)
    played = replay(board, tokens)
    frames = {frame: labels.board_state(played, frame) for frame in labels.STATES}
    differ = 0
    for number, moves in enumerate(tokens.tolist()):
        game = naive_game(size)
        for ply, token in enumerate(token for token in moves if token):
            game.play(board.square(token))
            by_parity = 1 if (ply + 1) % 2 == 0 else -1
            for frame, mine in (("to_move", game.mover), ("parity", by_parity), ("colour", 1)):
                expected = [{mine: 0, -mine: 1, 0: 2}[disc] for disc in game.board()]
                assert frames[frame][number, ply].tolist() == expected
            differ += game.mover != by_parity and bool(game.legal())
    assert differ > 0, "the games must hold positions where the published labels are wrong"


def test_to_move_is_the_default_frame():
    played = replay(BOARD, generate(BOARD, seed=2, start=0, count=5))
    assert torch.equal(labels.board_state(played), labels.board_state(played, "to_move"))


def test_an_unknown_frame_is_refused():
    played = replay(BOARD, generate(BOARD, seed=2, start=0, count=1))
    with pytest.raises(ValueError, match="frame 'mover' is unknown; choose one of to_move, parity, colour"):
        unwrap(labels.board_state)(played, "mover")


def test_labels_of_short_games_stand_still_after_the_end():
    tokens = torch.zeros(1, 60, dtype=torch.uint8)
    tokens[0, :9] = torch.tensor([BOARD.token(square) for square in (44, 45, 26, 34, 42, 43, 46, 20, 12)])
    played = replay(BOARD, tokens)
    assert not labels.legal_tokens(played)[0, 8:].any() and not labels.flipped(played)[0, 9:].any()
    for frame in ("to_move", "colour"):
        state = labels.board_state(played, frame)
        assert (state[0, 9:] == state[0, 8]).all()


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=9), st.sampled_from(SIZES))
def test_dense_forms_of_any_bitboard(words, size):
    board = board_of_size(size)
    tensor = torch.tensor([as_signed(word) for word in words])
    squares = torch.tensor([[bool(word >> bit & 1) for bit in board.bits] for word in words])
    assert torch.equal(dense.on_squares(tensor, board), squares)
    tokens = dense.on_tokens(tensor, board)
    assert tokens.shape == (len(words), board.vocab) and not tokens[:, 0].any()
    assert torch.equal(tokens[:, 1:], squares[:, list(board.square_of_token[1:])])
    shifted = tensor.roll(1) & ~tensor
    states = dense.states(tensor, shifted, board)
    assert torch.equal(states == 0, squares) and torch.equal(states == 1, dense.on_squares(shifted, board))
    assert ((states >= 0) & (states <= 2)).all()


def test_dense_forms_of_a_device_are_those_of_the_cpu():
    played = replay(BOARD, generate(BOARD, seed=4, start=0, count=200))
    flat = [word.flatten() for word in (played.black, played.white, played.legal)]
    legal = rules_torch.spread_words(flat[2]).view(torch.bool).view(200, 60, 64)
    assert torch.equal(legal, labels.legal_squares(played))
    colours = rules_torch.spread_states(*flat[:2]).view(torch.int8).view(200, 60, 64)
    assert torch.equal(colours, labels.board_state(played, "colour"))


def test_dense_form_of_a_view():
    played = replay(BOARD, generate(BOARD, seed=4, start=0, count=20))
    assert torch.equal(dense.on_squares(played.legal.T[3:5], BOARD), labels.legal_squares(played)[:, 3:5].transpose(0, 1))


@pytest.mark.parametrize(("size", "ends"), [(8, (20, 40, 60)), (6, (11, 22, 32)), (4, (4, 8, 12))])
def test_game_phases_are_thirds(size, ends):
    board = board_of_size(size)
    phases = labels.game_phase(torch.arange(1, board.moves + 1), board)
    assert phases.bincount().cumsum(0).tolist() == list(ends)
    assert len(labels.PHASES) == 3


@pytest.mark.parametrize("size", SIZES)
def test_tokens_and_squares_go_round(size):
    board = board_of_size(size)
    assert board.vocab == size**2 - 3
    assert [board.token(board.square(token)) for token in range(1, board.vocab)] == list(range(1, board.vocab))
    assert np.bitwise_count(np.uint64(board.arena)) == size**2


def test_tokens_are_those_of_the_published_data():
    published = {token: token - 1 if token <= 27 else token + 1 if token <= 33 else token + 3 for token in range(1, 61)}
    assert {token: BOARD.square(token) for token in range(1, 61)} == published


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: BOARD.token(64), "square 64 is not on the 8x8 board; expected 0 .. 63"),
        (lambda: BOARD.token(28), "square 28 is one of the four of the centre"),
        (lambda: BOARD.square(0), "token 0 names no move on the 8x8 board; expected 1 .. 60"),
        (lambda: board_of_size(6).square(33), "token 33 names no move on the 6x6 board; expected 1 .. 32"),
    ],
)
def test_places_that_are_none_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
