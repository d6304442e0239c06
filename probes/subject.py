"""What a probe is pointed at, a checkpoint on disk or a model in memory, and how its tables name it.

For: loading and checking in one place, so that every probe refuses the same things in the same words. A checkpoint is loaded as
the plain model where that is enough, since it is faster; a model in memory is taken as it is, with whatever hooks its user put
on it.
"""

import dataclasses
import os
from dataclasses import dataclass
from typing import Any, TypeVar

import pandas as pd
import torch

from models.checkpoint import Card, find_checkpoint, read_card, read_weights
from models.config import ModelConfig, WeightsName
from models.device import usable_device
from models.hooked import hook, load
from models.importers import BOARD_OF_VOCAB
from models.lengths import possible_lengths
from models.othello.task import OthelloTask
from models.set_complement.task import SetComplementTask
from models.table_labels import labels
from models.task import Task
from models.tasks import make_task
from models.transformer import Transformer, with_weights
from probes.minimal_model import require_set_complement
from probes.residual_stream import Model, context_of, device_of, require_eval, vocab_of

Address = Model | str | os.PathLike[str]


@dataclass(frozen=True)
class Subject:
    """A model, its task, and what is known of it."""

    model: Model
    task: Task
    card: Card | None
    """None for a model made in memory"""
    weights: WeightsName

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return device_of(self.model)

    @property
    def longest(self) -> int:
        """The longest input that the task poses and the model takes, in tokens."""
        return self.possible_lengths[-1]

    @property
    def possible_lengths(self) -> range:
        """1 .. `longest`."""
        return possible_lengths(self.task, vocab_of(self.model), context_of(self.model))

    @property
    def has_shape(self) -> bool:
        """Whether the model's shape is known, so that `untrained` can make one like it."""
        return isinstance(self.model, Transformer) or self.card is not None

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

    def named(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The frame with the labels of the model as its first columns."""
        return frame.assign(**self.labels)[[*self.labels, *frame.columns]]

    @property
    def labels(self) -> dict[str, Any]:
        """What tables say of the model beside its numbers; None for what is unknown."""
        return labels(self.card, self.task, self.weights)


@dataclass(frozen=True)
class OthelloSubject(Subject):
    """A model of Othello."""

    task: OthelloTask


@dataclass(frozen=True)
class SetComplementSubject(Subject):
    """A model of the set complement."""

    task: SetComplementTask


AnySubject = TypeVar("AnySubject", bound=Subject)


def untrained(subject: AnySubject, seed: int) -> AnySubject:
    """The control: the same task and shape of model, with the initial weights of `seed`, plain or hooked as the subject is.

    Raises ValueError for a hooked model without a card.
    """
    plain = Transformer(subject.shape, seed).to(subject.device).eval()
    model = plain if isinstance(subject.model, Transformer) else hook(subject.shape, plain.state_dict())
    return dataclasses.replace(subject, model=model)


def subject(
    model: Address,
    task: Task | None = None,
    weights: WeightsName = "raw",
    device: torch.device | str = "cpu",
    hooked: bool = False,
) -> Subject:
    """Loads what `model` names, or takes the model it is, and checks that it is ready for analysis.

    Args:
        model: a hooked or plain model in eval mode, or a checkpoint folder, run or bundled name.
        task: the task; None for the one on the card.
        weights: which weights of a checkpoint to load; of no effect on a model that is already loaded, as is `device`.
        device: where a checkpoint is loaded to.
        hooked: a hooked model is needed, by those who read or change what is inside a block.

    Raises:
        ValueError: a model in training mode, without a task, of another vocabulary than its task, or plain where a hooked one
            is needed.
        CheckpointError: nothing to load there.
    """
    if hooked and isinstance(model, Transformer):
        raise ValueError(
            "the model is plain, and this needs hook points; wrap it: models.hooked.hook(model.config, model.state_dict())"
        )
    loaded = model if isinstance(model, Model) else load(model, weights, device) if hooked else _plain(model, weights, device)
    require_eval(loaded)
    card: Card | None = getattr(loaded, "card", None)
    if task is None:
        if card is None:
            raise ValueError("the model has no card to tell its task; pass task=make_task(TaskConfig(...))")
        task = make_task(card.task)
    if not isinstance(task, Task):
        given = f"'{task}'" if isinstance(task, str) else f"a {type(task).__name__}"
        raise ValueError(f"{given} is no task; give make_task(TaskConfig(name=...)), or None for the one on the card")
    possible_lengths(task, vocab_of(loaded), context_of(loaded))  # which also asks whether the model fits the task
    return Subject(loaded, task, card, getattr(loaded, "weights", "raw"))


def othello_subject(model: Address, weights: WeightsName = "raw", device: torch.device | str = "cpu") -> OthelloSubject:
    """As `subject`, for Othello models alone; one without a card is known by its vocabulary.

    Raises:
        ValueError: a model in training mode, of another task, or of a vocabulary that is no Othello board's.
        CheckpointError: nothing to load there.
    """
    task = None
    if isinstance(model, Model) and not hasattr(model, "card"):
        vocab = vocab_of(model)
        if vocab not in BOARD_OF_VOCAB:
            raise ValueError(
                f"the model has {vocab} tokens, an OthelloGPT has 61 (8x8 board) or 33 (6x6); use an Othello model"
            )
        task = OthelloTask(BOARD_OF_VOCAB[vocab])
    found = subject(model, task, weights, device)
    if not isinstance(found.task, OthelloTask):
        raise ValueError(
            f"the checkpoint was trained on {found.task.name}, and board probes read Othello models; choose one of those"
        )
    return OthelloSubject(found.model, found.task, found.card, found.weights)


def set_complement_subject(model: Address, weights: WeightsName = "raw") -> SetComplementSubject:
    """As `subject`, for set-complement models alone; one without a card is taken at its word.

    Raises:
        ValueError: a model in training mode or of another task.
        CheckpointError: nothing to load there.
    """
    loaded = model if isinstance(model, Model) else _plain(model, weights, "cpu")
    require_set_complement(loaded)
    found = subject(loaded, None if hasattr(loaded, "card") else SetComplementTask(vocab_of(loaded)))
    assert isinstance(found.task, SetComplementTask), "require_set_complement checks this"
    return SetComplementSubject(found.model, found.task, found.card, found.weights)


def _plain(path: str | os.PathLike[str], weights: WeightsName, device: torch.device | str) -> Transformer:
    """As `load`, but not hooked."""
    device = usable_device(device)
    folder = find_checkpoint(path)
    card = read_card(folder)
    state = {name: tensor.to(device) for name, tensor in read_weights(folder, weights, card).items()}
    plain = with_weights(card.model, state)
    plain.card = card  # type: ignore[assignment]  # torch types every attribute of a module as tensor or module
    plain.weights = weights  # type: ignore[assignment]
    return plain
