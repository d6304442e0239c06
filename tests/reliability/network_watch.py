"""A process, and every Python process that it starts, whose reaching for the network is noted and refused.

Python runs `sitecustomize` before anything else, so that also kernels and servers are watched, from before their first import.
What compiled code does past Python's sockets is not seen.
"""

import os
from pathlib import Path

SITECUSTOMIZE = """
import os, sys

def is_allowed(host):
    return os.environ["LOOPBACK"] == "allowed" and host in ("127.0.0.1", "::1", "localhost", "", None, b"localhost")

def watch(event, arguments):
    if event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
        host = arguments[0]
    elif event in ("socket.connect", "socket.bind", "socket.sendto") and isinstance(arguments[1], tuple):  # else a Unix socket
        host = arguments[1][0]
    else:
        return
    if not is_allowed(host):
        with open(os.environ["REACHED"], "a") as file:
            print(event, host, *sys.argv[:3], file=file)
        raise OSError("the network is out of bounds here")

sys.addaudithook(watch)
"""


def watched(folder: Path, loopback: bool = False) -> dict[str, str]:
    """The environment of such a process; with loopback it may listen at and talk to this machine's own address."""
    (folder / "watch").mkdir()
    (folder / "watch" / "sitecustomize.py").write_text(SITECUSTOMIZE)
    allowed = "allowed" if loopback else "refused"
    watch = {"PYTHONPATH": str(folder / "watch"), "REACHED": str(folder / "reached"), "LOOPBACK": allowed}
    return os.environ | watch | {"OMP_NUM_THREADS": "1"}


def reached(folder: Path) -> list[str]:
    """What was reached for."""
    file = folder / "reached"
    return file.read_text().splitlines() if file.exists() else []
