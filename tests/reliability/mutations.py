"""Ways to spoil a file, each drawn from a seeded generator: bytes, JSON fields, tensors, and what a name leads to."""

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import torch
from safetensors.torch import load, save

Spoil = Callable[[bytes, Random], bytes]


def cut(data: bytes, random: Random) -> bytes:
    return data[: random.randrange(len(data))]


def flip_bits(data: bytes, random: Random) -> bytes:
    spoilt = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 8, 64))):
        spoilt[random.randrange(len(spoilt))] ^= 1 << random.randrange(8)
    return bytes(spoilt)


def flip_bits_at_the_start(data: bytes, random: Random) -> bytes:
    """Where formats keep their lengths and types."""
    return flip_bits(data[:64], random) + data[64:]


def zeros_inside(data: bytes, random: Random) -> bytes:
    at = random.randrange(len(data))
    return data[:at] + bytes(random.choice((1, 100, 5000))) + data[at:]


def piece_twice(data: bytes, random: Random) -> bytes:
    first, last = sorted((random.randrange(len(data)), random.randrange(len(data))))
    return data[:last] + data[first:]


def noise(data: bytes, random: Random) -> bytes:
    return random.randbytes(random.choice((0, 1, 7, 16, len(data))))


def huge_header(data: bytes, random: Random) -> bytes:
    """The lengths that the formats start with, at the greatest values there are."""
    return struct.pack("<Q", random.choice((2**64 - 1, 2**63, 2**40, 10**8, len(data) + 1))) + data[8:]


BYTES: tuple[Spoil, ...] = (cut, flip_bits, flip_bits_at_the_start, zeros_inside, piece_twice, noise, huge_header)

DEEP = 100_000
JUNK = (
    *(None, True, -1, 0, 1, 2**31, 2**63, 10**30, 1e308, -1e308, 0.5, float("nan"), float("inf")),
    *("", "raw", "../../etc", "x" * 10_000, "\0", "é", [], [[]], {}, {"a": 1}),
)


def junk_field(data: bytes, random: Random) -> bytes:
    """One value anywhere in the JSON replaced, or left out, or one more key."""
    tree = json.loads(data)
    places = list(_places(tree))
    holder, key = random.choice(places)
    act = random.random()
    if act < 0.15:
        del holder[key]
    elif act < 0.25 and isinstance(holder, dict):
        holder[random.choice(("surprise", "../up", "", "\0"))] = random.choice(JUNK)
    else:
        holder[key] = random.choice(JUNK)
    return json.dumps(tree).encode()


def _places(tree: Any) -> list[tuple[Any, Any]]:
    keys = list(tree) if isinstance(tree, dict) else list(range(len(tree))) if isinstance(tree, list) else []
    return [(tree, key) for key in keys] + [place for key in keys for place in _places(tree[key])]


def deep_json(data: bytes, random: Random) -> bytes:
    """Nested far beyond any recursion limit, alone or as the value of a field."""
    nested = random.choice(("[" * DEEP + "]" * DEEP, '{"a":' * DEEP + "1" + "}" * DEEP, "[" * DEEP))
    return nested.encode() if random.random() < 0.5 else data.rstrip()[:-1] + f', "versions": {nested}}}'.encode()


JSONS: tuple[Spoil, ...] = (junk_field, junk_field, junk_field, deep_json, cut, flip_bits, noise)


ODD_TYPES = ("F4", "F6_E2M3", "F8_E8M0")
"""Types of numbers that the format has and its reader for torch does not know."""


def of_type(name: str) -> bytes:
    """A sound safetensors file with 32 numbers of one of `ODD_TYPES`."""
    size = 32 * int(name[1]) // 8
    header = json.dumps({"x": {"dtype": name, "shape": [32], "data_offsets": [0, size]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(size)


def other_tensors(data: bytes, random: Random) -> bytes:
    """A sound safetensors file with one tensor of another shape or type, renamed, left out, not finite, or one more."""
    tensors = load(data)
    name = random.choice(sorted(tensors))
    tensor = tensors.pop(name)
    match random.choice(("shape", "transposed", "scalar", "type", "name", "absent", "nan", "inf", "more", "empty")):
        case "shape":
            tensors[name] = torch.zeros(*tensor.shape, 2)
        case "transposed":
            tensors[name] = tensor.reshape(-1)
        case "scalar":
            tensors[name] = torch.zeros(())
        case "type":
            kind = random.choice((torch.int64, torch.bool, torch.float16, *ODD_TYPES))
            if isinstance(kind, str):
                return of_type(kind)
            tensors[name] = torch.zeros(tensor.shape, dtype=kind)
        case "name":
            tensors[random.choice((f"../{name}", "", name.upper(), "blocks.999999999.attn.W_Q"))] = tensor
        case "nan":
            tensors[name] = torch.full_like(tensor, torch.nan)
        case "inf":
            tensors[name] = torch.full_like(tensor, torch.inf)
        case "more":
            tensors |= {name: tensor, "surprise": torch.zeros(3)}
        case "empty":
            tensors = {}
    return save({key: value.contiguous() for key, value in tensors.items()})


ELSEWHERE = ("endless", "nowhere", "itself", "folder", "pipe", "sparse")


def lead_elsewhere(path: Path, where: str) -> None:
    """Puts something that is no plain file, or far too big a one, in the file's place."""
    path.unlink()
    match where:
        case "endless":
            path.symlink_to("/dev/zero")
        case "nowhere":
            path.symlink_to("../../nowhere/at/all")
        case "itself":
            path.symlink_to(path)
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "sparse":
            path.touch()
            os.truncate(path, 1 << 40)
