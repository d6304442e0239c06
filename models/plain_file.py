"""Reading files that somebody else may have put there: plain ones only, and none larger than it can be.

A link to a plain file is followed. A pipe or a device would be waited for, or read without end.
"""

import errno
import os
import stat
from pathlib import Path


def as_path(path: str | os.PathLike[str]) -> Path:
    """A path as users give it. Raises ValueError for what is none, and for an empty one."""
    if not isinstance(path, str | os.PathLike) or path == "":
        raise ValueError(f"{path!r:.60} is no path, expected text or a pathlib.Path; give the path of a file or folder")
    return Path(path)


def require_plain(path: Path, most: int | None = None) -> None:
    """Raises OSError, with a reason in `strerror`, for what is missing, no plain file, or has more than `most` bytes."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is no plain file", str(path))
    if most is not None and status.st_size > most:
        raise OSError(errno.EFBIG, f"it has {status.st_size} bytes, expected at most {most}", str(path))


def read_plain(path: Path, most: int | None = None) -> bytes:
    """The bytes of a plain file. Raises as `require_plain` does."""
    require_plain(path, most)
    return path.read_bytes()
