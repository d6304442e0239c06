"""Parts of a long measurement, kept on disk as they are done, so that an interrupted one goes on where it stopped.

A folder holds `settings.json`, what the parts are of, and one safetensors file for each part. Parts are written whole or not at
all; those of other settings are refused, not mixed in. Each part says by a digest what settings it was made with.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import pyarrow.parquet as pq
import torch
from pydantic import JsonValue
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from models.checkpoint import read_safetensors
from models.durable import write_file
from models.plain_file import read_plain, require_plain
from workbench.parquet_file import UNREADABLE

SETTINGS_FILE = "settings.json"
SETTINGS_KEY, FINGERPRINT = "settings", b"fingerprint"
"""Where in their metadata a part, and one of a comparison, say what they were made with: there, what the file is named."""
MAX_SETTINGS_BYTES, MAX_PART_BYTES = 1 << 20, 1 << 31

Part = dict[str, Tensor]


def computed_with(device: torch.device | str) -> dict[str, JsonValue]:
    """What the numbers of every kept part depend on beside what is asked for: the workbench, torch's build, the kind of device.

    Left out is what may change when an interrupted job goes on. The number of threads: 1 to 4 of them gave the same bits on a
    CPU, in comparisons and in maps of ablations. Which CPU or GPU of its kind, and the versions of NumPy and SciPy, which only
    sum up: they can change last digits, and a job that is moved to another machine must not lose what it has done.
    """
    return {
        "workbench": version("legal-tokens-workbench"),
        "torch": str(torch.__version__),
        "device": torch.device(device).type,
    }


def remove_parts(folder: Path) -> None:
    """Deletes what was kept in a folder, of whatever settings, and that folder and the one it lies in where they are empty.

    Files that do not say that they are kept parts are somebody else's and stay.
    """
    digests = set()
    for file in folder.glob("*.safetensors"):
        if (digest := _digest_told(file)) is not None:
            digests.add(digest)
            file.unlink()
    for file in folder.glob("*.parquet"):
        if _fingerprint_told(file) == file.stem.encode():
            file.unlink()
    with suppress(OSError, ValueError, RecursionError):
        if _digest(json.loads(read_plain(folder / SETTINGS_FILE, MAX_SETTINGS_BYTES))) in digests:
            (folder / SETTINGS_FILE).unlink()
    with suppress(OSError):
        folder.rmdir()
        folder.parent.rmdir()


def _digest_told(file: Path) -> str | None:
    """The digest of settings that a part of `KeptParts` names; None for any other file."""
    try:
        require_plain(file, MAX_PART_BYTES)
        with safe_open(file, "pt") as opened:
            return (opened.metadata() or {}).get(SETTINGS_KEY)
    except (OSError, SafetensorError):
        return None


def _fingerprint_told(file: Path) -> bytes | None:
    """The fingerprint that a part of a comparison names; None for any other file."""
    try:
        require_plain(file, MAX_PART_BYTES)
        return (pq.read_metadata(file).metadata or {}).get(FINGERPRINT)
    except UNREADABLE:
        return None


def _digest(settings: object) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


class KeptParts:
    """A folder of parts that were made with the same settings."""

    def __init__(self, folder: Path, settings: Mapping[str, JsonValue]):
        """Makes the folder where there is none. Raises ValueError where it holds parts of other settings."""
        self._folder = folder
        wanted = json.loads(json.dumps(dict(settings)))
        file = folder / SETTINGS_FILE
        if not file.exists():
            write_file(file, (json.dumps(wanted, indent=1) + "\n").encode())
        data = self._read(file, MAX_SETTINGS_BYTES)
        try:
            found = dict(json.loads(data))
        except (ValueError, TypeError, RecursionError) as error:
            raise ValueError(
                f"{file} is damaged, so nobody knows what its parts hold; delete {folder} and measure again"
            ) from error
        self._digest = _digest(wanted)
        differing = [name for name in sorted({*wanted, *found}) if wanted.get(name) != found.get(name)]
        if differing:
            name = differing[0]
            raise ValueError(
                f"{folder} holds parts of another measurement ({name} {found.get(name)}, not {wanted.get(name)}); give another "
                "folder, or delete this one"
            )

    def get(self, name: str, make: Callable[[], Part]) -> Part:
        """The part of that name: read where it was kept, else made and kept. One that is damaged or foreign is made again.

        Raises ValueError for what is no plain file.
        """
        file = self._folder / f"{name}.safetensors"
        if file.exists():
            data = self._read(file, MAX_PART_BYTES)
            with suppress(SafetensorError):
                part = read_safetensors(data)
                if self._digest.encode() in data[: len(data) - sum(tensor.nbytes for tensor in part.values())]:
                    return part
            file.unlink()
        part = {key: tensor.contiguous() for key, tensor in make().items()}
        write_file(file, save(part, {SETTINGS_KEY: self._digest}))
        return part

    def _read(self, file: Path, most: int) -> bytes:
        try:
            return read_plain(file, most)
        except OSError as error:
            raise ValueError(f"cannot read {file}: {error.strerror}; delete {self._folder} and measure again") from error
