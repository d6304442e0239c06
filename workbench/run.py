"""A run on disk: `run.json`, `metrics.jsonl` and `checkpoints/`, held for writing by one process at a time."""

import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import IO

from pydantic import ValidationError

from models.checkpoint import run_checkpoints
from models.config import Config, Names, Words
from models.durable import open_to_append, write_file, writing
from models.plain_file import read_plain, require_plain
from models.temporary_siblings import is_leftover, remove_leftovers
from workbench.folder_lock import LOCK_FILE, held_alone
from workbench.training_config import TrainingConfig, changed_fields

RUN_FILE = "run.json"
METRICS_FILE = "metrics.jsonl"
MAX_METRICS_BYTES = 1 << 28
"""A line a logged step: a million of them."""
MAX_LINE_BYTES = 1 << 16
"""A line has some five numbers."""
MAX_RECORD_BYTES = 1 << 20


class RunError(ValueError):
    """A run that cannot be started or gone on with; the message is one sentence with the remedy."""


class RunRecord(Config):
    """What `run.json` holds."""

    config: TrainingConfig
    """the training configuration"""
    command: Words
    """the command that makes this run again"""
    versions: Names
    """package versions and machine kind at the start"""


def package_versions() -> dict[str, str]:
    """Versions that a result depends on: python, torch, numpy, this workbench, and the kind of machine."""
    packages = {"torch": version("torch"), "numpy": version("numpy")}
    return {"python": platform.python_version(), **packages, "machine": f"{platform.system()} {platform.machine()}"}


class Run:
    """One run folder, held for writing. Make it with `open_run`."""

    def __init__(self, folder: Path, record: RunRecord):
        self.folder = folder
        self.record = record

    def checkpoint_folder(self, step: int) -> Path:
        """Where the checkpoint of a step lies."""
        return self.folder / "checkpoints" / f"step_{step:08d}"

    def write_record(self) -> None:
        """Writes `run.json`: once a new run has its first state, or an old one could be gone on with."""
        write_file(self.folder / RUN_FILE, (self.record.model_dump_json(indent=1) + "\n").encode())

    def append_metrics(self, row: dict[str, float | int]) -> None:
        """Adds one line to `metrics.jsonl`."""
        path = self.folder / METRICS_FILE
        with writing(path), open_to_append(path) as file:
            file.write(json.dumps(row) + "\n")

    def forget_metrics_after(self, step: int) -> None:
        """Drops the lines beyond the step that a resume starts from, also one that was cut off while written."""
        path = self.folder / METRICS_FILE
        if path.exists():
            kept = bytearray()
            for line, row in _metric_lines(_open_metrics(path)):
                kept += line.rstrip(b"\n") + b"\n" if row["step"] <= step else b""
            write_file(path, bytes(kept))


def read_run(folder: str | os.PathLike[str]) -> RunRecord:
    """The record of a run. Raises RunError where `run.json` is missing or not valid."""
    path = Path(folder) / RUN_FILE
    try:
        return RunRecord.model_validate_json(read_plain(path, MAX_RECORD_BYTES))
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}; give a folder made by workbench train") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "file"
        raise RunError(f"{path} is no valid run record ({field}: {first['msg']}); restore it or start a new run") from error


def read_metrics(folder: str | os.PathLike[str]) -> Iterator[dict[str, float]]:
    """The lines of a run's `metrics.jsonl`, in order and one at a time, so that a long file fills no memory.

    A line that was cut off, damaged, or has more than `MAX_LINE_BYTES` is passed over. Raises RunError where there is no such
    file, or one of more than `MAX_METRICS_BYTES`.
    """
    file = _open_metrics(Path(folder) / METRICS_FILE)
    return (row for _, row in _metric_lines(file))


def _open_metrics(path: Path) -> IO[bytes]:
    try:
        require_plain(path, MAX_METRICS_BYTES)
        return path.open("rb")
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}; give a folder made by workbench train") from error


def _metric_lines(file: IO[bytes]) -> Iterator[tuple[bytes, dict[str, float]]]:
    with file:
        for line in _short_lines(file):
            if b'"step"' not in line:  # to try it would take much longer
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):  # cut off while written, or damaged since
                continue
            if isinstance(row, dict) and isinstance(row.get("step"), int):
                yield line, row


def _short_lines(file: IO[bytes]) -> Iterator[bytes]:
    begins = True
    while piece := file.readline(MAX_LINE_BYTES):
        ends = piece.endswith(b"\n")
        if begins and (ends or len(piece) < MAX_LINE_BYTES):
            yield piece
        begins = ends


@contextmanager
def open_run(folder: Path, record: RunRecord) -> Iterator[Run]:
    """Holds a run folder for writing: a new one, or one of an equal configuration to go on with.

    Raises RunError where the folder holds something else, or a run of another configuration (the fields are named), and as
    `held_alone` where another process holds it.
    """
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder} is a file; give a folder for the run")
    if (folder / RUN_FILE).exists():
        read_run(folder)  # before anything is touched: it may be another program's
    elif folder.is_dir() and any(not _is_of_a_run(path.name) for path in folder.iterdir()):
        raise RunError(f"{folder} holds files that are no run of ours; give an empty or new folder")
    with held_alone(folder):
        remove_leftovers(folder)
        remove_leftovers(folder / "checkpoints")
        run_checkpoints(folder)  # raises where a card is missing
        if (folder / RUN_FILE).exists():
            before = read_run(folder)
            record = record.model_copy(update={"versions": before.versions})
            changes = changed_fields(before.config, record.config)
            if changes:
                raise RunError(
                    f"{folder} is a run of another configuration ({'; '.join(changes)}); "
                    "give the same options to go on with it, or another folder"
                )
        yield Run(folder, record)


def _is_of_a_run(name: str) -> bool:
    """Whether a run that was killed before its record was written may have left it, or one that lost its record."""
    return name in (LOCK_FILE, METRICS_FILE, "checkpoints") or is_leftover(name)
