"""Random games: the same bits everywhere, and the distribution that uniform play has."""

import subprocess
import sys
from inspect import unwrap

import numpy as np
import pytest
import torch
from scipy import stats

from models.othello import labels, rules_numba, rules_torch
from models.othello.board import SIZES, Board, board_of_size
from models.othello.games import Keep, generate, replay
from models.random_stream import seed_state

BOARD = board_of_size(8)
GAMES = 20_000

EXACT_MEAN_LEGAL = (4, 3, 4.666667, 4.366667, 5.864444, 5.837870, 6.732101, 6.938493, 7.567518, 7.902260)
"""Mean number of legal moves before plies 1 .. 10 of uniform play, by weighted enumeration of the whole tree."""


@pytest.fixture(scope="module")
def many_games() -> torch.Tensor:
    return generate(BOARD, seed=20, start=0, count=200_000)


def generate_one_by_one(board: Board, seed: int, start: int, count: int) -> torch.Tensor:
    tokens = np.empty((count, board.moves), np.uint8)
    indices = np.arange(start, start + count, dtype=np.uint64)
    rules_numba.generate_scalar(np.uint64(seed_state(seed)), indices, np.uint64(board.arena), tokens)
    return torch.from_numpy(tokens)


@pytest.mark.parametrize("size", SIZES)
def test_games_are_what_the_stream_of_draws_says(size, naive_game):
    board = board_of_size(size)
    tokens = generate(board, seed=-5, start=2**40, count=25).tolist()
    for row, moves in enumerate(tokens):
        squares = naive_game.random_moves(size, -5, 2**40 + row)
        assert moves == [board.token(square) for square in squares] + [0] * (board.moves - len(squares))


@pytest.mark.parametrize("size", SIZES)
def test_backends_play_the_same_games(size):
    board = board_of_size(size)
    lockstep = generate(board, seed=7, start=1000, count=GAMES)
    assert torch.equal(generate_one_by_one(board, 7, 1000, GAMES), lockstep)
    assert torch.equal(rules_torch.generate(board, 7, torch.arange(1000, 1000 + GAMES), compile_steps=False), lockstep)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("faulty", [False, True], ids=["legal games", "games with faults"])
def test_backends_replay_to_the_same_states(size, faulty):
    board = board_of_size(size)
    tokens = generate(board, seed=8, start=0, count=GAMES)
    if faulty:
        games = torch.arange(GAMES)
        tokens[games, games % board.moves] = (games % 71).to(torch.uint8)
    lockstep = replay(board, tokens)
    states = (lockstep.black, lockstep.white, lockstep.legal, lockstep.to_move, lockstep.played)
    one_by_one = [np.zeros_like(state) for state in states]
    words = [output.view(np.uint64) for output in one_by_one[:3]]
    rules_numba.replay_scalar(tokens.numpy(), np.uint64(board.arena), board.move_of_token, *words, *one_by_one[3:])
    on_device = rules_torch.replay(board, tokens, compile_steps=False)
    for state, scalar, batched in zip(states, one_by_one, on_device, strict=True):
        assert torch.equal(torch.from_numpy(scalar), state) and torch.equal(batched, state)
    if faulty:
        assert (lockstep.played < lockstep.lengths).float().mean() > 0.9


COMPILED = """
import torch
from models.othello import rules_torch
from models.othello.board import board_of_size
from models.othello.games import generate
for size in (8, 6):
    games = generate(board_of_size(size), 7, 0, 1000)
    assert torch.equal(rules_torch.generate(board_of_size(size), 7, torch.arange(1000), compile_steps=True), games)
    eager, compiled = (rules_torch.replay(board_of_size(size), games, steps) for steps in (False, True))
    assert all(torch.equal(a, b) for a, b in zip(eager, compiled, strict=True))
"""


@pytest.mark.slow
def test_compiled_steps_give_the_same_bits():
    """In a process of its own: torch cannot compile what the type checker of the test-suite has wrapped."""
    subprocess.run([sys.executable, "-c", COMPILED], check=True)


@pytest.mark.parametrize("keep", ["all", "full"])
def test_a_game_does_not_depend_on_batch_or_threads(keep: Keep):
    whole = generate(BOARD, seed=9, start=0, count=GAMES, keep=keep)
    assert torch.equal(generate(BOARD, seed=9, start=0, count=GAMES, keep=keep, threads=3), whole)
    sizes = (1, 2, 63, 64, 65, 1000, 4096, GAMES)
    parts, start = [], 0
    for count in sizes:
        parts.append(generate(BOARD, seed=9, start=start, count=min(count, GAMES - start), keep=keep))
        start += len(parts[-1])
    assert torch.equal(torch.cat(parts), whole)
    assert torch.equal(generate(BOARD, seed=9, start=12_345, count=1, keep=keep), whole[12_345:12_346])


