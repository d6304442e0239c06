"""WTHOR: the archive of tournament games that the French Othello federation keeps, one `.wtb` file a year.

For: reading games played by people. Not for: the lists of names beside it (`.jou`, `.trn`), nor endgame problems.

A file is a header of 16 bytes and 68 bytes a game, all numbers little-endian:
    header  century, year, month, day of writing (1 byte each), number of games (4), 0 (2), year of the games (2), side of the
            board (1; 0 means 8), 1 for endgame problems (1), depth of the theoretical score in empty squares (1), unused (1)
    game    tournament, black player, white player (2 each), discs of black at the end (1), the same with best play (1),
            60 moves (1 each): 10 * row + column, both from 1, so that f5 is 56; 0 after the last one; passes are left out
(Layout: "Format de la base WThor", Federation Francaise d'Othello.)
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from models.othello.board import PAD, board_of_size
from models.othello.faults import BLOCK, Block, SoundGames, sound_games

HEADER = np.dtype(
    [
        ("century", "u1"),
        ("year", "u1"),
        ("month", "u1"),
        ("day", "u1"),
        ("games", "<u4"),
        ("names", "<u2"),
        ("year_of_games", "<u2"),
        ("side", "u1"),
        ("problems", "u1"),
        ("depth", "u1"),
        ("unused", "u1"),
    ]
)
RECORD = np.dtype(
    [
        ("tournament", "<u2"),
        ("black_player", "<u2"),
        ("white_player", "<u2"),
        ("black_score", "u1"),
        ("theoretical_score", "u1"),
        ("moves", "u1", 60),
    ]
)


@dataclass(frozen=True)
class WthorFile:
    """The games of one file; `records[i]` is what the file says of game i of `games`, field by field as in `RECORD`."""

    year: int
    depth: int
    games: SoundGames
    records: np.ndarray


def _token_of_byte() -> np.ndarray:
    """uint8[256]: the token of each move byte, PAD for bytes that name no square that can be played."""
    board = board_of_size(8)
    tokens = np.full(256, PAD, np.uint8)
    for square, token in enumerate(board.token_of_square):
        row, column = divmod(square, 8)
        tokens[10 * (row + 1) + column + 1] = token
    return tokens


def _blocks(moves: np.ndarray) -> Iterator[Block]:
    token_of_byte = _token_of_byte()
    for start in range(0, len(moves), BLOCK):
        some = moves[start : start + BLOCK]
        tokens, unreadable = token_of_byte[some], {}
        odd = (tokens == PAD) & (some != 0)
        for game in np.flatnonzero(odd.any(1)).tolist():
            move = int(odd[game].argmax())
            unreadable[game] = move + 1, f"byte {some[game, move]} names no square that can be played (10 * row + column)"
        yield Block(torch.from_numpy(tokens), range(start + 1, start + 1 + len(some)), unreadable)


def read_wthor(data: bytes, skip_bad: bool = False) -> WthorFile:
    """The 8x8 games of the bytes of a `.wtb` file.

    Raises ValueError for a file that is no such file or is cut off, and `IllegalGame`, a ValueError naming game (from 1), move
    number and reason, for a game with an illegal or missing move; `skip_bad` leaves such games out, and tells of the first
    ones in `games.skipped`.
    """
    if len(data) < HEADER.itemsize:
        raise ValueError(f"WTHOR file of {len(data)} bytes: expected a header of {HEADER.itemsize}; fetch the file again")
    header = np.frombuffer(data, HEADER, 1)[0]
    if header["side"] not in (0, 8) or header["problems"]:
        kind = "endgame problems" if header["problems"] else f"games on a board of side {header['side']}"
        raise ValueError(f"WTHOR file of {kind}: only 8x8 games can be read; take a WTH_<year>.wtb file")
    expected = HEADER.itemsize + RECORD.itemsize * int(header["games"])
    if len(data) != expected:
        raise ValueError(f"WTHOR file of {len(data)} bytes: {header['games']} games take {expected}; fetch the file again")
    records = np.frombuffer(data, RECORD, int(header["games"]), HEADER.itemsize)
    games = sound_games(board_of_size(8), _blocks(records["moves"]), "game", skip_bad)
    return WthorFile(int(header["year_of_games"]), int(header["depth"]), games, records[games.kept.numpy()])
