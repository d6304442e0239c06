"""Writing so that a reader never sees half of it and a power cut loses nothing that was reported written."""

import errno
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from models.temporary_siblings import new_file, temporary_sibling


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Within, a full or read-only disk, or a folder of somebody else, is an OSError that says what cannot be written."""
    try:
        yield
    except FileExistsError as error:
        if error.errno is None:  # `_give_name` has said it in a sentence
            raise
        raise NotADirectoryError(f"cannot write {path}: {error.filename} is a file, expected a folder; give another") from error
    except OSError as error:
        raise type(error)(
            f"cannot write {path}: {error.strerror or error}; free space or give another folder, what is there is unchanged"
        ) from error


def open_to_append(path: Path) -> IO[str]:
    """Opens a file of ours to read it and add to its end; makes it where there is none.

    Raises OSError for a link and what is no plain file: nothing is written through them into a file of somebody else.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no plain file", str(path))
    return os.fdopen(descriptor, "a+")


def write_file(path: Path, data: bytes) -> None:
    """Creates or replaces a file atomically: a temporary sibling, fsynced, then renamed over it. Raises as `writing` does.

    OSError too where something stands there that is no plain file.
    """
    with writing(path):
        _replace(path, data)


def _replace(path: Path, data: bytes) -> None:
    if path.exists() and not path.is_file():  # a folder, a pipe, a device: a file in its place would be the end of it
        raise OSError(errno.EINVAL, "it is no plain file", str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    with temporary_sibling(path.parent, new_file) as temporary:
        with temporary.open("wb") as file:
            _write_synced(file, data)
        temporary.replace(path)
        _sync_folder(path.parent)


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A folder to fill within with `write_file` and `write_folder`, under a temporary name: it gets its own at the end.

    For what is too much to hold in memory; else `write_folder`. Its parent is there. An exception leaves nothing.
    Raises FileExistsError where the folder exists already, and as `writing` does.
    """
    with temporary_sibling(folder.parent, _make_folder) as temporary:
        yield temporary
        with writing(folder):
            _sync_folder(temporary)
            _give_name(temporary, folder)


def _make_folder(path: Path) -> None:
    with writing(path):
        path.mkdir()


def _give_name(temporary: Path, folder: Path) -> None:
    if folder.exists():  # rename would replace an empty folder silently
        raise FileExistsError(f"{folder} exists already; choose another folder or delete it first")
    temporary.rename(folder)
    _sync_folder(folder.parent)


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Creates a folder of files atomically. Raises FileExistsError, and leaves all as it was, where it exists already.

    Raises as `writing` does.
    """
    with writing(folder):
        _create(folder, files)


def replace_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Writes a folder of files in place of one with files of the same names, which stays as it was until all is written.

    Creates it where there is none. A kill between the two renames leaves the old one beside it, under a temporary name.
    Raises FileExistsError, and leaves all as it was, where something else stands there, and as `writing` does.
    """
    ours = folder.is_dir() and not folder.is_symlink() and {file.name for file in folder.iterdir()} == set(files)
    with writing(folder):
        _create(folder, files, instead=ours)


def _create(folder: Path, files: Mapping[str, bytes], instead: bool = False) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with temporary_sibling(folder.parent, Path.mkdir) as temporary:
        for name, data in files.items():
            with (temporary / name).open("xb") as file:
                _write_synced(file, data)
        _sync_folder(temporary)
        old = temporary.with_name(f"{temporary.name}-old")
        try:
            if instead:
                folder.rename(old)
            _give_name(temporary, folder)
        except BaseException:
            if old.exists() and not folder.exists():
                old.rename(folder)
            raise
    shutil.rmtree(old, ignore_errors=True)


def require_writable(folder: Path) -> None:
    """Raises OSError where nothing can be written into a folder that is there; asked before long work. Leaves nothing."""
    with temporary_sibling(folder, new_file) as temporary:
        temporary.write_bytes(b"x")  # a full disk has room for a name alone


def _write_synced(file, data: bytes) -> None:
    file.write(data)
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