def test_a_replay_does_not_depend_on_threads():
    tokens = generate(BOARD, seed=9, start=0, count=1000)
    one, three = replay(BOARD, tokens), replay(BOARD, tokens, threads=3)
    assert all(
        torch.equal(getattr(one, name), getattr(three, name)) for name in ("black", "white", "legal", "to_move", "played")
    )


def test_seeds_give_different_games():
    first, second = (generate(BOARD, seed=seed, start=0, count=1000) for seed in (0, 1))
    assert (first != second).any(dim=1).all()


def test_no_games_and_no_moves():
    assert generate(BOARD, seed=0, start=5, count=0).shape == (0, 60)
    assert replay(BOARD, torch.zeros(0, 60, dtype=torch.long)).legal.shape == (0, 60)


def test_mean_number_of_legal_moves(many_games):
    legal = replay(BOARD, many_games[:, :9]).legal.numpy().view(np.uint64)
    for ply, exact in enumerate(EXACT_MEAN_LEGAL[1:]):
        counts = np.bitwise_count(legal[:, ply]).astype(float)
        assert abs(counts.mean() - exact) <= 4.5 * counts.std() / len(counts) ** 0.5 + 1e-6


def test_openings_have_the_exact_distribution(many_games, naive_game):
    chances = {}

    def enumerate_openings(moves: list[int], chance: float) -> None:
        if len(moves) == 4:
            chances[tuple(BOARD.token(square) for square in moves)] = chance
            return
        game = naive_game(8)
        for square in moves:
            game.play(square)
        options = game.legal()
        for square in options:
            enumerate_openings([*moves, square], chance / len(options))

    enumerate_openings([], 1.0)
    seen, times = many_games[:, :4].unique(dim=0, return_counts=True)
    counted = dict.fromkeys(chances, 0) | {
        tuple(opening): count for opening, count in zip(seen.tolist(), times.tolist(), strict=True)
    }
    assert counted.keys() == chances.keys() and len(chances) == 244
    expected = np.array(list(chances.values())) * len(many_games)
    chi_square = ((np.array(list(counted.values())) - expected) ** 2 / expected).sum()
    assert 1e-4 < stats.chi2.sf(chi_square, df=243) < 1 - 1e-4


def test_lengths_passes_and_who_is_to_move(many_games):
    """Shares measured over a million games of another engine; each bound is five standard errors or more."""
    played = replay(BOARD, many_games)
    lengths = played.lengths
    assert (lengths == 60).float().mean() == pytest.approx(0.9903, abs=0.0015)
    assert lengths.min() >= 9
    sides = torch.cat([torch.ones(len(lengths), 1, dtype=torch.int8), played.to_move[:, :-1]], dim=1)
    passes = ((sides[:, 1:] == sides[:, :-1]) & (many_games[:, 1:] != 0)).sum(dim=1)
    assert (passes > 0).float().mean() == pytest.approx(0.345, abs=0.006)
    assert passes.float().mean() == pytest.approx(0.447, abs=0.01)
    alive = played.legal != 0
    parity = torch.tensor([-1, 1], dtype=torch.int8).repeat(30)
    wrong = (played.to_move != parity) & alive
    assert wrong[:, 58].sum() / alive[:, 58].sum() == pytest.approx(0.277, abs=0.006)
    assert wrong.sum() / alive.sum() == pytest.approx(0.0118, abs=0.0006)
    assert wrong[:, 5:54].sum() / alive[:, 5:54].sum() == pytest.approx(0.0031, abs=0.0003)
    black_discs = (labels.board_state(played, "colour")[:, -1] == 0).sum(dim=-1)
    white_discs = (labels.board_state(played, "colour")[:, -1] == 1).sum(dim=-1)
    assert (black_discs > white_discs).float().mean() == pytest.approx(0.4545, abs=0.006)


def test_full_games_only(many_games):
    every, full = (generate(BOARD, seed=20, start=0, count=GAMES, keep=keep) for keep in ("all", "full"))
    assert (full != 0).all()
    same = (every == full).all(dim=1)
    assert torch.equal(same, (every[:, -1] != 0)), "only short games are replaced"
    assert (replay(BOARD, full).played == 60).all()


def test_an_unknown_choice_of_games_is_refused():
    with pytest.raises(ValueError, match="keep='long' is unknown; choose one of all, full"):
        unwrap(generate)(BOARD, 0, 0, 1, keep="long")  # without the type checker of the test-suite


def test_an_unknown_board_is_refused():
    with pytest.raises(ValueError, match="board size 7 is not supported; choose one of 4, 6, 8"):
        board_of_size(7)
