"""The board: which squares there are, which bit holds each, and which token names each.

For: boards of 4x4, 6x6 and 8x8 through one code path. Every board is the centre of one 8x8 grid of 64 bits, so a smaller
board is the same rules with fewer playable squares (its `arena`): the start position, the shifts and the edge masks are
shared, and no kernel knows the size. Not for: rules (`rules_numba.py`, `rules_torch.py`).

Three ways to name a place, each an integer:
    bit     0 .. 63 of the grid, 8 * row + column of the grid; what bitboards are made of
    square  0 .. size**2 - 1, size * row + column of the board; equal to the bit on 8x8
    token   1 .. size**2 - 4, the squares but the four of the centre, in order; 0 is padding
"""

from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np

GRID = 8
START_BLACK = 1 << 28 | 1 << 35  # black is the first mover
START_WHITE = 1 << 27 | 1 << 36
CENTRE = START_BLACK | START_WHITE
COLUMNS_INNER = 0x7E7E7E7E7E7E7E7E  # a disc in the first or last column is never flipped sideways or diagonally
ROWS_INNER = 0x00FFFFFFFFFFFF00  # nor one in the first or last row vertically or diagonally
DIRECTIONS = (
    (1, COLUMNS_INNER),
    (8, ROWS_INNER),
    (7, COLUMNS_INNER & ROWS_INNER),
    (9, COLUMNS_INNER & ROWS_INNER),
)
"""Shift and mask of the discs that can be flipped along each axis; each shift goes both ways."""

SIZES = (4, 6, 8)
PAD = 0


@dataclass(frozen=True)
class Board:
    """The geometry of one board size; make it with `board_of_size`."""

    size: int

    def __post_init__(self) -> None:
        """Refuse other sizes."""
        if self.size not in SIZES:
            raise ValueError(f"board size {self.size!r} is not supported; choose one of {', '.join(map(str, SIZES))}")

    @property
    def squares(self) -> int:
        """Number of squares, 64 on 8x8."""
        return self.size**2

    @property
    def moves(self) -> int:
        """Number of moves of a full game, 60 on 8x8."""
        return self.squares - 4

    @property
    def vocab(self) -> int:
        """Number of tokens: one a move and the padding, 61 on 8x8."""
        return self.moves + 1

    @cached_property
    def bits(self) -> tuple[int, ...]:
        """The grid bit of each square."""
        border = (GRID - self.size) // 2
        return tuple(GRID * (row + border) + column + border for row in range(self.size) for column in range(self.size))

    @cached_property
    def arena(self) -> int:
        """The 64-bit mask of the squares of this board, as an unsigned integer."""
        return sum(1 << bit for bit in self.bits)

    @cached_property
    def square_of_token(self) -> tuple[int, ...]:
        """The square of tokens 1, 2, ... at index 1, 2, ...; index 0, the padding, holds -1."""
        return (-1, *(square for square, bit in enumerate(self.bits) if not CENTRE >> bit & 1))

    @cached_property
    def token_of_square(self) -> tuple[int, ...]:
        """The token of each square; the four centre squares, which no move can name, hold 0."""
        tokens = {square: token for token, square in enumerate(self.square_of_token)}
        return tuple(tokens.get(square, PAD) for square in range(self.squares))

    @property
    def centre(self) -> tuple[int, ...]:
        """The four squares that hold discs from the start, in order."""
        return tuple(square for square, token in enumerate(self.token_of_square) if token == PAD)

    @cached_property
    def move_of_token(self) -> np.ndarray:
        """uint64[256]: the bitboard of each token's square; 0 for the padding and for numbers that are no token."""
        moves = np.zeros(256, np.uint64)
        for token in range(1, self.vocab):
            moves[token] = 1 << self.bits[self.square_of_token[token]]
        return moves

    def token(self, square: int) -> int:
        """The token of a square 0 .. size**2 - 1; a ValueError for the centre and for squares off the board."""
        if not 0 <= square < self.squares:
            raise ValueError(f"square {square} is not on the {self.size}x{self.size} board; expected 0 .. {self.squares - 1}")
        token = self.token_of_square[square]
        if token == PAD:
            raise ValueError(f"square {square} is one of the four of the centre, which hold discs from the start: no move")
        return token

    def square(self, token: int) -> int:
        """The square of a token 1 .. size**2 - 4; a ValueError for padding and for numbers that are no token."""
        if not 1 <= token < self.vocab:
            raise ValueError(f"token {token} names no move on the {self.size}x{self.size} board; expected 1 .. {self.moves}")
        return self.square_of_token[token]


@cache
def board_of_size(size: int) -> Board:
    """The board of `size` x `size` squares, one object a size; a ValueError for sizes other than 4, 6 and 8."""
    return Board(size)
