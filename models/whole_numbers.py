"""Counts and seeds as users give them: whole numbers, numpy's among them, and not fewer than it takes."""

from typing import SupportsIndex


def require_whole(name: str, value: SupportsIndex, least: int = 1) -> None:
    """Raises ValueError for what is no whole number, and for less than `least`; `name` says what it is, in the plural."""
    if not isinstance(value, SupportsIndex):
        raise ValueError(f"{name}: {value!r} is no whole number, expected one of at least {least}; give that")
    if int(value) < least:
        raise ValueError(f"{int(value)} {name} are too few, expected at least {least}; ask for more")
