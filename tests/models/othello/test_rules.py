"""The rules, against counts from the literature, another package, a naive reference and positions known by hand."""

import numpy as np
import pyspiel
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.othello import dense, labels, rules_numba, rules_torch
from models.othello.board import SIZES, START_BLACK, START_WHITE, Board, board_of_size
from models.othello.games import Replay, generate, replay
from models.random_stream import as_signed

PREFIXES = (1, 4, 12, 56, 244, 1396, 8200, 55092, 390216, 3005320)
"""Distinct prefixes of d tokens, d = 0 .. 9; as published perft to 8, where no game has had a pass yet."""

PASSES_AS_PLIES = 3005288
"""Published perft(9): there, 24 of the leaves are passes."""

BOARD = board_of_size(8)


def replay_by(backend: str, board: Board, tokens: torch.Tensor) -> Replay:
    """A replay by a backend that `games.replay` does not choose on a CPU."""
    if backend == "lockstep":
        return replay(board, tokens)
    if backend == "torch":
        return Replay(board, tokens, *rules_torch.replay(board, tokens, compile_steps=False))
    black, white, legal = np.empty((3, *tokens.shape), np.uint64)
    to_move, played = np.empty(tokens.shape, np.int8), np.empty(len(tokens), np.int64)
    outputs = (black, white, legal, to_move, played)
    rules_numba.replay_scalar(tokens.contiguous().numpy(), np.uint64(board.arena), board.move_of_token, *outputs)
    words = (torch.from_numpy(word.view(np.int64)) for word in (black, white, legal))
    return Replay(board, tokens, *words, torch.from_numpy(to_move), torch.from_numpy(played))


def children(board: Board, prefixes: torch.Tensor, backend: str = "lockstep") -> tuple[torch.Tensor, torch.Tensor]:
    """Every prefix with one more legal token, and the row of its parent; `prefixes` has at least one token."""
    parents, tokens = dense.on_tokens(replay_by(backend, board, prefixes).legal[:, -1], board).nonzero(as_tuple=True)
    return torch.cat([prefixes[parents], tokens[:, None].to(torch.uint8)], dim=1), parents


def first_moves(board: Board) -> torch.Tensor:
    black, white = torch.tensor([START_BLACK]), torch.tensor([START_WHITE])
    legal = rules_torch.legal_moves(black, white, torch.tensor(as_signed(board.arena)))
    return dense.on_tokens(legal, board)[0].nonzero().to(torch.uint8)


@pytest.mark.parametrize("backend", ["scalar", "lockstep", "torch"])
def test_perft_without_pass_plies(backend):
    prefixes = first_moves(BOARD)
    counts = [1, len(prefixes)]
    while len(counts) < 9:
        prefixes, _ = children(BOARD, prefixes, backend)
        counts.append(len(prefixes))
    leaves = np.bitwise_count(replay_by(backend, BOARD, prefixes).legal[:, -1].numpy().view(np.uint64)).sum()
    assert (*counts, leaves) == PREFIXES


def test_perft_with_passes_as_plies():
    own, other = torch.tensor([START_BLACK]), torch.tensor([START_WHITE])
    arena = torch.tensor(-1)
    for _ in range(8):
        legal = rules_torch.legal_moves(own, other, arena)
        assert (legal != 0).all(), "no pass is possible before ply 9"
        parents, bits = dense.on_squares(legal, BOARD).nonzero(as_tuple=True)
        move, own, other = torch.ones_like(bits) << bits, own[parents], other[parents]
        flipped = rules_torch.flips(move, own, other)
        own, other = other & ~flipped, own | flipped | move
    legal = rules_torch.legal_moves(own, other, arena)
    leaves = np.bitwise_count(legal.numpy().view(np.uint64))
    passes = legal == 0
    assert leaves.sum() + passes.sum() == PASSES_AS_PLIES  # a pass and a finished game are one leaf each
    assert (rules_torch.legal_moves(other[passes], own[passes], arena) != 0).sum() == 24


@pytest.mark.parametrize(("size", "depth"), [(4, 6), (6, 5)])
def test_every_prefix_of_the_small_boards(size, depth, naive_game):
    board = board_of_size(size)
    prefixes = first_moves(board)
    for _ in range(depth - 1):
        prefixes, _ = children(board, prefixes)
    naive = [[]]
    for _ in range(depth):
        naive = [[*moves, square] for moves in naive for square in played_naively(naive_game, size, moves).legal()]
    assert prefixes.tolist() == [[board.token(square) for square in moves] for moves in naive]


def played_naively(naive_game, size, moves):
    game = naive_game(size)
    for square in moves:
        game.play(square)
    return game


@pytest.mark.parametrize("size", SIZES)
def test_every_position_agrees_with_the_naive_reference(size, naive_game):
    board = board_of_size(size)
    tokens = generate(board, seed=3, start=0, count=60)
    played = replay(board, tokens)
    colours, legal, turned = labels.board_state(played, "colour"), labels.legal_squares(played), labels.flipped(played)
    for number, moves in enumerate(tokens.tolist()):
        game = naive_game(size)
        for ply, token in enumerate(token for token in moves if token):
            assert turned[number, ply].nonzero()[:, 0].tolist() == game.play(board.square(token))
            assert colours[number, ply].tolist() == [{1: 0, -1: 1, 0: 2}[disc] for disc in game.board()]
            assert legal[number, ply].nonzero()[:, 0].tolist() == game.legal()
            assert played.to_move[number, ply] == game.mover
        assert not game.legal()


