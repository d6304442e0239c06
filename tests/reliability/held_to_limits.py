"""Reading a file that may be hostile, held to limits: one sentence or a result, within seconds and within its due of memory."""

import resource
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SECONDS = 5
MEGABYTE = 1 << 20
SLACK = 16 * MEGABYTE
"""What allocators take at a time, whatever is asked of them."""
CEILING = 1 << 30
"""Beyond it a read is cut off, so that a failing test does not take the machine with it."""


@dataclass(frozen=True)
class Reading:
    """How a read ended."""

    error: Exception | None
    seconds: float
    memory: int
    """bytes that the process's memory rose by at its highest"""
    allowed: float = SECONDS
    """seconds it had"""

    def require_orderly(self, due: int) -> None:
        """Asserts one sentence with a remedy or no error, within the time, and at most twice the memory due."""
        if self.error is not None:
            assert isinstance(self.error, ValueError | OSError), f"{type(self.error).__name__}: {self.error}"
            text = str(self.error)
            assert "; " in text and "\n" not in text and len(text) < 1000, f"{type(self.error).__name__}: {text[:2000]}"
        assert self.seconds < self.allowed
        assert self.memory <= 2 * due + SLACK, f"{self.memory / MEGABYTE:.0f} MB, due are {due / MEGABYTE:.0f}"


def held(read: Callable[[], object], allowed: float = SECONDS) -> Reading:
    """Reads, and tells how it went; cut off after the seconds allowed."""
    before, since = _memory("VmRSS"), time.monotonic()
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    error = None
    try:
        with _cut_off(allowed):
            read()
    except Exception as raised:
        error = raised
    return Reading(error, time.monotonic() - since, _memory("VmHWM") - before, allowed)


@contextmanager
def _cut_off(allowed: float) -> Iterator[None]:
    def too_long(number: int, frame: object) -> None:
        raise AssertionError(f"longer than {allowed:.0f} seconds")

    limits = resource.getrlimit(resource.RLIMIT_AS)
    handler = signal.signal(signal.SIGALRM, too_long)
    resource.setrlimit(resource.RLIMIT_AS, (_memory("VmSize") + CEILING, limits[1]))
    signal.setitimer(signal.ITIMER_REAL, allowed)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        resource.setrlimit(resource.RLIMIT_AS, limits)


def _memory(name: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024
