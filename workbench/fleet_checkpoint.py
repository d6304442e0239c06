"""A whole fleet on disk: `fleet.json` (configurations, step) and one safetensors file with the state of all members.

The tensors are written first, under a name with their step; then `fleet.json` is replaced, which names them with their sha256.
So a reader finds the old fleet or the new one, whenever the writer was stopped. One member's own checkpoint is
`Fleet.save_member`'s.
"""

import hashlib
from pathlib import Path

import torch
from pydantic import Field, ValidationError, model_validator
from safetensors import SafetensorError
from safetensors.torch import save
from torch import Tensor

from models.checkpoint import MAX_HEADER_BYTES, CheckpointError, read_safetensors
from models.config import Config
from models.durable import write_file
from models.plain_file import read_plain
from models.transformer import Transformer
from workbench.fleet_optimizer import FleetOptimizer, StackedParameters
from workbench.training_config import TrainingConfig

FLEET_FILE = "fleet.json"
MAX_RECORD_BYTES = 1 << 26
COPIES = 8


class FleetRecord(Config):
    """What `fleet.json` holds."""

    step: int = Field(ge=0)
    """optimiser steps taken"""
    configs: tuple[TrainingConfig, ...] = Field(min_length=1)
    """the members"""
    tensors: str
    """name of the file with their state"""
    sha256: str
    """its digest"""

    @model_validator(mode="after")
    def _step_fits(self) -> "FleetRecord":
        if self.step > (steps := min(config.steps for config in self.configs)):
            raise ValueError(f"step {self.step} is beyond {steps}, the steps of its members")
        if self.tensors != (wanted := tensor_file(self.step)):
            raise ValueError(f"tensors {self.tensors[:60]!r} is not {wanted}, the file of its step")
        return self

    @property
    def most_bytes(self) -> int:
        """What that file can have: of each member weights, averages and what the optimiser keeps, in 8 bytes a number."""
        return 8 * COPIES * sum(config.model.most_weights for config in self.configs) + MAX_HEADER_BYTES


def tensor_file(step: int) -> str:
    """Name of the file with the members' state at a step."""
    return f"step_{step:08d}.safetensors"


def write_fleet(folder: Path, step: int, configs: tuple[TrainingConfig, ...], state: dict[str, Tensor]) -> None:
    """Saves a fleet in `folder`, over what was saved there before."""
    data = save({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()})
    record = FleetRecord(step=step, configs=configs, tensors=tensor_file(step), sha256=hashlib.sha256(data).hexdigest())
    write_file(folder / record.tensors, data)
    write_file(folder / FLEET_FILE, (record.model_dump_json(indent=1) + "\n").encode())
    for older in folder.glob("step_*.safetensors"):
        if older.name != record.tensors:
            older.unlink()


def read_fleet(folder: Path) -> tuple[FleetRecord, dict[str, Tensor]]:
    """What `write_fleet` saved. Raises CheckpointError for a fleet that is missing, damaged or not one of ours.

    Also for one whose tensors are not those of its configurations and step, though their sha256 is right.
    """
    path = folder / FLEET_FILE
    try:
        record = FleetRecord.model_validate_json(read_plain(path, MAX_RECORD_BYTES))
        data = read_plain(folder / record.tensors, record.most_bytes)
    except OSError as error:
        raise CheckpointError(
            f"cannot read {error.filename}: {error.strerror}; give a folder that a fleet was saved in"
        ) from error
    except ValidationError as error:
        raise CheckpointError(f"{path} is no fleet of ours ({error.errors()[0]['msg']}); train the fleet again") from error
    digest = hashlib.sha256(data).hexdigest()
    if digest != record.sha256:
        raise CheckpointError(
            f"{folder / record.tensors} has sha256 {digest[:12]}..., {FLEET_FILE} says {record.sha256[:12]}...; "
            "the file was changed or damaged: restore it or train the fleet again"
        )
    try:
        tensors = read_safetensors(data)
        _check(record, tensors)
    except (SafetensorError, ValueError) as error:
        raise CheckpointError(
            f"{folder / record.tensors} is no state of that fleet ({error}); train the fleet again"
        ) from error
    return record, tensors


def _check(record: FleetRecord, tensors: dict[str, Tensor]) -> None:
    """Raises ValueError unless the tensors are, by name, shape and type, those of such a fleet, and of no later step.

    They need not be finite: a member's weights may overflow in a step whose gradient did not, and the next step marks it.
    """
    with torch.device("meta"):
        member = dict(Transformer(record.configs[0].model).named_parameters())
        fresh = FleetOptimizer(record.configs, StackedParameters([member] * len(record.configs), "meta")).state()
    if tensors.keys() != fresh.keys():
        raise ValueError(f"it has {', '.join(sorted(tensors))[:200] or 'nothing'}, expected {', '.join(sorted(fresh))}")
    for name, wanted in fresh.items():
        found = tensors[name]
        if found.shape != wanted.shape or found.dtype != wanted.dtype:
            raise ValueError(
                f"{name} has shape {tuple(found.shape)} of {found.dtype}, expected {tuple(wanted.shape)} of {wanted.dtype}"
            )
    if not tensors["diverged"].ge(0).all() or not tensors["diverged"].le(record.step).all():
        raise ValueError(f"a member diverged at a step that is not in 0 .. {record.step}")
