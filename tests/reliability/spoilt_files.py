"""Spoils a file so many times, always in the same ways, and holds each read to one sentence or a load, in time and memory."""

from collections import Counter
from collections.abc import Callable
from random import Random

import pytest

from .held_to_limits import held

FEW = 10
"""The quick version does one mutation in so many."""


def counts(all_of_them: int, few: int = FEW) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("count", [all_of_them // few, pytest.param(all_of_them, marks=pytest.mark.slow)])


def spoil_and_read(count: int, kind: str, spoil: Callable[[Random], str], read: Callable[[], object]) -> None:
    """Spoils and reads so many times, number by number with a generator of its own, and holds each read to the limits."""
    for _ in range(2):  # the first one fills caches
        sound = held(read)
    assert sound.error is None, sound.error
    ends, worst = Counter(), 0.0
    for number in range(count):
        what = spoil(Random(f"{kind} {number}"))
        reading = held(read)
        try:
            reading.require_orderly(max(sound.memory, 0))
        except AssertionError as fault:
            raise AssertionError(f"{kind} {number}, {what}: {fault}") from reading.error
        ends["read" if reading.error is None else type(reading.error).__name__] += 1
        worst = max(worst, reading.seconds)
    assert ends.total() - ends["read"] > count / 5  # they are spoilt indeed
    print(f"{kind}: {count} mutations, {dict(ends)}, slowest {worst:.2f} s")  # noqa: T201
