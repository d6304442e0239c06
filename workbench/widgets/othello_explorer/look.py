"""What a state shows, as numbers: the data behind every picture.

For: one place that pictures, tables, tests and scripts read from; a pure function of (lenses, state). Not for: drawing.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int64

from models.othello import labels
from models.othello.board import PAD
from models.othello.games import replay
from probes.intervention_score import top_errors
from probes.row_entropy import effective_tokens, row_entropy
from workbench.metrics import position_metrics
from workbench.widgets.othello_explorer.effects import Effects, Question, one_position
from workbench.widgets.othello_explorer.game import Position
from workbench.widgets.othello_explorer.lens import Changes, Lens, Reading
from workbench.widgets.othello_explorer.lenses import Lenses
from workbench.widgets.othello_explorer.state import NOTHING, State


@dataclass(frozen=True, eq=False)
class Look:
    """The numbers of one state. What costs a forward pass is made when it is asked for, and kept by the lens."""

    lenses: Lenses
    state: State
    pending: str | None = None
    """why the pictures are to do without `effects()`, in words; None where they may take the time it takes"""

    @property
    def lens(self) -> Lens:
        """The model that is looked at."""
        return self.lenses.lens(self.state.model)

    @property
    def longest(self) -> int:
        """The longest input of the model."""
        return self.lens.subject.longest

    @property
    def tokens(self) -> tuple[int, ...]:
        """The moves of the game that the model can take."""
        return self.state.game.tokens[: self.longest]

    @property
    def moves(self) -> int:
        """How many moves are on the board."""
        return self.state.shown

    @property
    def why_silent(self) -> str | None:
        """Why the model predicts nothing here; None where it does."""
        if self.moves == 0:
            return "The model reads moves, and there is none yet: play one."
        if self.state.position.over:
            return "The game is over: neither side can move."
        if self.moves > self.longest:
            return f"The model reads up to {self.longest} moves: go back one."
        return None

    @property
    def position(self) -> Position:
        """The board as it is."""
        return self.state.position

    @cached_property
    def believed(self) -> Position:
        """The board with the edits on it."""
        return self.state.believed

    @property
    def here(self) -> Reading:
        """The pass behind the prediction, with everything that is done to the model."""
        tokens = self.tokens[: self.moves] if self.state.edits else self.tokens
        return self.lens.read(tokens, self.state.changes)

    @property
    def reference(self) -> tuple[str, Lens] | None:
        """What the model is compared with, and its name: another model, or itself where it is changed."""
        if self.state.against not in (NOTHING, self.state.model):
            return self.state.against, self.lenses.lens(self.state.against)
        return ("unchanged", self.lens) if self.state.strengths or self.state.edits else None

    @property
    def probability(self) -> Float[np.ndarray, "vocab"]:
        """Of each next token."""
        return _softmax(self.here, self.moves)

    @property
    def reference_probability(self) -> Float[np.ndarray, "vocab"] | None:
        """The same for what it is compared with; None without, and where that cannot read so many moves."""
        if self.reference is None or self.moves > self.reference[1].subject.longest:
            return None
        return _softmax(self._reference_reading, self.moves)

    @property
    def _reference_reading(self) -> Reading:
        assert self.reference is not None
        lens = self.reference[1]
        return lens.read(self.state.game.tokens[: lens.subject.longest])

    @cached_property
    def errors(self) -> tuple[int, int, int]:
        """Errors of the N most probable moves against the N legal ones of the edited board, as `top_errors` counts them.

        Without the edits, with them, and with random pushes as long as theirs at the same places.
        """
        legal = torch.from_numpy(self.believed.legal_tokens)[None]
        edited = self.state.changes
        readings = (
            self.lens.read(self.tokens[: self.moves], changes)
            for changes in (Changes(self.state.strengths), edited, replace(edited, sham=True))
        )
        last = (reading.logits[self.moves - 1][None].index_fill(1, torch.tensor([PAD]), -torch.inf) for reading in readings)
        before, after, sham = (int(top_errors(logits, legal)) for logits in last)
        return before, after, sham

    @cached_property
    def legal(self) -> Bool[torch.Tensor, "position vocab"]:
        """The legal next tokens after every move of the game."""
        tokens = torch.tensor([self.tokens], dtype=torch.int64).reshape(1, -1)
        return labels.legal_tokens(replay(self.lenses.board, tokens))[0]

    def metrics(self) -> dict[str, dict[str, Float[np.ndarray, "position"]]]:
        """Every metric after every move of this game, by model: the one looked at, without edits, and the reference."""
        readings = {"this": self.lens.read(self.tokens, Changes(self.state.strengths))}
        if self.reference is not None and (self.state.against != NOTHING or self.state.strengths):
            readings["reference"] = self._reference_reading
        found = {}
        for name, reading in readings.items():
            count = min(len(reading.logits), len(self.legal))
            values = position_metrics(reading.logits[None, :count], self.legal[None, :count])
            found[name] = {metric: value[0].numpy() for metric, value in values.items()}
        return found

    @property
    def mine(self) -> list[bool]:
        """For each move so far, whether the side that is to move now made it."""
        return [self.state.game.positions[at].black_moves == self.position.black_moves for at in range(self.moves)]

    def attention(self, layer: int, head: int) -> Float[np.ndarray, "move"]:
        """The weights from the last move to each move so far."""
        return self.here.pattern[layer, head, self.moves - 1, : self.moves].double().numpy()

    def effective_tokens(self) -> Float[np.ndarray, "layer head position"]:
        """exp(entropy) of every attention row of the game, in [1, s]."""
        pattern = self.lens.read(self.tokens, Changes(self.state.strengths)).pattern.double()
        return effective_tokens(row_entropy(pattern)).numpy()

    @property
    def decoded(self) -> Int64[np.ndarray, "layer square"] | None:
        """What the probe reads after the last move, with edits; None while there is no probe."""
        decoded = self.lens.decoded(self.here, self.moves)
        return None if decoded is None else decoded.numpy()

    def wrong_squares(self) -> Int64[np.ndarray, "layer position"] | None:
        """How many squares the probe reads wrong after every move of the game, without edits; None while there is no probe."""
        if self.lens.probe is None:
            return None
        reading = self.lens.read(self.tokens, Changes(self.state.strengths))
        true = torch.tensor([position.mine for position in self.state.game.positions[1 : len(self.tokens) + 1]])
        step = 1 if self.lens.model.cfg.attn_only else 2
        layers = [
            (self.lens.probe.scores(layer, stream).argmax(-1).cpu() != true).sum(-1)
            for layer, stream in enumerate(reading.streams[::step])
        ]
        return rearrange(layers, "layer position -> layer position").numpy()

    @property
    def depth_logits(self) -> Float[np.ndarray, "depth vocab"]:
        """The logit lens after the last move."""
        return self.lens.depth_logits(self.here.streams[:, self.moves - 1]).double().cpu().numpy()

    @property
    def favoured(self) -> Bool[np.ndarray, "vocab"]:
        """The tokens whose advantage is asked about: the chosen move, or the legal ones."""
        if self.state.move is None:
            return self.believed.legal_tokens
        return np.arange(self.lenses.board.vocab) == self.state.move

    @property
    def question(self) -> Question:
        """What is asked of each part, here."""
        favoured, legal = (tuple(mask.nonzero()[0].tolist()) for mask in (self.favoured, self.believed.legal_tokens))
        return Question(self.tokens[: self.moves], self.state.changes, favoured, legal)

    def effects(self) -> Effects:
        """What each part does for the favoured tokens, here."""
        return one_position(self.lens, self.question)


def _softmax(reading: Reading, moves: int) -> Float[np.ndarray, "vocab"]:
    return reading.logits[moves - 1].double().softmax(-1).numpy()


def direct_of(found: Effects, part: tuple[int, int | None]) -> float:
    """What a part writes toward the advantage by itself, a position."""
    layer, head = part
    component = ("mlp", layer, None) if head is None else ("head", layer, head)
    return found.direct[component] / found.positions
