"""Many positions: which games, which of their positions, and the effects summed over them.

For: the scan that runs beside the notebook. Not for: one position (`effects.py`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Int64
from torch import Tensor

from models.othello import labels
from models.othello.board import PAD, Board
from models.othello.games import generate, replay
from models.othello.wthor import read_wthor
from models.streams import Draw
from workbench.rerun_from import plain_form
from workbench.widgets.othello_explorer.effects import Effects, effects
from workbench.widgets.othello_explorer.game import read_game
from workbench.widgets.othello_explorer.lens import Lens

RANDOM_GAMES = 64
GAMES_AT_ONCE = 8

Span = Literal["all", "trained", "beyond"]
"""Which positions of the games: all, those as long as in training, or longer ones."""
SPANS: tuple[Span, ...] = get_args(Span)


@dataclass(frozen=True, eq=False)
class Pool:
    """Games to ask about."""

    name: str
    tokens: Int64[Tensor, "game move"]


@dataclass(frozen=True, eq=False)
class Scan:
    """The effects over a pool, and what was asked."""

    asked: str
    effects: Effects
    parts: list[tuple[int, int | None]]
    depths: list[str]


def random_pool(board: Board, games: int = RANDOM_GAMES) -> Pool:
    """The first random games of the evaluation stream, which no training run and no probe has seen."""
    return Pool(f"{games} random games", generate(board, Draw.EVALUATION.stream(0), 0, games).long())


def read_pool(name: str, data: bytes, board: Board) -> Pool:
    """The games of a file: WTHOR (`.wtb`, its bad games left out), or transcripts, one game a line, complete or not.

    Raises ValueError naming file and line for what cannot be read.
    """
    if name.lower().endswith(".wtb"):
        if board.size != 8:
            raise ValueError(f"{name} holds 8x8 games, the model plays {board.size}x{board.size}; choose another file")
        tokens = read_wthor(data, skip_bad=True).games.tokens.long()
    else:
        tokens = _read_lines(name, data, board)
    if not len(tokens):
        raise ValueError(f"{name} holds no game; give transcripts, one a line, or a WTHOR file")
    return Pool(f"{name}, {len(tokens)} game{'s' if len(tokens) > 1 else ''}", tokens)


def _read_lines(name: str, data: bytes, board: Board) -> Int64[Tensor, "game move"]:
    try:
        lines = data.decode().splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{name} is no text; give transcripts, one a line, or a WTHOR file that ends in .wtb") from error
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            tokens = read_game(line, board).tokens
        except ValueError as error:
            raise ValueError(f"{name}, line {number}: {error}") from error
        if tokens:
            rows.append((*tokens, *[PAD] * (board.moves - len(tokens))))
    return torch.tensor(rows, dtype=torch.int64).reshape(-1, board.moves)


def scan(
    lens: Lens,
    pool: Pool,
    move: int | None = None,
    span: Span = "all",
    progress: Callable[[float, str], None] = lambda *_: None,
) -> Scan:
    """Sums the effects over a pool, a few games at a time.

    Args:
        lens: not used by another thread meanwhile.
        pool: the games.
        move: the token whose advantage is asked for, where it is legal; None asks for the legal tokens' advantage everywhere.
        span: which positions, by the length the model was trained to.
        progress: called with the share done, several times in every few games; may raise to stop.

    Raises ValueError where no position is asked about.
    """
    stand_in = plain_form(lens.model, pool.tokens[:1, : lens.subject.longest].to(lens.model.cfg.device))
    total = None
    for first in range(0, len(pool.tokens), GAMES_AT_ONCE):

        def told(share: float, first: int = first) -> None:
            done = min(len(pool.tokens), first + share * GAMES_AT_ONCE) / len(pool.tokens)
            progress(done, f"{first} of {len(pool.tokens)} games")

        told(0.0)
        tokens = pool.tokens[first : first + GAMES_AT_ONCE, : lens.subject.longest]
        legal = labels.legal_tokens(replay(lens.subject.task.board, tokens))
        favoured = legal if move is None else torch.arange(legal.shape[-1]).eq(move).expand_as(legal)
        asked = (favoured & legal).any(-1) & (tokens != PAD) & _in_span(span, lens.train_length, tokens.shape[1])
        if asked.any():
            found = effects(lens, tokens, favoured, legal, asked, stand_in, told)
            total = found if total is None else total + found
    if total is None:
        raise ValueError(f"no position of {pool.name} is asked about; choose another move, span or pool")
    what = "legal moves" if move is None else f"move {lens.subject.task.token_label(move)}, where legal"
    where = {"all": "all lengths", "trained": f"1 to {lens.train_length} moves", "beyond": f"over {lens.train_length} moves"}
    asked_for = f"{what} · {pool.name} · {where[span]} · {total.positions} positions · {lens.name}"
    return Scan(asked_for, total, lens.parts, lens.depths)


def _in_span(span: Span, train_length: int | None, longest: int) -> Tensor:
    if span not in SPANS:
        raise ValueError(f"span '{span}' is unknown; choose one of {', '.join(SPANS)}")
    length = torch.arange(1, longest + 1)
    if span == "all":
        return length > 0
    if train_length is None:
        raise ValueError("the length the model was trained to is unknown; choose all lengths")
    return length <= train_length if span == "trained" else length > train_length
