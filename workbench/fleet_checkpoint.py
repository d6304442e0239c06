"""A whole fleet on disk: `fleet.json` (configurations, step) and one safetensors file with the state of all members.

The tensors are written first, under a name with their step; then `fleet.json` is replaced, which names them with their sha256.
So a reader finds the old fleet or the new one, whenever the writer was stopped. One member's own checkpoint is
`Fleet.save_member`'s.
"""

import hashlib
from pathlib import Path

from pydantic import Field, ValidationError
from safetensors.torch import load, save
from torch import Tensor

from models.checkpoint import MAX_HEADER_BYTES, CheckpointError
from models.config import Config
from models.durable import write_file
from models.plain_file import read_plain
from workbench.training_config import TrainingConfig

FLEET_FILE = "fleet.json"
MAX_RECORD_BYTES = 1 << 26
COPIES = 8


class FleetRecord(Config):
    """What `fleet.json` holds."""

    step: int = Field(ge=0)
    """optimiser steps taken"""
    configs: tuple[TrainingConfig, ...]
    """the members"""
    tensors: str = Field(pattern=r"^step_\d+\.safetensors$")
    """name of the file with their state"""
    sha256: str
    """its digest"""

    @property
    def most_bytes(self) -> int:
        """What that file can have: of each member weights, averages and what the optimiser keeps, in 8 bytes a number."""
        return 8 * COPIES * sum(config.model.most_weights for config in self.configs) + MAX_HEADER_BYTES


def write_fleet(folder: Path, step: int, configs: tuple[TrainingConfig, ...], state: dict[str, Tensor]) -> None:
    """Saves a fleet in `folder`, over what was saved there before."""
    data = save({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()})
    record = FleetRecord(
        step=step, configs=configs, tensors=f"step_{step:08d}.safetensors", sha256=hashlib.sha256(data).hexdigest()
    )
    write_file(folder / record.tensors, data)
    write_file(folder / FLEET_FILE, (record.model_dump_json(indent=1) + "\n").encode())
    for older in folder.glob("step_*.safetensors"):
        if older.name != record.tensors:
            older.unlink()


def read_fleet(folder: Path) -> tuple[FleetRecord, dict[str, Tensor]]:
    """What `write_fleet` saved. Raises CheckpointError for a fleet that is missing, damaged or not one of ours."""
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
    return record, load(data)
