"""Checkpoints on disk: a folder with a card and one safetensors file for each set of weights.

    step_00001234/
        card.json            model config, task, averaging, step, sequences seen, sha256 of every other file
        raw.safetensors      the weights of the last step; ema.safetensors, bema.safetensors likewise
        trainer.safetensors  optimiser state and averages, and
        trainer.json         the rest of what a bit-for-bit resume needs (both absent from bundled and imported checkpoints)

A folder is written to a temporary sibling, fsynced and renamed, so a reader never sees half of one; reading checks each
sha256. Nothing is ever unpickled. Weights are in the plain model's keys, unfolded.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field, JsonValue, ValidationError, model_validator
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors_bytes
from safetensors.torch import save as save_safetensors_bytes
from torch import Tensor

from models.config import (
    WEIGHTS,
    AveragingConfig,
    Config,
    ModelConfig,
    Name,
    Names,
    OptimizerName,
    TaskConfig,
    WeightsName,
    Words,
)
from models.default_models import default_model
from models.durable import write_folder
from models.plain_file import read_plain, require_plain
from models.streams import SEEDS

ZOO = Path(__file__).parent / "zoo"
CARD_FILE = "card.json"
STEP_FOLDERS = "step_" + 8 * "[0-9]" + "*"
MAX_CARD_BYTES = 1 << 20
MOST_IN_TABLES = (1 << 63) - 1
"""The greatest number that tables hold."""
MAX_HEADER_BYTES = 1 << 20
"""Of a safetensors file: names and shapes."""

StateDict = Mapping[str, Tensor]
DropoutKernel = Literal["explicit masks", "fused attention", "none"]


class Card(Config):
    """What a checkpoint says of itself."""

    format: Literal[1] = 1
    """version of this layout"""
    name: Name
    """how tables name the checkpoint; the name of its run"""
    model: ModelConfig
    """shape of the model, with its dropout rates"""
    task: TaskConfig
    """what it was trained on"""
    train_length: int | None = Field(None, ge=1, le=MOST_IN_TABLES)
    """longest length seen in training; None where unknown"""
    seed: int | None = Field(None, ge=0, lt=SEEDS)
    """seed of weights, data and dropout; None where unknown"""
    step: int | None = Field(None, ge=0, le=MOST_IN_TABLES)
    """optimiser steps taken; None where unknown"""
    sequences_seen: int | None = Field(None, ge=0, le=MOST_IN_TABLES)
    """training sequences seen; None where unknown"""
    optimizer: OptimizerName | None = None
    """what trained it; None where unknown"""
    averaging: AveragingConfig | None = None
    """how ema and bema were made; None where there are none"""
    dropout_kernel: DropoutKernel = "none"
    """how dropout was drawn in training"""
    command: Words | None = None
    """the command that made it"""
    source: Words | None = None
    """where imported weights came from; whether norms were folded"""
    versions: Names = {}
    """versions of the packages and the kind of machine that made it"""
    sha256: Names = {}
    """file name -> sha256, filled when the checkpoint is written"""

    @model_validator(mode="after")
    def _context_fits_task(self) -> "Card":
        longest = default_model(self.task).context
        if self.model.positions == "none" and self.model.context > longest:  # learned ones are as many as the file has
            raise ValueError(f"model.context {self.model.context} is beyond {longest}, the longest input of the task")
        return self

    @property
    def weights(self) -> tuple[WeightsName, ...]:
        """The sets of weights that the checkpoint holds, in the order raw, ema, bema."""
        return tuple(name for name in WEIGHTS if f"{name}.safetensors" in self.sha256)


@dataclass(frozen=True)
class TrainerState:
    """What a resume needs beyond the weights: tensors (optimiser, averages) and facts (step, configuration)."""

    tensors: dict[str, Tensor]
    facts: dict[str, JsonValue]


class CheckpointError(ValueError):
    """A checkpoint that cannot be found, read or trusted; the message is one sentence with the remedy."""


def save_checkpoint(
    folder: str | os.PathLike[str], card: Card, weights: Mapping[WeightsName, StateDict], trainer: TrainerState | None = None
) -> Card:
    """Writes a checkpoint atomically and returns its card with the sha256 of each file.

    Args:
        folder: the checkpoint folder; its parents are made. Raises FileExistsError if it exists: nothing is overwritten.
        card: everything but `sha256`.
        weights: plain state dicts by name.
        trainer: what `workbench train` needs to go on; None for a checkpoint that is only to be read.
    """
    folder = Path(folder)
    if folder.exists():
        raise FileExistsError(f"checkpoint {folder} exists already; choose another folder or delete it first")
    files = {f"{name}.safetensors": save_safetensors_bytes(_contiguous(state)) for name, state in weights.items()}
    if trainer is not None:
        files["trainer.safetensors"] = save_safetensors_bytes(_contiguous(trainer.tensors))
        files["trainer.json"] = json.dumps(trainer.facts, indent=1).encode()
    sealed = card.model_copy(update={"sha256": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}})
    files[CARD_FILE] = (sealed.model_dump_json(indent=1) + "\n").encode()

    write_folder(folder, files)
    return sealed


def _contiguous(state: StateDict) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}


def find_checkpoint(path: str | os.PathLike[str]) -> Path:
    """The checkpoint folder that a path or name means: a checkpoint, a run (its last step), or a bundled name.

    A bundled name is a path inside the zoo, such as `set-complement-v32-none-seed0`. Raises CheckpointError.
    """
    if not isinstance(path, str | os.PathLike):
        raise CheckpointError(
            f"a {type(path).__name__} is neither the path of a checkpoint nor a model that is known here; give a path, or a "
            "model of models.hooked.hook(config, state)"
        )
    for candidate in (Path(path), ZOO / path):
        try:
            if (candidate / CARD_FILE).is_file():
                return candidate
            steps = run_checkpoints(candidate)
        except OSError as error:
            raise cannot_look(path, error) from error
        if steps:
            return steps[-1]
    raise CheckpointError(
        f"no checkpoint at '{path}': expected a folder with {CARD_FILE}, a run with checkpoints/, or a bundled name; "
        f"`workbench zoo` lists the {len(bundled_names())} bundled ones"
    )


def cannot_look(path: str | os.PathLike[str], error: OSError) -> CheckpointError:
    """The error for a path, or something in it, that may not be read: that is no sign that no checkpoint is there."""
    return CheckpointError(
        f"no checkpoint can be looked for in '{error.filename or path}' ({error.strerror}); make it readable, or give another "
        "path"
    )


def run_checkpoints(run: str | os.PathLike[str]) -> list[Path]:
    """The checkpoint folders of a run by increasing step; empty where it has none.

    Raises CheckpointError for what may not be read, and for one without its card. No write leaves such a folder, so it is
    damage, and to pass over it would take the step before for the last one.
    """
    checkpoints = Path(run) / "checkpoints"
    try:
        inside = list(checkpoints.iterdir()) if checkpoints.is_dir() else []  # glob is silent where it may not look
        folders = sorted(folder for folder in inside if fnmatch(folder.name, STEP_FOLDERS) and folder.is_dir())
        torn = [folder for folder in folders if not (folder / CARD_FILE).is_file()]
    except OSError as error:
        raise cannot_look(run, error) from error
    if torn:
        raise CheckpointError(
            f"{torn[0]} is a checkpoint without {CARD_FILE}, as a torn copy leaves it; restore the card, or delete the folder "
            "to take the checkpoint before"
        )
    return folders


def bundled_names() -> list[str]:
    """Names of the bundled runs."""
    return sorted(folder.parent.name for folder in ZOO.glob("*/checkpoints"))


def bundled_tables() -> list[Path]:
    """Bundled tables of `workbench compare` over all steps of a run whose steps are too many megabytes to bundle."""
    return sorted(ZOO.glob("*-over-training.parquet"))


def bundled_studies() -> list[Path]:
    """Bundled databases of finished searches, compressed: `workbench study NAME` takes NAME-study.db.xz."""
    return sorted(ZOO.glob("*-study.db.xz"))


def read_card(folder: str | os.PathLike[str]) -> Card:
    """The card of a checkpoint folder. Raises CheckpointError for one that is missing, too large, or not a valid card."""
    path = Path(folder) / CARD_FILE
    try:
        require_plain(path)
        if path.stat().st_size > MAX_CARD_BYTES:
            raise CheckpointError(
                f"{path} has {path.stat().st_size} bytes, a card has at most {MAX_CARD_BYTES}; it is not a card of ours"
            )
        return Card.model_validate_json(path.read_bytes())
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}; give a checkpoint folder") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise CheckpointError(
            f"{path} is no valid card ({'.'.join(map(str, first['loc'])) or 'file'}: {first['msg']}); "
            "restore it or train the checkpoint again"
        ) from error


def read_weights(folder: str | os.PathLike[str], weights: WeightsName, card: Card | None = None) -> dict[str, Tensor]:
    """One set of weights in float32 (bundled ones are stored in bfloat16), checked against the card's sha256.

    Raises CheckpointError for what cannot be read, is not what the card says, or holds numbers that are not finite.
    """
    card = card or read_card(folder)
    if weights not in card.weights:
        raise CheckpointError(
            f"checkpoint {folder} has no '{weights}' weights; it has {', '.join(card.weights)}: choose one of these"
        )
    tensors = _read_tensors(Path(folder), f"{weights}.safetensors", card)
    for name, tensor in tensors.items():
        if not bool(tensor.isfinite().all()):
            raise CheckpointError(
                f"{Path(folder) / weights}.safetensors has numbers in {name} that are not finite, and no prediction is made of "
                "such weights; restore it from a copy or train again"
            )
    return {name: tensor.float() if tensor.dtype == torch.bfloat16 else tensor for name, tensor in tensors.items()}


def read_trainer(folder: Path) -> TrainerState:
    """What `workbench train` needs to go on from a checkpoint. Raises CheckpointError where it has none."""
    card = read_card(folder)
    if "trainer.json" not in card.sha256:
        raise CheckpointError(f"checkpoint {folder} holds no trainer state, so training cannot go on from it; start a new run")
    try:
        facts = json.loads(_read_checked(folder, "trainer.json", card, MAX_CARD_BYTES))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CheckpointError(f"{folder / 'trainer.json'} is no valid JSON ({error}); restore it from a copy") from error
    if not isinstance(facts, dict):
        raise CheckpointError(f"{folder / 'trainer.json'} is no JSON object; restore it from a copy")
    return TrainerState(_read_tensors(folder, "trainer.safetensors", card), facts)


def read_safetensors(data: bytes) -> dict[str, Tensor]:
    """The tensors in the bytes of a safetensors file. Raises SafetensorError for what torch cannot hold, too."""
    try:
        return load_safetensors_bytes(data)
    except SafetensorError:
        raise
    except Exception as error:  # types of numbers, and shapes, that the format has and torch does not
        raise SafetensorError(f"{type(error).__name__}: {error}") from error


def _read_tensors(folder: Path, name: str, card: Card) -> dict[str, Tensor]:
    copies = 8 if name == "trainer.safetensors" else 1  # averages and what optimisers keep
    most = 8 * card.model.most_weights * copies + MAX_HEADER_BYTES
    try:
        return read_safetensors(_read_checked(folder, name, card, most))
    except SafetensorError as error:
        raise CheckpointError(f"{folder / name} is no valid safetensors file ({error}); restore it from a copy") from error


def _read_checked(folder: Path, name: str, card: Card, most: int) -> bytes:
    path = folder / name
    try:
        data = read_plain(path, most)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}; restore it from a copy") from error
    digest = hashlib.sha256(data).hexdigest()
    if digest != card.sha256.get(name):
        raise CheckpointError(
            f"{path} has sha256 {digest[:12]}..., its card says {card.sha256.get(name, 'nothing')[:12]}...; "
            "the file was changed or damaged: restore it or train again"
        )
    return data
