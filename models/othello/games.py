"""Uniformly random games, and the replay of given ones.

For: every part of the workbench that needs Othello games or positions; here the backend is chosen. Not for: what is read off a
position (`labels.py`), nor files of games (`transcripts.py`, `wthor.py`).

The backends give the same bits, so the choice is one of speed alone: the CPU kernels, whose result is copied, for everything
but large batches on a GPU; there compiled steps of `rules_torch.py`, which take tens of seconds to compile, once a process.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Int8, Int64, Integer, UInt8
from torch import Tensor

from models.device import usable_device
from models.othello import rules_numba, rules_torch
from models.othello.board import PAD, Board
from models.random_stream import MASK_64, draw_scalar, numbers, seed_state

COMPILE_FROM = 1 << 16
"""Number of games from which a GPU plays them itself."""

Keep = Literal["all", "full"]


@dataclass(frozen=True)
class Replay:
    """The state after each move of some games, as bitboards: 25 bytes a position.

    Bitboards are int64 that hold 64 bits (`.numpy().view(np.uint64)` for the unsigned view); bit numbers are the `bits` of
    `board`. Index t - 1 is the state after move t. Where a game has ended, or an illegal move or padding stopped it, the last
    state stands and no move is legal.
    """

    board: Board
    tokens: Integer[Tensor, "game ply"]
    black: Int64[Tensor, "game ply"]
    white: Int64[Tensor, "game ply"]
    legal: Int64[Tensor, "game ply"]
    to_move: Int8[Tensor, "game ply"]
    """+1 where black, the first mover, truly moves next (passes resolved), -1 where white does; at the end, who would."""
    played: Int64[Tensor, "game"]
    """How many moves are legal, from the first; less than the number of moves given where one is not."""

    @cached_property  # `faults` asks for one game at a time
    def lengths(self) -> Int64[Tensor, "game"]:
        """How many moves were given, up to the last that is not padding."""
        numbers = torch.arange(1, self.tokens.shape[1] + 1, device=self.tokens.device)
        return ((self.tokens != PAD) * numbers).amax(dim=1) if len(numbers) else self.played


def _plays_itself(device: torch.device, count: int) -> bool:
    return device.type == "cuda" and count >= COMPILE_FROM


def _in_threads(kernel: Callable[[int, int], None], count: int, threads: int) -> None:
    """Run `kernel(first, last)` over 0 .. count - 1, split into `threads` parts; the kernels release the GIL."""
    if threads == 1:
        kernel(0, count)
        return
    edges = np.linspace(0, count, threads + 1).astype(int).tolist()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(kernel, edges[:-1], edges[1:]))


def _generate(
    board: Board, seed: int, indices: Int64[Tensor, "game"], device: torch.device, threads: int
) -> UInt8[Tensor, "game moves"]:
    if _plays_itself(device, len(indices)):
        return rules_torch.generate(board, seed, indices.to(device), compile_steps=True)
    numbers = indices.numpy().view(np.uint64)
    tokens = np.empty((len(numbers), board.moves), np.uint8)

    def part(first: int, last: int) -> None:
        rules_numba.generate_lockstep(
            np.uint64(seed_state(seed)), numbers[first:last], np.uint64(board.arena), tokens[first:last]
        )

    _in_threads(part, len(numbers), threads)
    return torch.from_numpy(tokens).to(device)


def generate(
    board: Board,
    seed: int,
    start: int,
    count: int,
    device: torch.device | str = "cpu",
    keep: Keep = "all",
    threads: int = 1,
) -> UInt8[Tensor, "count moves"]:
    """Games start .. start + count - 1 of stream `seed`: each move uniform over the legal ones; short games end in padding, 0.

    A game is a pure function of (seed, index): the same on every device, for every count and number of threads. `keep="full"`
    gives games that fill the board only (the published filter; it drops 1% of 8x8 games, all the early ends): a short game is
    replaced by the game of the same index in a stream derived from the seed, until one is full.
    """
    if keep not in get_args(Keep):
        raise ValueError(f"keep={keep!r} is unknown; choose one of {', '.join(get_args(Keep))}")
    device = device if isinstance(device, torch.device) else usable_device(device)
    indices = numbers(start, count)
    tokens = _generate(board, seed, indices, device, threads)
    attempt = 0
    while keep == "full" and len(short := (tokens[:, -1] == PAD).nonzero()[:, 0]):
        retry_seed = draw_scalar(seed, MASK_64, attempt)  # index 2**64 - 1 is no game's
        tokens[short] = _generate(board, retry_seed, indices[short.cpu()], device, threads)
        attempt += 1
    return tokens


def replay(board: Board, tokens: Integer[Tensor, "game ply"], threads: int = 1) -> Replay:
    """The state after each move, on the device of the tokens; `played` says where an illegal move stopped a game.

    Never raises for what the tokens hold; `faults.refuse_illegal` does, in words.
    """
    device = tokens.device
    plies = tokens if tokens.dtype == torch.uint8 else tokens.clamp(-1, 255).to(torch.uint8)  # what is no token stays none
    if _plays_itself(device, len(tokens)):
        return Replay(board, tokens, *rules_torch.replay(board, plies, compile_steps=True))
    moves = plies.cpu().contiguous().numpy()
    black, white, legal = (np.empty(moves.shape, np.uint64) for _ in range(3))
    to_move, played = np.empty(moves.shape, np.int8), np.empty(len(moves), np.int64)

    def part(first: int, last: int) -> None:
        outputs = (output[first:last] for output in (black, white, legal, to_move, played))
        rules_numba.replay_lockstep(moves[first:last], np.uint64(board.arena), board.move_of_token, *outputs)

    _in_threads(part, len(moves), threads)
    outputs = (black.view(np.int64), white.view(np.int64), legal.view(np.int64), to_move, played)
    return Replay(board, tokens, *(torch.from_numpy(output).to(device) for output in outputs))
