"""What is written before it gets its name: a temporary sibling, and what killed writes left of such ones.

For: `durable.py`, which renames them. One is locked while its writer lives, so that whoever writes to the folder next can tell
it from what a killed process left, and delete that alone. Its name tells the host, since there are file systems whose locks
hold on one host alone: what another host wrote is left.
"""

import fcntl
import hashlib
import os
import re
import secrets
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = ".writing-"
NAME = re.compile(re.escape(PREFIX) + "[0-9a-f]{16}")
OF_HOST = 8
"""How many of the 16 digits tell the host."""


@contextmanager
def temporary_sibling(folder: Path, make: Callable[[Path], None]) -> Iterator[Path]:
    """A file or folder made under a name that nothing has, to be renamed within; where it was not, it goes again.

    What killed writes left in the folder goes, too. It has the user's umask, unlike what `tempfile` makes, which is private.
    """
    for leftover in _leftovers(folder):
        if leftover.name.startswith(_prefix_here()):
            _remove_abandoned(leftover)
    path, lock = _made_and_locked(folder, make)
    try:
        yield path
    finally:
        _remove(path)
        os.close(lock)


def new_file(path: Path) -> None:
    """Makes an empty file. Raises FileExistsError where there is something."""
    path.touch(exist_ok=False)


def remove_leftovers(folder: Path) -> None:
    """Deletes what interrupted writes left in a folder, with or without a lock. Only for whoever holds the folder's own."""
    for leftover in _leftovers(folder):
        _remove(leftover)


def is_leftover(name: str) -> bool:
    """Whether an interrupted write may have left a file or folder of that name."""
    return NAME.fullmatch(name) is not None


def new_name() -> str:
    """A name for something temporary that this host writes, which nothing has."""
    return _prefix_here() + secrets.token_hex((16 - OF_HOST) // 2)


def _prefix_here() -> str:
    return PREFIX + hashlib.sha256(socket.gethostname().encode()).hexdigest()[:OF_HOST]


def _leftovers(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if is_leftover(path.name)] if folder.is_dir() else []


def _made_and_locked(folder: Path, make: Callable[[Path], None]) -> tuple[Path, int]:
    while True:
        path = folder / new_name()
        make(path)
        with suppress(FileNotFoundError):  # somebody took it for abandoned before it was locked
            lock = _opened(path)
            with suppress(OSError):  # a file system without locks
                fcntl.flock(lock, fcntl.LOCK_EX)
            if path.exists():
                return path, lock
            os.close(lock)


def _remove_abandoned(leftover: Path) -> None:
    with suppress(OSError):  # it is locked, or somebody else's, or was removed meanwhile
        lock = _opened(leftover)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove(leftover)
        finally:
            os.close(lock)


def _opened(path: Path) -> int:
    return os.open(path, os.O_NOFOLLOW | (os.O_DIRECTORY if path.is_dir() else os.O_RDWR))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
