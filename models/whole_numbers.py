"""Counts and seeds as users give them: whole numbers, numpy's among them, and not fewer than it takes."""

from typing import SupportsIndex

MOST_COUNTED = 10**8
"""Of sequences, games, cases or steps; more are a mistake, which would be found out after hours, or by the memory."""


def require_whole(name: str, value: SupportsIndex, least: int = 1, most: int = MOST_COUNTED) -> None:
    """Raises ValueError for what is no whole number from `least` to `most`; `name` says what it is, in the plural."""
    if not isinstance(value, SupportsIndex):
        raise ValueError(f"{name}: {value!r} is no whole number, expected one of at least {least}; give that")
    if int(value) < least:
        raise ValueError(f"{int(value)} {name} are too few, expected at least {least}; ask for more")
    if int(value) > most:
        raise ValueError(f"{int(value)} {name} are too many, expected at most {most}; ask for fewer")
