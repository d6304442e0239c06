"""Bitboards as one byte a square, the form that probes and masks read.

For: expanding the 8 bytes of a bitboard to 64 on the device it is on, as fast as that device writes memory. Not for: what the
bytes mean (`labels.py`). Expand a batch next to the model, not a data set: the 60 positions of a game take 7.7 kB.
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Bool, Int8, Int64
from torch import Tensor

from models.othello import rules_numba, rules_torch
from models.othello.board import GRID, PAD, Board

COMPILE_FROM = 1 << 22
"""Number of bitboards from which a GPU expands them by a compiled kernel; compiling takes seconds, once a process."""


def _expand(
    kernel: Callable[..., None], operations: Callable[..., Tensor], board: Board, *words: Int64[Tensor, "*position"]
) -> Int8[Tensor, "*position square"]:
    """Run a kernel on the CPU, or the same as tensor operations on another device, and cut out the board."""
    shape, device = words[0].shape, words[0].device
    flat = [word.reshape(-1).contiguous() for word in words]
    if device.type == "cpu":
        rows = torch.empty(len(flat[0]), GRID, dtype=torch.int64)
        kernel(*(word.numpy().view(np.uint64) for word in flat), rows.numpy().view(np.uint64))
    else:
        rows = (rules_torch.compiled(operations) if len(flat[0]) >= COMPILE_FROM else operations)(*flat)
    grid = rows.view(torch.int8).reshape(*shape, GRID, GRID)
    border = (GRID - board.size) // 2
    return grid[..., border : GRID - border, border : GRID - border].flatten(-2)


def on_squares(words: Int64[Tensor, "*position"], board: Board) -> Bool[Tensor, "*position square"]:
    """True on the squares of each bitboard."""
    return _expand(rules_numba.spread_words, rules_torch.spread_words, board, words).view(torch.bool)


def on_tokens(words: Int64[Tensor, "*position"], board: Board) -> Bool[Tensor, "*position vocab"]:
    """True on the tokens of each bitboard; the column of the padding, 0, is False."""
    squares = on_squares(words, board)
    tokens = squares.new_empty(*words.shape, board.vocab)
    tokens[..., PAD] = False
    northwest, northeast, southwest, southeast = board.centre
    for first, end in ((0, northwest), (northeast + 1, southwest), (southeast + 1, board.squares)):
        token = board.token_of_square[first]  # between the squares of the centre, tokens count the squares without a gap
        tokens[..., token : token + end - first] = squares[..., first:end]
    return tokens


def states(
    first: Int64[Tensor, "*position"], second: Int64[Tensor, "*position"], board: Board
) -> Int8[Tensor, "*position square"]:
    """0 on the squares of `first`, 1 on those of `second`, 2 on the others."""
    return _expand(rules_numba.spread_states, rules_torch.spread_states, board, first, second)
