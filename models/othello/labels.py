"""What a position can be asked about: the board, the discs just flipped, the phase of the game.

For: targets of probes, made from the bitboards of a `Replay` on whatever device they are on. Not for: playing (`games.py`).
The state at index t - 1 is the one AFTER move t, which a model has to know to predict move t + 1.

Three frames of the board, by name:
    to_move  mine / theirs / empty, where "mine" is the side that truly moves next (passes resolved); the default
    parity   mine / theirs / empty, where sides alternate with every token, as published probes have it. It is wrong after an
             odd number of passes: on 1.2% of the positions of random games, on 28% of the last ones (59 moves played)
    colour   black / white / empty
"""

from typing import Literal, get_args

import torch
from jaxtyping import Bool, Int8, Int64
from torch import Tensor

from models.othello import dense
from models.othello.board import START_BLACK, START_WHITE, Board
from models.othello.games import Replay

Frame = Literal["to_move", "parity", "colour"]
STATES: dict[Frame, tuple[str, str, str]] = {
    "to_move": ("mine", "theirs", "empty"),
    "parity": ("mine", "theirs", "empty"),
    "colour": ("black", "white", "empty"),
}
"""The names of classes 0, 1 and 2 of `board_state`, for each frame."""

PHASES = ("opening", "midgame", "endgame")
"""The names of classes 0, 1 and 2 of `game_phase`."""


def board_state(replay: Replay, frame: Frame = "to_move") -> Int8[Tensor, "game ply square"]:
    """What is on each square after each move: 0, 1 or 2, named by `STATES[frame]`; a ValueError for an unknown frame."""
    black, white = replay.black, replay.white
    if frame == "colour":
        return dense.states(black, white, replay.board)
    if frame == "to_move":
        black_is_mine = replay.to_move == 1
    elif frame == "parity":
        black_is_mine = torch.arange(black.shape[-1], device=black.device) % 2 == 1
    else:
        raise ValueError(f"frame {frame!r} is unknown; choose one of {', '.join(get_args(Frame))}")
    mine, theirs = torch.where(black_is_mine, black, white), torch.where(black_is_mine, white, black)
    return dense.states(mine, theirs, replay.board)


def legal_squares(replay: Replay) -> Bool[Tensor, "game ply square"]:
    """True where the side that truly moves next may move; all False after the end of a game."""
    return dense.on_squares(replay.legal, replay.board)


def legal_tokens(replay: Replay) -> Bool[Tensor, "game ply vocab"]:
    """As `legal_squares`, by token: the mask of the legal next tokens. The padding, 0, is never legal."""
    return dense.on_tokens(replay.legal, replay.board)


def flipped(replay: Replay) -> Bool[Tensor, "game ply square"]:
    """The discs that the last move turned over: at least 1 after a move, none after the end of a game."""
    black_before = torch.nn.functional.pad(replay.black[:, :-1], (1, 0), value=START_BLACK)
    white_before = torch.nn.functional.pad(replay.white[:, :-1], (1, 0), value=START_WHITE)
    turned = (replay.black & white_before) | (replay.white & black_before)
    return dense.on_squares(turned, replay.board)


def game_phase(lengths: Int64[Tensor, "*position"], board: Board) -> Int64[Tensor, "*position"]:
    """0, 1 or 2, named by `PHASES`: the first, second and last third of a full game, by the number of moves played (from 1)."""
    return torch.clamp((lengths - 1) * len(PHASES) // board.moves, 0, len(PHASES) - 1)
