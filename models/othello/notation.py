"""How a square is written: `f5`, and the transposed way of the published OthelloGPT data.

For: one parser and one printer that everything else uses. Not for: whole games (`transcripts.py`, `wthor.py`).

    standard    the letter is the column, the digit the row from 1: square 37 of an 8x8 board is f5. What players and WTHOR use
    transposed  the letter is the row, the digit the column from 1: square 37 is e6. The published OthelloGPT data print this;
                since transposition is a symmetry of the start position, games read the wrong way are still legal, but mirrored
"""

from typing import Literal, get_args

from models.othello.board import Board

Notation = Literal["standard", "transposed"]


def _letter_is_row(notation: str) -> bool:
    if notation not in get_args(Notation):
        raise ValueError(f"notation {notation!r} is unknown; choose one of {', '.join(get_args(Notation))}")
    return notation == "transposed"


def square_text(square: int, board: Board, notation: Notation = "standard") -> str:
    """The text of a square 0 .. size**2 - 1, in lower case; a ValueError for other numbers."""
    if not 0 <= square < board.squares:
        raise ValueError(f"square {square} is not on the {board.size}x{board.size} board; expected 0 .. {board.squares - 1}")
    row, column = divmod(square, board.size)
    letter, digit = (row, column) if _letter_is_row(notation) else (column, row)
    return f"{'abcdefgh'[letter]}{digit + 1}"


def parse_square(text: str, board: Board, notation: Notation = "standard") -> int:
    """The square that `f5` or `F5` names; a ValueError for text that is no square of the board."""
    letter, digit = "abcdefgh".find(text[:1].lower()), "12345678".find(text[1:])
    if len(text) != 2 or not 0 <= letter < board.size or not 0 <= digit < board.size:
        last = f"{'abcdefgh'[board.size - 1]}{board.size}"
        raise ValueError(f"{text!r} is no square of the {board.size}x{board.size} board; expected a1 to {last}")
    row, column = (letter, digit) if _letter_is_row(notation) else (digit, letter)
    return row * board.size + column
