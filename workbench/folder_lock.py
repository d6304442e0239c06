"""The lock of a folder that a command writes for long: whoever else is told to write there is refused, and told who does."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from models.durable import open_to_append, writing

LOCK_FILE = "run.lock"
HOLDER = "process "
"""What the text in a lock of ours starts with."""
MAX_TOLD = 400
"""Bytes of a lock that are read."""


class FolderError(ValueError):
    """A folder that cannot be written to now; the message is one sentence with the remedy."""


@contextmanager
def held_alone(folder: Path) -> Iterator[None]:
    """Holds a folder, made where there is none, for this process alone; one that was made and stays empty goes again.

    Raises FolderError where another process holds it, naming that, or where a file of that name is no lock of ours, and OSError
    as `writing` does. What a process leaves that was killed is no obstacle: the system lets go of its lock.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        with _locked(folder):
            yield
    finally:
        for path in made:
            with suppress(OSError):  # something lies there now
                path.rmdir()


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    path = folder / LOCK_FILE
    with _taken(path) as lock:
        if (told := _told(lock)) and not told.startswith(HOLDER):
            raise FolderError(f"{path} is no lock of ours; give another folder, or delete that file")
        with writing(path):
            lock.truncate(0)
            lock.write(f"{HOLDER}{os.getpid()} on {socket.gethostname()}")
            lock.flush()
        try:
            yield
        finally:
            with suppress(OSError):
                path.unlink()


@contextmanager
def _taken(path: Path) -> Iterator[IO[str]]:
    """The file, locked; anew where whoever held it before has deleted it meanwhile, as is done at the end."""
    while True:
        with writing(path):
            file = open_to_append(path)
        with file:
            try:
                with writing(path):
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = _told(file) or "another process"
                raise FolderError(f"{path.parent} is being written by {holder}; wait for it or stop it") from None
            if _lies_at(path, file):
                yield file
                return


def _lies_at(path: Path, file: IO[str]) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _told(lock: IO[str]) -> str:
    return os.pread(lock.fileno(), MAX_TOLD, 0).decode(errors="replace").strip()