def test_every_position_agrees_with_open_spiel():
    tokens = generate(BOARD, seed=11, start=0, count=500)
    played = replay(BOARD, tokens)
    colours, legal = labels.board_state(played, "colour").numpy(), labels.legal_squares(played).numpy()
    rules = pyspiel.load_game("othello")
    for number, moves in enumerate(tokens.tolist()):
        state = rules.new_initial_state()
        for ply, token in enumerate(token for token in moves if token):
            state.apply_action(BOARD.square(token))
            while not state.is_terminal() and state.legal_actions() == [64]:
                state.apply_action(64)  # a pass
            empty, black, white = np.array(state.observation_tensor(0)).reshape(3, 64).astype(bool)
            assert (colours[number, ply] == np.select([black, white, empty], [0, 1, 2])).all()
            expected = [] if state.is_terminal() else state.legal_actions()
            assert legal[number, ply].nonzero()[0].tolist() == expected
            if not state.is_terminal():
                assert played.to_move[number, ply] == (1 if state.current_player() == 0 else -1)
        assert state.is_terminal()


def tokens_of(squares: list[int]) -> torch.Tensor:
    return torch.tensor([[BOARD.token(square) for square in squares]], dtype=torch.uint8)


def test_first_legal_moves():
    assert [BOARD.square(token) for token in first_moves(BOARD)[:, 0].tolist()] == [19, 26, 37, 44]


@pytest.mark.parametrize("squares", [[44, 45, 26, 34, 42, 43, 46, 20, 12], [37, 45, 19, 20, 21, 34, 33, 29, 53]])
def test_the_shortest_games_end_after_nine_moves(squares):
    played = replay(BOARD, tokens_of(squares))
    assert played.played.tolist() == [9]
    assert (played.legal[0, :-1] != 0).all() and played.legal[0, -1] == 0


def test_the_earliest_pass():
    played = replay(BOARD, tokens_of([19, 18, 37, 11, 3, 4, 9, 2]))
    assert played.to_move[0].tolist() == [-1, 1, -1, 1, -1, 1, -1, -1]  # black would move next, but cannot
    assert labels.legal_squares(played)[0, -1].nonzero()[:, 0].tolist() == [16, 25, 43]


SEVEN_PASSES = [
    *(37, 43, 26, 38, 42, 19, 29, 20, 51, 18, 21, 25, 10, 44, 46, 59, 17, 41, 45, 16, 12, 4, 30, 47, 52, 14, 58, 31, 54, 62),
    *(60, 1, 24, 61, 23, 33, 50, 57, 13, 11, 34, 22, 5, 32, 49, 48, 9, 0, 3, 15, 53, 6, 7, 63, 55, 39, 2, 40, 56, 8),
]


def test_a_game_with_seven_passes():
    played = replay(BOARD, tokens_of(SEVEN_PASSES))
    assert played.played.tolist() == [60]
    sides = torch.cat([torch.ones(1, dtype=torch.int8), played.to_move[0, :-1]])  # who made each move
    assert (sides[1:] == sides[:-1]).sum() == 7


@pytest.mark.parametrize("backend", ["scalar", "lockstep", "torch"])
def test_an_illegal_first_move_is_refused(backend):
    played = replay_by(backend, BOARD, tokens_of([20, 19, 26]))
    assert played.played.tolist() == [0]
    assert played.legal.tolist() == [[0, 0, 0]]
    assert played.black.tolist() == [[START_BLACK] * 3] and played.white.tolist() == [[START_WHITE] * 3]


@pytest.mark.parametrize("size", SIZES)
def test_invariants_of_every_position(size):
    board = board_of_size(size)
    tokens = generate(board, seed=5, start=0, count=5000)
    played = replay(board, tokens)
    black, white, legal = (word.numpy().view(np.uint64) for word in (played.black, played.white, played.legal))
    given_moves = (tokens != 0).numpy()
    assert ((black & white) == 0).all() and ((legal & (black | white)) == 0).all()
    assert ((black | white | legal) & ~np.uint64(board.arena) == 0).all()
    discs = np.bitwise_count(black | white)
    assert (discs == 4 + given_moves.cumsum(axis=1)).all()
    assert (labels.flipped(played).sum(dim=-1).numpy()[given_moves] >= 1).all()
    assert (legal[given_moves] != 0).sum() == given_moves.sum() - len(tokens), "only the last position of a game has no moves"
    assert (played.played == played.lengths).all()


SYMMETRIES = {
    "transposed": lambda row, column, last: (column, row),
    "anti-transposed": lambda row, column, last: (last - column, last - row),
    "half a turn": lambda row, column, last: (last - row, last - column),
}


@pytest.mark.parametrize("symmetry", SYMMETRIES.values(), ids=SYMMETRIES.keys())
@given(seed=st.integers(0, 2**64 - 1), index=st.integers(0, 2**40), size=st.sampled_from(SIZES))
@settings(max_examples=60, deadline=None)
def test_symmetries_of_the_start_commute_with_replay(symmetry, seed, index, size):
    board = board_of_size(size)
    image = torch.tensor([size * r + c for r, c in (symmetry(*divmod(square, size), size - 1) for square in range(size**2))])
    tokens = generate(board, seed, index, count=1)
    mirrored = torch.tensor([[board.token(int(image[board.square(t)])) if t else 0 for t in tokens[0].tolist()]]).to(
        torch.uint8
    )
    original, mirror = replay(board, tokens), replay(board, mirrored)
    assert (mirror.played == original.played).all() and (mirror.to_move == original.to_move).all()
    for label in (labels.legal_squares, labels.board_state, labels.flipped):
        assert (label(mirror)[..., image] == label(original)).all()
