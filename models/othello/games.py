"""Uniformly random games, and the replay of given ones.

For: every other part of the workbench that needs Othello games or positions; it picks the backend, the CPU kernels or the
bitboards on the device. Not for: what is read off a position (`labels.py`), nor files of games (`transcripts.py`, `wthor.py`).
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Int8, Int64, UInt8
from torch import Tensor

from models.othello import kernels
from models.othello.board import PAD, Board
from models.random_stream import MASK_64, draw_scalar, seed_state

Keep = Literal["all", "full"]


@dataclass(frozen=True)
class Replay:
    """The state after each move of some games, as bitboards: 25 bytes a position.

    Bitboards are int64 that hold 64 bits (`.numpy().view(np.uint64)` for the unsigned view); bit numbers are the `bits` of
    `board`. Index t - 1 is the state after move t. Where a game has ended, or an illegal move or padding stopped it, the last
    state stands and no move is legal.
    """

    board: Board
    tokens: Int64[Tensor, "game ply"]
    black: Int64[Tensor, "game ply"]
    white: Int64[Tensor, "game ply"]
    legal: Int64[Tensor, "game ply"]
    to_move: Int8[Tensor, "game ply"]
    """+1 where black, the first mover, truly moves next (passes resolved), -1 where white does; at the end, who would."""
    played: Int64[Tensor, "game"]
    """How many moves are legal, from the first; less than the number of moves given where one is not."""

    @property
    def lengths(self) -> Int64[Tensor, "game"]:
        """How many moves were given, up to the last that is not padding."""
        positions = torch.arange(1, self.tokens.shape[1] + 1, device=self.tokens.device)
        return ((self.tokens != PAD) * positions).amax(dim=1)


def _in_threads(kernel, count: int, threads: int) -> None:
    """Run `kernel(first, last)` over 0 .. count - 1, split into `threads` parts; the kernels release the GIL."""
    edges = np.linspace(0, count, threads + 1).astype(int)
    if threads == 1:
        kernel(0, count)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(kernel, edges[:-1], edges[1:]))


def _generate(board: Board, seed: int, indices: Int64[Tensor, "game"], threads: int) -> UInt8[Tensor, "game ply"]:
    numbers = indices.numpy().view(np.uint64)
    tokens = np.empty((len(numbers), board.moves), np.uint8)

    def part(first: int, last: int) -> None:
        kernels.generate_lockstep(
            np.uint64(seed_state(seed)), numbers[first:last], np.uint64(board.arena), board.token_of_bit, tokens[first:last]
        )

    _in_threads(part, len(numbers), threads)
    return torch.from_numpy(tokens)


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
        raise ValueError(f"keep={keep!r} is unknown; choose one of {', '.join(get_args(Keep))}.")
    indices = torch.arange(start, start + count)
    tokens = _generate(board, seed, indices, threads)
    attempt = 0
    while keep == "full" and len(short := (tokens[:, -1] == PAD).nonzero()[:, 0]):
        tokens[short] = _generate(board, draw_scalar(seed, MASK_64, attempt), indices[short], threads)  # no game is index -1
        attempt += 1
    return tokens.to(device)


def replay(board: Board, tokens: Int64[Tensor, "game ply"], threads: int = 1) -> Replay:
    """The state after each move; `played` says where an illegal move stopped a game (`faults.py` says why)."""
    plies = np.ascontiguousarray(tokens.numpy())
    shape = plies.shape
    black, white, legal = (np.empty(shape, np.uint64) for _ in range(3))
    to_move, played = np.empty(shape, np.int8), np.empty(shape[0], np.int64)

    def part(first: int, last: int) -> None:
        outputs = (output[first:last] for output in (black, white, legal, to_move, played))
        kernels.replay_lockstep(plies[first:last], np.uint64(board.arena), board.bit_of_token, *outputs)

    _in_threads(part, len(plies), threads)
    words = (torch.from_numpy(word.view(np.int64)) for word in (black, white, legal))
    return Replay(board, tokens, *words, torch.from_numpy(to_move), torch.from_numpy(played))
