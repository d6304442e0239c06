"""Why a game cannot be replayed: the first illegal move, in words.

For: errors that name the game, the move and the reason. Not for: finding legal moves (`games.py`).
"""

from models.othello.board import PAD, START_BLACK, START_WHITE
from models.othello.games import Replay
from models.othello.notation import square_text


class IllegalGame(ValueError):
    """A game with a move that is illegal, or one that stops early. Attributes: `game` (from 0), `move` (from 1), `reason`."""

    def __init__(self, game: int, move: int, reason: str, noun: str = "game", remedy: str = ""):
        super().__init__(f"{noun} {game}, move {move}: {reason}" + (f"; {remedy}" if remedy else ""))
        self.game, self.move, self.reason = game, move, reason


def fault_of(replay: Replay, game: int) -> tuple[int, str] | None:
    """The number (from 1) of the first illegal move of one game and the reason; None where every move is legal."""
    board, played = replay.board, int(replay.played[game])
    if played == int(replay.lengths[game]):
        return None
    token = int(replay.tokens[game, played])
    if token == PAD:
        return played + 1, "padding (token 0) is followed by more moves"
    if not 0 < token < board.vocab:
        return played + 1, f"token {token} is no move, expected 1 .. {board.moves}"
    bit = int(board.bit_of_token[token])
    move = f"{square_text(board.square(token), board)} (token {token})"
    if played == 0:
        occupied, colour = START_BLACK | START_WHITE, "black"
    else:
        before = played - 1
        occupied = int(replay.black[game, before] | replay.white[game, before])
        colour = "black" if replay.to_move[game, before] == 1 else "white"
    if occupied >> bit & 1:
        return played + 1, f"{move} is illegal for {colour}: the square is taken"
    if played and not _has_moves(replay, game, played):
        return played + 1, f"{move} comes after the end of the game: neither side has a legal move"
    return played + 1, f"{move} is illegal for {colour}: it flips no disc"


def _has_moves(replay: Replay, game: int, played: int) -> bool:
    return int(replay.legal[game, played - 1]) != 0


def refuse_illegal(replay: Replay, noun: str = "game", remedy: str = "") -> None:
    """Raise `IllegalGame` for the first game with an illegal move, if there is one."""
    faulty = (replay.played != replay.lengths).nonzero()
    if len(faulty):
        game = int(faulty[0])
        fault = fault_of(replay, game)
        assert fault is not None
        raise IllegalGame(game, *fault, noun=noun, remedy=remedy)
