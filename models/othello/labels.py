"""What a position can be asked about: the board, the legal moves, the discs just flipped, the phase of the game.

For: targets of probes and of the legality mask, made from the bitboards of a `Replay` on whatever device they are on. Not for:
playing (`games.py`). The state at index t - 1 is the one AFTER move t, the one a model has to know to predict move t + 1.

Three frames of the board, by name:
    to_move  mine / theirs / empty, where "mine" is the side that truly moves next (passes resolved); the default
    parity   mine / theirs / empty, where sides alternate with every token, as published probes have it. It is wrong after an
             odd number of passes: on 1.2% of all positions of random games, on 28% of the last ones
    colour   black / white / empty
"""

from typing import Literal, get_args

import torch
from jaxtyping import Bool, Int8, Int64
from torch import Tensor

from models.othello.board import GRID, START_BLACK, START_WHITE, Board
from models.othello.games import Replay

Frame = Literal["to_move", "parity", "colour"]
STATES: dict[Frame, tuple[str, str, str]] = {
    "to_move": ("mine", "theirs", "empty"),
    "parity": ("mine", "theirs", "empty"),
    "colour": ("black", "white", "empty"),
}
"""The names of classes 0, 1 and 2 of `board_state`, for each frame."""

PHASES = ("opening", "midgame", "endgame")

_ONES = 0x0101010101010101
_DIAGONAL = 0x8040201008040201 - (1 << 64)  # byte k holds bit k; negative, since torch's int64 is signed
_SEVENS = 0x7F7F7F7F7F7F7F7F


def _bytes_of(words: Int64[Tensor, "*position"]) -> Int64[Tensor, "*position 8"]:
    """Each bit of a word as one byte 0 or 1: eight bytes to an int64, one int64 a row of the grid."""
    rows = (words[..., None] >> torch.arange(0, 64, GRID, device=words.device)) & 0xFF
    return ((((rows * _ONES) & _DIAGONAL) + _SEVENS) >> 7) & _ONES  # a byte is nonzero where its own bit is set


def _crop(words: Int64[Tensor, "*position 8"], board: Board) -> Int8[Tensor, "*position square"]:
    grid = words.contiguous().view(torch.int8).unflatten(-1, (GRID, GRID))
    border = (GRID - board.size) // 2
    return grid[..., border : GRID - border, border : GRID - border].flatten(-2)


def on_squares(words: Int64[Tensor, "*position"], board: Board) -> Bool[Tensor, "*position square"]:
    """A bitboard as one bool a square."""
    return _crop(_bytes_of(words), board).view(torch.bool)


def on_tokens(words: Int64[Tensor, "*position"], board: Board) -> Bool[Tensor, "*position vocab"]:
    """A bitboard as one bool a token; the column of the padding, 0, is False."""
    squares = torch.tensor(board.square_of_token[1:], device=words.device)
    mask = torch.zeros(*words.shape, board.vocab, dtype=torch.bool, device=words.device)
    mask[..., 1:] = on_squares(words, board)[..., squares]
    return mask


def board_state(replay: Replay, frame: Frame = "to_move") -> Int8[Tensor, "game ply square"]:
    """What is on each square after each move: 0, 1 or 2, named by `STATES[frame]`."""
    black, white = replay.black, replay.white
    match frame:
        case "to_move":
            first_is_black = replay.to_move == 1
        case "parity":
            first_is_black = torch.arange(black.shape[-1], device=black.device) % 2 == 1
        case "colour":
            first_is_black = torch.ones((), dtype=torch.bool, device=black.device)
        case _:
            raise ValueError(f"Frame {frame!r} is unknown; choose one of {', '.join(get_args(Frame))}.")
    first = torch.where(first_is_black, black, white)
    second = torch.where(first_is_black, white, black)
    return _crop(2 * _ONES - 2 * _bytes_of(first) - _bytes_of(second), replay.board)


def flipped(replay: Replay) -> Int64[Tensor, "game ply"]:
    """The discs that the last move turned over, as bitboards: 1 to 18 discs after a move, none after the end of a game."""
    black_before = torch.nn.functional.pad(replay.black[:, :-1], (1, 0), value=START_BLACK)
    white_before = torch.nn.functional.pad(replay.white[:, :-1], (1, 0), value=START_WHITE)
    return (replay.black & white_before) | (replay.white & black_before)


def game_phase(lengths: Int64[Tensor, "*position"], board: Board) -> Int64[Tensor, "*position"]:
    """0, 1 or 2, named by `PHASES`: the first, second and last third of a full game, by the number of moves played (from 1)."""
    return torch.clamp((lengths - 1) * len(PHASES) // board.moves, 0, len(PHASES) - 1)
