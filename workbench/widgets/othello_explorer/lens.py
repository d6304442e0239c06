"""One set of weights under study: what it predicts, attends to and holds in its stream, clean or changed.

For: the forward passes behind the pictures, each kept, so that going back costs nothing. Not for: what a component does
(`effects.py`), nor drawing. A lens is used by one thread at a time, since hooks and strengths act on every pass of its model; a
thread of its own takes a `Lens` of its own.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float, Int64
from torch import Tensor

from models.config import WeightsName
from models.hooked import HookedTransformer, load, plain, plain_state
from models.hooked.own_hooks import keeping
from models.hooked.temporary_hooks import TakeOff, temporary_hooks
from models.othello.labels import Frame
from probes.board_fit import fit_probes
from probes.board_probe import BoardProbe, load_probe
from probes.harvest import Games, Target
from probes.intervention import board_edit, editing, intervene
from probes.intervention_score import random_direction
from probes.residual_stream import require_input
from probes.subject import OthelloSubject, othello_subject
from workbench.widgets.background import Progress
from workbench.widgets.othello_explorer.game import Edit, Game

PROBE_GAMES = 400
FRAME: Frame = "to_move"
KEPT = 64

Part = tuple[int, int | None]
"""A layer and a head of it, or None for its MLP."""


@dataclass(frozen=True)
class Changes:
    """What is done to the model: nothing, as long as both are empty."""

    strengths: tuple[tuple[Part, float], ...] = ()
    """what parts' outputs are multiplied by: 0 removes, 1 is clean, 2 doubles, -1 flips"""
    edits: tuple[Edit, ...] = ()
    """squares changed in the stream at the last position"""
    edit_layers: tuple[int, ...] = ()
    """where: 0 the embedding, l after block l"""
    edit_strength: float = 1.0
    """how far, in units of the probe's scores: at 1 the new state reads as clearly as it should"""
    sham: bool = False
    """the control: a random direction in place of each edit's, of the same length"""


@dataclass(frozen=True, eq=False)
class Reading:
    """One forward pass over a game; index s - 1 has seen s moves."""

    logits: Float[Tensor, "position vocab"]
    pattern: Float[Tensor, "layer head query key"]
    streams: Float[Tensor, "depth position width"]
    """the residual stream at the embedding and after every half block, as `Lens.depths` names them"""


