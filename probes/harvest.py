"""Games to labelled positions: which games, which positions, what is on each square, and the stream there, layer by layer.

For: feeding every board probe, while it is fitted and while it is measured, from one forward pass of all layers; nothing is
kept. Games are drawn by number from a stream of their own, for fitting first and for measuring after, so that a game is wholly
on one side (split by game, never by position). Positions are those with a legal next move: no padding, no finished game.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Float, Int8, Int64
from torch import Tensor
from tqdm.auto import tqdm

from models.othello import labels
from models.othello.labels import Frame
from models.othello.task import OthelloTask
from models.streams import Draw, require_seed
from models.whole_numbers import require_whole
from probes.drawn_sequences import batches
from probes.residual_stream import Stream, read_streams
from probes.subject import OthelloSubject

BATCH = 32


class Target(NamedTuple):
    """What a probe is asked for."""

    frame: Frame
    """which three states: mine / theirs / empty (`to_move`, or published `parity`), or black / white / empty (`colour`)"""
    shuffled: bool = False
    """True for the control: the board of another game at the same length"""


@dataclass(frozen=True)
class Games:
    """Games start .. stop - 1 of the stream of a seed."""

    seed: int
    start: int
    stop: int

    def __post_init__(self) -> None:
        require_seed(self.seed)
        require_whole("games", self.stop - self.start, least=2)


@dataclass(frozen=True)
class Positions:
    """A batch of games and their labelled positions; a row is a position, in order of game, then length."""

    tokens: Int64[Tensor, "game position"]
    rows: Int64[Tensor, "row"]
    """where the row is in (game position) flattened"""
    game: Int64[Tensor, "row"]
    """its game, from 0 in this batch"""
    length: Int64[Tensor, "row"]
    """how many moves have been made, from 1"""
    states: dict[Target, Int8[Tensor, "row square"]]
    """what is on each square: 0, 1 or 2, named by `labels.STATES`"""

    def select(self, stream: Stream) -> Float[Tensor, "row width"]:
        """The stream at the labelled positions, in float32 as probes are."""
        return rearrange(stream, "game position width -> (game position) width")[self.rows].float()

    @cached_property
    def indicators(self) -> Float[Tensor, "row column"]:
        """1 where a square is in state 0 or 1, columns (target, state, square); state 2 is what remains."""
        return torch.cat([state == value for state in self.states.values() for value in (0, 1)], dim=1).float()


def labelled(
    task: OthelloTask, tokens: Int64[Tensor, "game position"], targets: Sequence[Target], device: torch.device | str = "cpu"
) -> Positions:
    """The labelled positions of games given as their inputs (no more than `task.longest` moves), on a device."""
    replay = task.replay(tokens)
    rows = rearrange(replay.legal != 0, "game position -> (game position)").nonzero()[:, 0]
    states = {}
    for target in targets:
        state = labels.board_state(replay, target.frame)
        state = state.roll(1, dims=0) if target.shuffled else state
        states[target] = rearrange(state, "game position square -> (game position) square")[rows].to(device)
    game, position = rows // tokens.shape[1], rows % tokens.shape[1]
    return Positions(tokens.to(device), rows.to(device), game.to(device), (position + 1).to(device), states)


Consume = Callable[[int, Float[Tensor, "row width"], Positions], None]
"""Called with a layer, the stream at the labelled positions, and these positions."""


def harvest(
    subject: OthelloSubject,
    games: Games,
    targets: Sequence[Target],
    consume: Consume,
    *,
    batch: int = BATCH,
    progress: bool = False,
    report: Callable[[int], None] = lambda games: None,
    description: str = "games",
) -> None:
    """Runs the model over games, once, and hands the stream at every labelled position to `consume`, layer by layer.

    Args:
        subject: the model, its task, and so the length of the inputs.
        games: which games.
        targets: which labels the positions get.
        consume: keeps what it needs; called in order of layer, without gradients.
        batch: games a forward pass; at least 2, so that a shuffled label has another game to come from.
        progress: show a progress bar.
        report: called after every forward pass with the number of games done so far; may raise to end it.
        description: what the bar says.
    """
    with tqdm(total=games.stop - games.start, unit="game", desc=description, disable=not progress) as bar:
        for first, last in batches(games.start, games.stop, batch):
            tokens = subject.task.sequences(Draw.PROBES.stream(games.seed), first, last - first)[:, : subject.longest]
            positions = labelled(subject.task, tokens, targets, subject.device)
            read_streams(subject.model, positions.tokens, partial(_hand_over, consume, positions))
            bar.update(last - first)
            report(last - games.start)


def _hand_over(consume: Consume, positions: Positions, layer: int, stream: Stream) -> None:
    consume(layer, positions.select(stream), positions)
