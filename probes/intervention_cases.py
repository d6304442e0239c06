"""Which edits are tried: positions of games, a square each, and the legal moves of the board with that square changed.

For: the cases of `intervention_score.py`, a pure function of (games, method). Not for: the edit itself (`intervention.py`).
A case is a game cut at a random length and a random square whose change alters the set of legal moves and leaves one: where the
legal moves stay the same, doing nothing would count as success. Boards need not be reachable by play (the "unnatural" cases of
arXiv 2210.13382 are not either), but the four squares of the centre are never erased: no game leaves them empty, so neither the
model nor a probe can know what that would look like.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from models.othello import dense, labels
from models.othello.board import PAD
from models.othello.games import Replay
from models.othello.rules_torch import legal_moves
from models.othello.task import OthelloTask
from models.random_stream import as_signed, draws
from models.streams import Draw
from probes.harvest import Games
from probes.intervention import EMPTY, Method

SHORTEST, LONGEST_SHARE = 5, 0.9
"""Cases have at least 5 moves and at most 0.9 of the longest input: the published window, 5 to 53 of 59."""


@dataclass(frozen=True)
class Cases:
    """One edit a game, shortest first."""

    tokens: Int64[Tensor, "case position"]
    """the games, padded to the longest cut"""
    length: Int64[Tensor, "case"]
    """moves made when the edit happens; the stream is edited at index length - 1"""
    square: Int64[Tensor, "case"]
    """the square that is changed"""
    state: Int64[Tensor, "case"]
    """the disc that is flipped, erased or added: 0 mine, 1 theirs, by the side that truly moves next"""
    legal_before: Bool[Tensor, "case vocab"]
    """the legal moves of the board as it is"""
    legal_after: Bool[Tensor, "case vocab"]
    """the legal moves of the changed board, same side to move"""


def draw_cases(task: OthelloTask, method: Method, games: Games, longest: int) -> Cases:
    """At most one case a game; games that end before their cut, or have no square that would do, give none.

    The games and lengths are the same for every method. Raises ValueError for a `longest` input shorter than any case.
    """
    if longest < SHORTEST:
        raise ValueError(f"the model reads {longest} moves, expected at least {SHORTEST}, where cases begin; take a longer one")
    tokens = task.sequences(Draw.PROBES.stream(games.seed), games.start, games.stop - games.start)[:, :longest]
    numbers = torch.arange(games.start, games.stop)
    random = _uniform(draws(Draw.INTERVENTION_CASES.stream(games.seed), numbers, 2 + task.board.squares))
    span = max(int(LONGEST_SHARE * longest), SHORTEST) - SHORTEST + 1
    length = SHORTEST + (random[:, 0] * span).long()
    replay = task.replay(tokens)
    game, at = torch.arange(len(tokens)), length - 1
    state = labels.board_state(replay)[game, at].long()
    disc = torch.where(state == EMPTY, (random[:, 1:2] < 0.5).long(), state)  # which disc an empty square would get
    before, after = _legal_after_each(replay, at, method, disc)
    eligible = ((state == EMPTY) == (method == "add")) & (after != 0) & (after != before[:, None])
    eligible &= (tokens[game, at] != PAD)[:, None]
    if method == "erase":
        eligible &= torch.tensor(task.board.token_of_square) != PAD
    square = random[:, 2:].masked_fill(~eligible, -1).argmax(1)
    kept = eligible.any(1).nonzero()[:, 0]
    kept = kept[length[kept].argsort(stable=True)]
    square = square[kept]
    return Cases(
        tokens=tokens[kept, : int(length[kept].max())] if len(kept) else tokens[:0],
        length=length[kept],
        square=square,
        state=disc[kept, square],
        legal_before=dense.on_tokens(before[kept], task.board),
        legal_after=dense.on_tokens(after[kept, square], task.board),
    )


def _uniform(words: Int64[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    return ((words >> 11) & ((1 << 53) - 1)).double() * 2.0**-53


def _legal_after_each(
    replay: Replay, at: Int64[Tensor, "game"], method: Method, disc: Int64[Tensor, "game square"]
) -> tuple[Int64[Tensor, "game"], Int64[Tensor, "game square"]]:
    """Bitboards of the legal moves as the board is, and with each square changed by the method."""
    game = torch.arange(len(at))
    black_moves = replay.to_move[game, at] == 1
    black, white = replay.black[game, at], replay.white[game, at]
    mine, theirs = torch.where(black_moves, black, white)[:, None], torch.where(black_moves, white, black)[:, None]
    bit = torch.tensor([as_signed(1 << bit) for bit in replay.board.bits])
    if method == "flip":
        changed = mine ^ bit, theirs ^ bit
    elif method == "erase":
        changed = mine & ~bit, theirs & ~bit
    else:
        changed = torch.where(disc == 0, mine | bit, mine), torch.where(disc == 1, theirs | bit, theirs)
    arena = torch.tensor(as_signed(replay.board.arena))
    return legal_moves(mine[:, 0], theirs[:, 0], arena), legal_moves(*changed, arena)
