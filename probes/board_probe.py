"""A fitted board probe with its card: what was fitted, on what, of which model; and both on disk.

    probe folder/
        card.json           kind, labels, games, checkpoint and the sha256 of its weights and of the other file
        probe.safetensors   the tensors of `LinearProbe` or `NonlinearProbe`, all layers in one

A folder is written to a temporary sibling and renamed (`models/durable.py`); reading checks the sha256. Nothing is unpickled.
"""

import dataclasses
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import save as save_safetensors_bytes
from torch import Tensor

from models.checkpoint import MAX_CARD_BYTES, read_safetensors
from models.config import Config, Name, Names, WeightsName, Words
from models.durable import replace_folder
from models.othello.labels import STATES, Frame
from models.plain_file import read_plain
from probes.linear_probe import LinearProbe
from probes.nonlinear_probe import NonlinearProbe

ProbeKind = Literal["closed-form", "logistic", "nonlinear"]
CARD_FILE, TENSOR_FILE = "card.json", "probe.safetensors"
MAX_PROBE_BYTES = 1 << 31


class ProbeError(ValueError):
    """A saved probe that cannot be read, trusted or used here; the message is one sentence with the remedy."""


class ProbeCard(Config):
    """What a probe says of itself."""

    format: Literal[1] = 1
    """version of this layout"""
    kind: ProbeKind
    """closed-form: ridge regression; logistic: multinomial logistic; nonlinear: two layers"""
    frame: Frame
    """which three states it reads"""
    states: tuple[Name, Name, Name]
    """the names of states 0, 1 and 2"""
    layers: tuple[int, ...]
    """which layers of the residual stream it reads: 0 the embedding, l after block l"""
    width: int = Field(ge=1)
    """width of the stream it reads"""
    squares: int = Field(ge=1)
    """number of squares, numbered by row"""
    seed: int = Field(ge=0)
    """seed of the games it was fitted on"""
    games: int = Field(ge=2)
    """how many games, from number 0 of the stream of that seed"""
    checkpoint: Words
    """name of the checkpoint it was fitted on"""
    weights: WeightsName
    """which of its weights"""
    checkpoint_sha256: Name | None = None
    """sha256 of the file of these weights; None for a model made in memory"""
    sha256: Names = {}
    """file name -> sha256, filled when the probe is written"""


@dataclass(frozen=True)
class BoardProbe:
    """A probe and its card."""

    card: ProbeCard
    read: LinearProbe | NonlinearProbe

    def scores(self, layer: int, stream: Float[Tensor, "row width"]) -> Float[Tensor, "row square state"]:
        """The score of each state of each square at one layer; the greatest is what the probe reads."""
        return self.read.scores(layer, stream)

    @property
    def linear(self) -> LinearProbe:
        """The linear probe, for interventions along its directions. Raises ProbeError for a nonlinear one."""
        if not isinstance(self.read, LinearProbe):
            raise ProbeError("a nonlinear probe has no directions to move along; fit a closed-form or logistic one")
        return self.read


def save_probe(folder: str | os.PathLike[str], probe: BoardProbe) -> ProbeCard:
    """Writes a probe, in place of one that is there, and returns its card. Raises FileExistsError for any other folder."""
    folder = Path(folder)
    tensors = {field.name: getattr(probe.read, field.name).cpu().contiguous() for field in dataclasses.fields(probe.read)}
    data = save_safetensors_bytes(tensors)
    card = probe.card.model_copy(update={"sha256": {TENSOR_FILE: hashlib.sha256(data).hexdigest()}})
    replace_folder(folder, {TENSOR_FILE: data, CARD_FILE: (card.model_dump_json(indent=1) + "\n").encode()})
    return card


def load_probe(
    folder: str | os.PathLike[str], checkpoint_sha256: str | None = None, device: torch.device | str = "cpu"
) -> BoardProbe:
    """Reads a probe.

    Args:
        folder: what `save_probe` wrote.
        checkpoint_sha256: of the weights it is to be used on; None to take it on trust.
        device: where its tensors are put.

    Raises:
        ProbeError: missing or damaged, or fitted on other weights.
    """
    folder = Path(folder)
    card, data = _read(folder)
    if checkpoint_sha256 is not None and card.checkpoint_sha256 != checkpoint_sha256:
        raise ProbeError(
            f"probe {folder} was fitted on weights of sha256 {str(card.checkpoint_sha256)[:12]}..., these have "
            f"{checkpoint_sha256[:12]}...; fit one on these weights"
        )
    kind = NonlinearProbe if card.kind == "nonlinear" else LinearProbe
    try:
        tensors = read_safetensors(data)
        _check(card, tensors)
        read = kind(**{field.name: tensors[field.name].to(device) for field in dataclasses.fields(kind)})
    except (SafetensorError, ProbeError) as error:
        raise ProbeError(f"{folder / TENSOR_FILE} holds no {card.kind} probe ({error}); fit it again") from error
    return BoardProbe(card, read)


def _read(folder: Path) -> tuple[ProbeCard, bytes]:
    try:
        card = ProbeCard.model_validate_json(read_plain(folder / CARD_FILE, MAX_CARD_BYTES))
        data = read_plain(folder / TENSOR_FILE, MAX_PROBE_BYTES)
    except OSError as error:
        raise ProbeError(f"cannot read {error.filename}: {error.strerror}; give the folder of a saved probe") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "file"
        raise ProbeError(f"{folder / CARD_FILE} is no valid card ({where}: {first['msg']}); fit the probe again") from error
    if hashlib.sha256(data).hexdigest() != card.sha256.get(TENSOR_FILE):
        raise ProbeError(f"{folder / TENSOR_FILE} is not what its card says: it was changed or damaged; fit the probe again")
    return card, data


def _check(card: ProbeCard, tensors: Mapping[str, Tensor]) -> None:
    """Raises ProbeError unless there are all tensors of the card's kind, in its shapes, of one type of floats."""
    layers, outputs = len(card.layers), (card.squares, len(STATES[card.frame]))
    shapes = {"weight": (layers, card.width, *outputs), "bias": (layers, *outputs), "pattern": (layers, card.width, *outputs)}
    if card.kind == "nonlinear":
        hidden = tensors["hidden_bias"].shape[-1:].numel() if "hidden_bias" in tensors else 0
        shapes = {"hidden_bias": (layers, hidden), "hidden_weight": (layers, card.width, hidden)}
        shapes |= {"weight": (layers, hidden, *outputs), "bias": (layers, *outputs)}
    for name, shape in shapes.items():
        if name not in tensors:
            raise ProbeError(f"{name} is missing")
        if (found := tuple(tensors[name].shape)) != shape:
            raise ProbeError(f"{name} has shape {found}, the card says {shape}")
    types = {str(tensor.dtype).removeprefix("torch.") for tensor in tensors.values()}
    if types not in ({"float32"}, {"float64"}):
        raise ProbeError(f"its numbers are {' and '.join(sorted(types))}, expected float32 alone, or float64")
