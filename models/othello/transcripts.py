"""Games as plain text, one a line: `f5d6c3d3c4...`.

For: reading and writing the form that players and programs exchange. Passes are not written, and a game goes to its end. Not
for: single squares (`notation.py`).
"""

from collections.abc import Callable, Iterator
from functools import lru_cache

import torch
from jaxtyping import Integer
from torch import Tensor

from models.othello.board import PAD, Board
from models.othello.faults import BLOCK, Block, SoundGames, sound_games
from models.othello.notation import Notation, parse_square, square_text

SQUARES_KEPT = 1 << 12
"""How many texts of moves are remembered while a file is read; a board has some hundred, with capitals."""
SPACES = dict.fromkeys(point for point in range(0x3001) if chr(point).isspace())
"""What is left out of a line, for `str.translate`, which makes no object for each move of a long one."""
PIECE = 1 << 20
"""Characters that are cut into lines at a time: an object for each line of a long text takes many times the text."""


def _reader_of_moves(board: Board, notation: Notation) -> Callable[[str], int | str]:
    """Reads the text of a move: its token, or what is wrong with it; what was read before is looked up, not made anew."""

    @lru_cache(SQUARES_KEPT)
    def read(text: str) -> int | str:
        try:
            return board.token(parse_square(text, board, notation))
        except ValueError as error:
            return str(error).rstrip(".")

    return read


def _tokens_of(text: str, board: Board, read: Callable[[str], int | str]) -> tuple[list[int], tuple[int, str] | None]:
    """The moves of one game, and the number and reason of the first that cannot be read."""
    tokens: list[int] = []
    for start in range(0, min(len(text), 2 * board.moves), 2):
        token = read(text[start : start + 2])
        if isinstance(token, str):
            return tokens, (len(tokens) + 1, token)
        tokens.append(token)
    if len(text) > 2 * board.moves:
        moves = (len(text) + 1) // 2
        return tokens, (board.moves + 1, f"a game has at most {board.moves} moves, this one has {moves}")
    return tokens, None


def _lines(text: str) -> Iterator[str]:
    start = 0
    while start < len(text):
        end = text.find("\n", start + PIECE) + 1 or len(text)
        yield from text[start:end].splitlines()
        start = end


def _blocks(text: str, board: Board, notation: Notation, skip_bad: bool) -> Iterator[Block]:
    read = _reader_of_moves(board, notation)
    games, numbers, unreadable = bytearray(), list[int](), {}
    for number, line in enumerate(_lines(text), 1):
        if not (moves := line.translate(SPACES)):
            continue
        known, fault = _tokens_of(moves, board, read)
        if fault:
            unreadable[len(numbers)] = fault
        numbers.append(number)
        games += bytes(known).ljust(board.moves, bytes([PAD]))
        if fault and not skip_bad:
            break  # nothing after it is the first faulty game
        if len(numbers) == BLOCK:
            yield _block(games, numbers, unreadable)
            games, numbers, unreadable = bytearray(), [], {}
    if numbers:
        yield _block(games, numbers, unreadable)


def _block(games: bytearray, numbers: list[int], unreadable: dict[int, tuple[int, str]]) -> Block:
    return Block(torch.frombuffer(games, dtype=torch.uint8).view(len(numbers), -1), numbers, unreadable)


def read_transcripts(text: str, board: Board, notation: Notation = "standard", skip_bad: bool = False) -> SoundGames:
    """The games of a text, one a line; upper or lower case, spaces between moves allowed, blank lines left out.

    Raises `IllegalGame`, a ValueError, naming line, move number and reason, for a game that cannot be read, has an illegal move
    or is cut off; `skip_bad` leaves such games out, and tells of the first ones in `skipped`.
    """
    return sound_games(board, _blocks(text, board, notation, skip_bad), "line", skip_bad)


def write_transcripts(tokens: Integer[Tensor, "game ply"], board: Board, notation: Notation = "standard") -> str:
    """The games as text, one a line with a newline each; padding is left out. A ValueError for numbers that are no token."""
    games = ("".join(square_text(board.square(token), board, notation) for token in game if token) for game in tokens.tolist())
    return "".join(f"{game}\n" for game in games)
