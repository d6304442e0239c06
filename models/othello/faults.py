"""What is wrong with a game: the first illegal move, or the end that is missing, in words.

For: errors that name the game, the move and the reason, and reading archives in which some games are bad. Not for: finding
legal moves (`games.py`).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from models.othello.board import PAD, START_BLACK, START_WHITE, Board
from models.othello.games import Replay, replay
from models.othello.notation import square_text

BLOCK = 1 << 12
"""Games replayed at once, of some 2 kB each."""
NAMED = 1000
"""How many of the games left out are told one by one; the others are counted, since an archive may have millions of them."""
REMEDY = "correct the game, or skip bad games (--skip-bad, in Python skip_bad=True)"


class IllegalGame(ValueError):
    """A game with an illegal move, or one that stops too early."""

    def __init__(self, game: str, move: int, reason: str, remedy: str):
        """`remedy` ends the message: what the caller can do."""
        super().__init__(game, move, reason, remedy)

    def __str__(self) -> str:
        return "{}, move {}: {}; {}".format(*self.args)

    @property
    def game(self) -> str:
        """Its name in the message."""
        return self.args[0]

    @property
    def move(self) -> int:
        """The number of the first faulty move, from 1."""
        return self.args[1]

    @property
    def reason(self) -> str:
        """What is wrong with that move."""
        return self.args[2]


@dataclass(frozen=True)
class SoundGames:
    """The games of an archive that can be replayed to their end, and what was wrong with the others."""

    tokens: UInt8[Tensor, "game moves"]
    kept: Int64[Tensor, "game"]
    """Where in the archive each of these games stands, from 0."""
    skipped: tuple[IllegalGame, ...]
    """What is wrong with the first `NAMED` of those left out."""
    left_out: int
    """How many were left out in all."""


@dataclass(frozen=True)
class Block:
    """Some games of an archive that stand one after another, at most `BLOCK` of them, as they were read."""

    tokens: UInt8[Tensor, "game moves"]
    numbers: Sequence[int]
    """What each is called in the archive, after its noun."""
    unreadable: Mapping[int, tuple[int, str]]
    """Faults known already, by place in this block: move number (from 1) and reason."""


def illegal_move(played: Replay, game: int) -> tuple[int, str] | None:
    """The number (from 1) of the first illegal move of one game, and the reason; None where every move is legal."""
    board, before = played.board, int(played.played[game])
    if before == int(played.lengths[game]):
        return None
    number, token = before + 1, int(played.tokens[game, before])
    if token == PAD:
        return number, "padding (token 0) is followed by more moves"
    if not 0 < token < board.vocab:
        return number, f"token {token} is no move, expected 1 .. {board.moves}"
    occupied, options, black_moves = START_BLACK | START_WHITE, 1, True
    if before:
        occupied = int(played.black[game, before - 1] | played.white[game, before - 1])
        options, black_moves = int(played.legal[game, before - 1]), int(played.to_move[game, before - 1]) == 1
    square = board.square(token)
    move = f"{square_text(square, board)} (token {token})"
    if not options:
        return number, f"{move} comes after the end of the game, neither side has a legal move"
    reason = "the square is taken" if occupied >> board.bits[square] & 1 else "it flips no disc"
    return number, f"{move} is illegal for {'black' if black_moves else 'white'}, {reason}"


def refuse_illegal(played: Replay, noun: str, remedy: str) -> None:
    """Raise `IllegalGame` for the first game with an illegal move, if there is one; `noun` is what a game is called."""
    faulty = (played.played != played.lengths).nonzero()
    if len(faulty):
        game = int(faulty[0])
        fault = illegal_move(played, game)
        assert fault is not None
        raise IllegalGame(f"{noun} {game}", *fault, remedy)


def sound_games(board: Board, blocks: Iterable[Block], noun: str, skip_bad: bool) -> SoundGames:
    """The games in which every move is legal and after which neither side can move; blocks are let go as they are judged.

    `noun` is what a game is called, before its number. Raises `IllegalGame` for the first faulty game, or leaves out the
    faulty ones if `skip_bad`.
    """
    sound, kept, skipped, seen = bytearray(), [torch.zeros(0, dtype=torch.int64)], list[IllegalGame](), 0
    for block in blocks:
        legal = torch.ones(len(block.tokens), dtype=torch.bool)
        for game, move, reason in _faults(replay(board, block.tokens), block.unreadable):
            legal[game] = False
            if not skip_bad or len(skipped) < NAMED:
                skipped.append(IllegalGame(f"{noun} {block.numbers[game]}", move, reason, REMEDY))
            if not skip_bad:
                raise skipped[0]
        sound += block.tokens[legal].numpy().tobytes()
        kept.append(legal.nonzero()[:, 0] + seen)
        seen += len(legal)
    tokens = torch.frombuffer(sound or bytearray(1), dtype=torch.uint8)  # torch takes no empty one
    games = tokens[: len(sound)].view(-1, board.moves)
    return SoundGames(games, torch.cat(kept), tuple(skipped), seen - len(games))


def _faults(played: Replay, unreadable: Mapping[int, tuple[int, str]]) -> Iterator[tuple[int, int, str]]:
    """The faulty games of a block: place, move (from 1) and reason of each."""
    lengths = played.lengths
    options = torch.where(lengths == 0, 1, played.legal.gather(1, (lengths - 1).clamp(min=0)[:, None])[:, 0])
    stopped, unfinished = (played.played != lengths).tolist(), (options != 0).tolist()
    for game, length in enumerate(lengths.tolist()):
        known = [unreadable.get(game), illegal_move(played, game) if stopped[game] else None]
        found = [fault for fault in known if fault]
        if not found and unfinished[game]:
            found = [(length + 1, "the game is cut off, there is a legal move")]
        if found:
            yield game, *min(found, key=lambda fault: fault[0])