@dataclass(eq=False)
class Lens:
    """A checkpoint's weights as a hooked model, with the readings made so far and its probe, once fitted."""

    name: str
    """what it is called in the widget: checkpoint and weights"""
    checkpoint: Path
    weights: WeightsName
    model: HookedTransformer
    subject: OthelloSubject
    probe: BoardProbe | None = None
    fitting: bool = False
    """whether a probe is being fitted, or is the next to be"""
    effects: dict[Any, Any] = field(default_factory=dict)
    """what `effects.one_position` found so far"""
    games: dict[int, Game] = field(default_factory=dict)
    """what `own_game` played so far"""
    _readings: dict[tuple[tuple[int, ...], Changes], Reading] = field(default_factory=dict)

    @property
    def train_length(self) -> int | None:
        """The longest length seen in training; None where unknown."""
        return self.subject.card.train_length if self.subject.card else None

    @property
    def parts(self) -> list[Part]:
        """Every head and MLP, layer by layer."""
        heads = [*range(self.model.cfg.n_heads), *([] if self.model.cfg.attn_only else [None])]
        return [(layer, head) for layer in range(self.model.cfg.n_layers) for head in heads]

    @property
    def depths(self) -> list[str]:
        """The names of the half blocks, from the embedding on."""
        halves = ["attn"] if self.model.cfg.attn_only else ["attn", "mlp"]
        return ["embed", *(f"L{layer} {half}" for layer in range(self.model.cfg.n_layers) for half in halves)]

    def read(self, tokens: Sequence[int], changes: Changes | None = None) -> Reading:
        """The forward pass over some moves, changed as told; kept, so that the same question is answered at once.

        Raises ValueError for more moves than the model takes, for none, and for edits without a probe.
        """
        key = (tuple(tokens), changes or Changes())
        if key not in self._readings:
            self.keep(self._readings, key, self._pass(*key))
        return self._readings[key]

    @staticmethod
    def keep(kept: dict[Any, Any], key: Any, value: Any) -> None:
        """Remembers an answer, and forgets the oldest of too many."""
        kept[key] = value
        if len(kept) > KEPT:
            del kept[next(iter(kept))]

    @torch.no_grad()
    def _pass(self, tokens: tuple[int, ...], changes: Changes) -> Reading:
        batch = torch.tensor([tokens], dtype=torch.int64, device=self.model.cfg.device).reshape(1, -1)
        require_input(self.model, batch)
        points = stream_points(self.model)
        pattern_points = [f"blocks.{layer}.attn.hook_pattern" for layer in range(self.model.cfg.n_layers)]
        with self.changed(changes), keeping(self.model, [*points, *pattern_points]) as cache:
            logits = self.model(batch)
        patterns = [cache[point][0] for point in pattern_points]
        return Reading(
            logits=logits[0].cpu(),
            pattern=rearrange(patterns, "layer head query key -> layer head query key").cpu(),
            streams=rearrange([cache[point][0] for point in points], "depth position width -> depth position width"),
        )

    @contextmanager
    def changed(self, changes: Changes) -> Iterator[None]:
        """While this is open, forward passes are changed as told."""
        with ExitStack() as stack:
            for part, strength in changes.strengths:
                stack.enter_context(at_strength(self.model, part, strength))
            for edit in changes.edits:
                stack.enter_context(self._edited(edit, changes))
            yield

    def _edited(self, edit: Edit, changes: Changes) -> AbstractContextManager[None]:
        if self.probe is None:
            raise ValueError("there is no probe to edit the board with yet; wait until it is fitted, or give a saved one")
        what, layers, strength = (edit.method, edit.square, edit.disc), changes.edit_layers, changes.edit_strength
        if not changes.sham:
            return intervene(self.model, self.probe.linear, *what, layers=layers, strength=strength)
        push = random_direction(board_edit(self.probe.linear, *what, strength), torch.Generator().manual_seed(0))
        return editing(self.model, push, layers)

    @torch.no_grad()
    def depth_logits(self, streams: Float[Tensor, "*rest width"]) -> Float[Tensor, "*rest vocab"]:
        """The logit lens: what the final norm and unembedding would read off a stream (nostalgebraist 2020)."""
        normed = self.model.ln_final(streams) if self.model.cfg.normalization_type else streams
        return normed @ self.model.W_U + self.model.b_U

    def decoded(self, reading: Reading, moves: int) -> Int64[Tensor, "layer square"] | None:
        """What the probe reads at every layer after some moves: 0 mine, 1 theirs, 2 empty; None while there is no probe."""
        if self.probe is None:
            return None
        step = 1 if self.model.cfg.attn_only else 2
        streams = reading.streams[::step, moves - 1]
        layers = [self.probe.scores(layer, stream[None])[0].argmax(-1) for layer, stream in enumerate(streams)]
        return rearrange(layers, "layer square -> layer square").cpu()

    def fit_probe(self, games: int = PROBE_GAMES, progress: Progress = lambda *_: None) -> BoardProbe:
        """A probe of the board in closed form, on games that no evaluation and no pool uses; it is not put in place.

        `progress` is called with the share done after every few games; it may raise to stop.
        """
        target = Target(FRAME)
        progress(0.0, f"fitting the probe of {self.name}")
        subject = othello_subject(self.checkpoint, self.weights, self.subject.device)  # its own model: this may be a thread

        def report(done: int) -> None:
            progress(done / games, f"fitting the probe of {self.name}: {done} of {games} games")

        return fit_probes(subject, Games(0, 0, games), [target], report=report).probes["closed-form", target]

    def own_game(self, number: int, progress: Progress = lambda *_: None) -> Game:
        """Game `number` of those that the model plays with itself, to its end or as far as it reads; kept.

        Each move is drawn with its probability among the legal ones. `progress`, called before each, may raise to stop.
        """
        if number not in self.games:
            self.keep(self.games, number, self._play(number, progress))
        return self.games[number]

    @torch.no_grad()
    def _play(self, number: int, progress: Progress) -> Game:
        model, random, board = plain(self.model), torch.Generator().manual_seed(number), self.subject.task.board
        game = Game(board)
        while not game.positions[-1].over and len(game.tokens) <= self.subject.longest:
            progress(len(game.tokens) / board.moves, f"{self.name} plays move {len(game.tokens) + 1}")
            legal = torch.from_numpy(game.positions[-1].legal_tokens)
            logits = torch.zeros(len(legal))
            if game.tokens:
                logits = model(torch.tensor([game.tokens], device=self.model.cfg.device))[0, -1].cpu()
            probability = logits.masked_fill(~legal, -torch.inf).softmax(-1)
            game = Game(board, (*game.tokens, int(torch.multinomial(probability, 1, generator=random))))
        return game


def open_lens(name: str, checkpoint: Path, weights: WeightsName, probes: Collection[Path] = ()) -> Lens:
    """The lens of a checkpoint's weights, with the one of the saved probes that was fitted on them.

    Raises CheckpointError and ProbeError for what cannot be read, ValueError for a model that is none of Othello.
    """
    model = load(checkpoint, weights)
    subject = othello_subject(model)
    saved = (load_probe(Path(folder)) for folder in probes)
    probe = next((probe for probe in saved if probe.card.checkpoint_sha256 == subject.sha256), None)
    if probe is not None and (probe.card.frame != FRAME or probe.card.kind == "nonlinear"):
        raise ValueError(
            f"the saved probe is {probe.card.kind} in frame {probe.card.frame}; give a linear one in frame {FRAME}"
        )
    return Lens(name, checkpoint, weights, model, subject, probe)


def stream_points(model: HookedTransformer) -> list[str]:
    """The hook points of the residual stream at the embedding and after every half block."""
    halves = ["hook_resid_post"] if model.cfg.attn_only else ["hook_resid_mid", "hook_resid_post"]
    return ["blocks.0.hook_resid_pre", *(f"blocks.{layer}.{half}" for layer in range(model.cfg.n_layers) for half in halves)]


@contextmanager
def at_strength(model: HookedTransformer, part: Part, strength: float) -> Iterator[None]:
    """While this is open, what a head (through W_O) or an MLP writes is multiplied by `strength`.

    The weights that write it are, and not an activation, so that the plain model on the same weights may stand in.
    """
    layer, head = part
    state, block = plain_state(model), f"blocks.{layer}"
    last = "ln2_post.w", "ln2_post.b"
    names = last if f"{block}.{last[0]}" in state else ("mlp.W_out", "mlp.b_out")
    tensors = [state[f"{block}.{name}"] for name in names] if head is None else [state[f"{block}.attn.W_O"][head]]
    with temporary_hooks([partial(_multiply, tensor, strength) for tensor in tensors]):
        yield


def _multiply(tensor: Tensor, factor: float) -> TakeOff:
    before = tensor.clone()
    tensor.mul_(factor)
    return partial(tensor.copy_, before)
