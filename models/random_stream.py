"""The counter-based random stream that every token sequence is made from.

For: draws that are a pure function of (seed, index, counter), equal on every device, batch size and thread count, so that
resuming, splitting over processes and re-generating a batch are exact. Not for: weight initialisation or dropout masks
(torch generators do those).

The generator is splitmix64 (Steele, Lea and Flood, 2014, "Fast splittable pseudorandom number generators"). All arithmetic
is modulo 2**64; torch holds the same 64 bits as signed int64. `models/othello/rules_numba.py` repeats the three functions in
numba, and a test holds the two together.
"""

import torch
from jaxtyping import Int64
from torch import Tensor

from models.device import usable_device
from models.whole_numbers import require_whole

GOLDEN = 0x9E3779B97F4A7C15
MULTIPLIER_1 = 0xBF58476D1CE4E5B9
MULTIPLIER_2 = 0x94D049BB133111EB
MASK_64 = (1 << 64) - 1
MOST_BEFORE = 1 << 62


def as_signed(value: int) -> int:
    """The int64 that holds the same 64 bits as the unsigned `value` (taken modulo 2**64)."""
    value &= MASK_64
    return value - (1 << 64) if value >> 63 else value


def mix_scalar(z: int) -> int:
    """The splitmix64 finaliser of one unsigned 64-bit integer, in plain Python: the readable reference."""
    z &= MASK_64
    z = ((z ^ (z >> 30)) * MULTIPLIER_1) & MASK_64
    z = ((z ^ (z >> 27)) * MULTIPLIER_2) & MASK_64
    return z ^ (z >> 31)


def seed_state(seed: int) -> int:
    """The unsigned 64-bit state that a seed starts from; `seed` is any integer, taken modulo 2**64."""
    return mix_scalar(seed + GOLDEN)


def draw_scalar(seed: int, index: int, counter: int) -> int:
    """Draw number `counter` (from 0) of sequence `index` of stream `seed`: uniform over 0 .. 2**64 - 1."""
    state = mix_scalar(seed_state(seed) + GOLDEN * (index + 1))
    return mix_scalar(state + GOLDEN * (counter + 1))


def _shift_right(z: Int64[Tensor, "*shape"], bits: int) -> Int64[Tensor, "*shape"]:
    return (z >> bits) & ((1 << (64 - bits)) - 1)  # torch's >> on int64 is arithmetic; the mask makes it logical


def mix(z: Int64[Tensor, "*shape"]) -> Int64[Tensor, "*shape"]:
    """`mix_scalar` elementwise on int64 tensors, on any device."""
    z = (z ^ _shift_right(z, 30)) * as_signed(MULTIPLIER_1)
    z = (z ^ _shift_right(z, 27)) * as_signed(MULTIPLIER_2)
    return z ^ _shift_right(z, 31)


def states(seed: int, indices: Int64[Tensor, "batch"]) -> Int64[Tensor, "batch"]:
    """The stream state of each sequence index; draw k of a sequence is `mix(state + GOLDEN * (k + 1))`."""
    return mix(as_signed(seed_state(seed)) + (indices + 1) * as_signed(GOLDEN))


def numbers(start: int, count: int, device: torch.device | str = "cpu") -> Int64[Tensor, "count"]:
    """Indices start .. start + count - 1 of sequences.

    Raises ValueError for what is no count, a start beyond 2^62, and an unknown device.
    """
    require_whole("sequences before the first", start, least=0, most=MOST_BEFORE)
    require_whole("sequences", count, least=0)
    found = device if isinstance(device, torch.device) else usable_device(device)  # which asks the device, at some cost
    return torch.arange(start, start + count, device=found)


def draws(seed: int, indices: Int64[Tensor, "batch"], count: int) -> Int64[Tensor, "batch count"]:
    """The first `count` draws of every sequence index, as int64 (all 64 bits random, so half are negative)."""
    counters = torch.arange(1, count + 1, device=indices.device)
    return mix(states(seed, indices)[:, None] + counters * as_signed(GOLDEN))
