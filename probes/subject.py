"""What an Othello probe is pointed at, a checkpoint on disk or a model in memory, and how its tables name it.

For: loading and checking in one place, so that every probe refuses the same things in the same words. A checkpoint is loaded as
the plain model, which is faster; a hooked model is taken as it is, with whatever hooks its user put on it.
"""

import os
from dataclasses import dataclass
from typing import Any

import torch

from models.checkpoint import Card, find_checkpoint, read_card, read_weights
from models.config import ModelConfig, TaskConfig, WeightsName
from models.hooked import HookedTransformer
from models.importers import BOARD_OF_VOCAB
from models.othello.task import OthelloTask
from models.transformer import Transformer
from probes.residual_stream import Model, context_of, require_eval, vocab_of

Address = HookedTransformer | str | os.PathLike[str]


@dataclass(frozen=True)
class Subject:
    """A model, its task, and what is known of it."""

    model: Model
    task: OthelloTask
    card: Card | None
    """None for a model made in memory"""
    weights: WeightsName

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(iter(self.model.parameters())).device

    @property
    def longest(self) -> int:
        """The longest input that the task poses and the model takes, in moves."""
        return min(self.task.longest, context_of(self.model))

    @property
    def shape(self) -> ModelConfig:
        """The model's shape. Raises ValueError for a hooked model without a card, which alone can tell it."""
        if isinstance(self.model, Transformer):
            return self.model.config
        if self.card is None:
            raise ValueError(
                "the model has no card to tell its shape; load a checkpoint, or leave out the control with random weights"
            )
        return self.card.model

    @property
    def sha256(self) -> str | None:
        """The sha256 of the file the weights came from; None for a model made in memory."""
        return self.card.sha256.get(f"{self.weights}.safetensors") if self.card else None

    @property
    def labels(self) -> dict[str, Any]:
        """What tables say of the model beside its numbers; None for what is unknown."""
        card = self.card
        return {
            "checkpoint": card.name if card else "model",
            "task": self.task.name,
            "train_length": card.train_length if card else None,
            "dropout": card.model.dropout.label if card else None,
            "weights": self.weights,
            "seed": card.seed if card else None,
            "step": card.step if card else None,
        }


def othello_subject(model: Address, weights: WeightsName = "raw", device: torch.device | str = "cpu") -> Subject:
    """Loads what `model` names, or takes the hooked model it is, and checks that it is an OthelloGPT ready for analysis.

    Args:
        model: a hooked model in eval mode, or a checkpoint folder, run or bundled name.
        weights: which weights of a checkpoint to load; of no effect on a model that is already loaded, as is `device`.
        device: where a checkpoint is loaded to.

    Raises:
        ValueError: a model in training mode, of another task, or of a vocabulary that is no Othello board's.
        CheckpointError: nothing to load there.
    """
    if isinstance(model, HookedTransformer):
        card: Card | None = getattr(model, "card", None)
        return _checked(model, card, getattr(model, "weights", "raw"))
    folder = find_checkpoint(model)
    card = read_card(folder)
    plain = Transformer(card.model)
    plain.load_state_dict(read_weights(folder, weights, card))
    return _checked(plain.to(device).eval(), card, weights)


def _checked(model: Model, card: Card | None, weights: WeightsName) -> Subject:
    require_eval(model)
    vocab = vocab_of(model)
    if card is None and vocab in BOARD_OF_VOCAB:
        config = TaskConfig(name="othello", board=BOARD_OF_VOCAB[vocab])  # type: ignore[arg-type]
    elif card is None:
        raise ValueError(f"the model has {vocab} tokens, an OthelloGPT has 61 (8x8 board) or 33 (6x6); use an Othello model")
    else:
        config = card.task
    if config.name != "othello":
        raise ValueError(
            f"the checkpoint was trained on {config.name}, and board probes read Othello models; choose one of those"
        )
    task = OthelloTask(config.board or 8)
    if vocab != task.vocab:
        raise ValueError(
            f"the model has {vocab} tokens, the {task.board.size}x{task.board.size} board has {task.vocab}; use a model "
            "whose card fits its weights"
        )
    return Subject(model, task, card, weights)
