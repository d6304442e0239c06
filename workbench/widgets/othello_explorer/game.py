"""Games of Othello as the explorer holds them: a line of legal moves, and the position after each.

For: setting up nothing illegal, whoever asks (a click, a transcript, a random draw). Not for: batches of games (`games.py`).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float

from models.othello.board import PAD, START_BLACK, START_WHITE, Board
from models.othello.faults import IllegalGame, illegal_move
from models.othello.games import Replay, generate
from models.othello.games import replay as replay_games
from models.othello.notation import parse_square, square_text
from models.othello.rules_torch import legal_moves
from models.random_stream import MASK_64, as_signed
from probes.intervention import EMPTY, Method


@dataclass(frozen=True)
class Edit:
    """One square of the board changed inside the model; words as in `probes.intervention.intervene`."""

    method: Method
    square: int
    disc: int
    """the disc that is flipped, erased or added: 0 mine, 1 theirs"""


@dataclass(frozen=True)
class Position:
    """The board after some moves. Bitboards are unsigned; their bits are the `bits` of the board."""

    board: Board
    moves: int
    """how many moves were played"""
    last: int | None
    """the square of the last move"""
    black: int
    white: int
    legal: int
    black_moves: bool
    """whether black truly moves next, passes resolved"""

    @property
    def over(self) -> bool:
        """Whether neither side can move."""
        return self.legal == 0

    @cached_property
    def discs(self) -> tuple[int, ...]:
        """What is on each square: 0 black, 1 white, 2 nothing."""
        return tuple(0 if self.black >> bit & 1 else 1 if self.white >> bit & 1 else EMPTY for bit in self.board.bits)

    @property
    def mine(self) -> tuple[int, ...]:
        """What is on each square for the side to move: 0 mine, 1 theirs, 2 nothing; `discs` from this is the same turn."""
        return self.discs if self.black_moves else tuple(disc if disc == EMPTY else 1 - disc for disc in self.discs)

    def is_legal(self, square: int) -> bool:
        """Whether the side to move may move there."""
        return bool(self.legal >> self.board.bits[square] & 1)

    @cached_property
    def legal_tokens(self) -> Bool[np.ndarray, "vocab"]:
        """True where a token may come next."""
        return np.array([square >= 0 and self.is_legal(square) for square in self.board.square_of_token])

    @property
    def target(self) -> Float[np.ndarray, "vocab"]:
        """Uniform over the legal tokens; 0 everywhere at the end of a game."""
        return self.legal_tokens / max(1, self.legal_tokens.sum())

    def edited(self, edits: Sequence[Edit]) -> "Position":
        """The position with squares changed and the legal moves that the same side would then have."""
        own, other = (self.black, self.white) if self.black_moves else (self.white, self.black)
        for edit in edits:
            bit = 1 << self.board.bits[edit.square]
            becomes = {"flip": 1 - edit.disc, "erase": EMPTY, "add": edit.disc}[edit.method]
            own = own | bit if becomes == 0 else own & ~bit
            other = other | bit if becomes == 1 else other & ~bit
        black, white = (own, other) if self.black_moves else (other, own)
        return replace(self, black=black, white=white, legal=_legal(self.board, own, other))


def _legal(board: Board, own: int, other: int) -> int:
    words = (torch.tensor(as_signed(word)) for word in (own, other, board.arena))
    return int(legal_moves(*words)) & MASK_64


@dataclass(frozen=True)
class Game:
    """A line of moves, every one legal: a ValueError naming the first that is not otherwise."""

    board: Board
    tokens: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Refuse illegal moves."""
        fault = illegal_move(self._replay, 0)
        if fault is not None:
            raise IllegalGame("the game", *fault, "play legal moves only")

    @cached_property
    def _replay(self) -> Replay:
        return replay_games(self.board, torch.tensor([self.tokens], dtype=torch.int64).reshape(1, -1))

    @cached_property
    def positions(self) -> tuple[Position, ...]:
        """The position after 0, 1, 2, ... moves."""
        start = Position(self.board, 0, None, START_BLACK, START_WHITE, _legal(self.board, START_BLACK, START_WHITE), True)
        words = (
            column[0].tolist() for column in (self._replay.black, self._replay.white, self._replay.legal, self._replay.to_move)
        )
        played = zip(self.squares, *words, strict=True)
        return start, *(
            Position(self.board, number, square, black & MASK_64, white & MASK_64, legal & MASK_64, side == 1)
            for number, (square, black, white, legal, side) in enumerate(played, start=1)
        )

    def passed(self, moves: int) -> bool:
        """Whether the side whose turn it was after `moves` moves had to pass, or the game was over."""
        position = self.positions[moves]
        return position.over or (moves > 0 and position.black_moves == self.positions[moves - 1].black_moves)

    @property
    def squares(self) -> tuple[int, ...]:
        """The square of each move."""
        return tuple(self.board.square(token) for token in self.tokens)

    @property
    def text(self) -> str:
        """The transcript in standard notation: `f5d6c3`."""
        return "".join(square_text(square, self.board) for square in self.squares)

    def play(self, moves: int, square: int) -> "Game":
        """The first `moves` moves and then one more; a ValueError for an illegal one."""
        token = self.board.token_of_square[square] if 0 <= square < self.board.squares else PAD
        if token == PAD or not self.positions[moves].is_legal(square):
            name = square_text(square, self.board) if 0 <= square < self.board.squares else f"square {square}"
            side = "black" if self.positions[moves].black_moves else "white"
            raise ValueError(f"{name} is no legal move for {side} here; choose a square with a ring")
        return Game(self.board, (*self.tokens[:moves], token))


_PARTS = re.compile(
    r"""(?P<between> [\s,;]+ | -(?!-) | \d+(?:[.):]+|(?=\s)|$) | \.+ )  # separators and move numbers
      | (?P<passed> -- | pass | pa )
      | (?P<square> [a-z]\d | .{1,2} )""",
    re.VERBOSE,
)


def read_game(text: str, board: Board) -> Game:
    """The game of a transcript, complete or not, as people write it.

    Upper case, spaces, line ends, commas, hyphens and move numbers (`1. f5 d6`, `1.f5-d6`) are allowed, and so are marks of
    passes (`--`, `pass`, `pa`) where a side had to pass. Raises ValueError naming the move that cannot be read or is illegal.
    """
    tokens: list[int] = []
    passes = []
    for part in _PARTS.finditer(text.lower()):
        if part["passed"]:
            passes.append(len(tokens))
        elif part["square"]:
            try:
                tokens.append(board.token(parse_square(part["square"], board)))
            except ValueError as error:
                raise ValueError(f"transcript, move {len(tokens) + 1}: {error}") from error
    if len(tokens) > board.moves:
        raise ValueError(f"the transcript has {len(tokens)} moves, a game has at most {board.moves}; paste one game")
    game = Game(board, tuple(tokens))
    for moves in passes:
        if not game.passed(moves):
            raise ValueError(f"transcript, after move {moves}: a pass is marked where a move is legal; leave it out")
    return game


def random_game(board: Board, number: int) -> Game:
    """Game `number` of the uniformly random ones, to its end."""
    return Game(board, tuple(token for token in generate(board, 0, number, 1)[0].tolist() if token != PAD))
