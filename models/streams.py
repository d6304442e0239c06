"""Which random stream each use draws from, so that no two uses share a number: the one place where streams are given out.

A stream is an integer that `models/random_stream.py` makes draws of. Every use takes any seed in 0 .. 2**32 - 1 and has 2**32
streams of its own.
"""

from enum import IntEnum
from typing import SupportsIndex

SEEDS = 1 << 32


def require_seed(seed: int) -> None:
    """Raises ValueError for a seed outside 0 .. 2**32 - 1, and for what is no whole number."""
    if not isinstance(seed, SupportsIndex):
        raise ValueError(f"seed {seed!r} is no whole number, expected one in 0 .. 2**32 - 1; choose one of those")
    if not 0 <= int(seed) < SEEDS:
        raise ValueError(f"seed {seed} is outside 0 .. 2**32 - 1; choose one inside")


class Draw(IntEnum):
    """What is drawn, and the first stream it draws from. Changing one changes every number that was measured with it."""

    TRAINING = 0
    """sequences to train on"""
    EVALUATION = 1 << 32
    """sequences that metrics are measured on (short inputs recur in training by chance)"""
    BOOTSTRAP = 1 << 33
    """weights of sequences in bootstrap replicates"""
    PROBES = 1 << 36
    """sequences to fit probes on and to score them, and reference inputs of an ablation"""
    INTERVENTION_CASES = 1 << 37
    """which square of a game an intervention flips"""
    ORDERS = 1 << 38
    """other orders of the same tokens"""
    RESAMPLE = 1 << 39
    """which reference input a resample ablation takes"""
    DROPOUT = 1 << 40
    """dropout masks"""
    SEARCH = 1 << 42
    """parameters of a search's trials"""

    def stream(self, seed: int) -> int:
        """The stream of `seed`. Raises as `require_seed`."""
        require_seed(seed)
        return self.value + int(seed)  # numpy's would overflow
