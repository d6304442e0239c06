"""How many threads a fleet trains on: torch's own, and the compiled loops over members."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Gives torch's CPU operations `count` threads, and what they had before on the way out."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads)


def for_members(kernel: Callable[..., None], members: int, *arguments: Any) -> None:
    """Calls `kernel(start, stop, *arguments)` on torch's number of threads, so that the ranges cover members 0 .. members - 1.

    The kernel has to release the GIL to gain from it, and members must share nothing that is written.
    """
    threads = min(torch.get_num_threads(), members)
    if threads == 1:
        kernel(0, members, *arguments)
        return
    bounds = [members * part // threads for part in range(threads + 1)]
    list(_pool(threads).map(lambda start, stop: kernel(start, stop, *arguments), bounds[:-1], bounds[1:]))
