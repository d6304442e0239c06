"""Foreign files of few bytes that would fill the memory or never end: refused in one sentence before they are unpickled.

Importing a pickle that would run code is in tests/models/test_importers.py.
"""

from collections import OrderedDict
from collections.abc import Callable

import pytest
import torch

from models.importers import import_checkpoint

from ..models.test_importers import mingpt_state
from .held_to_limits import held


class Call:
    """Pickled, a call of a function with some arguments, and what its result is updated by."""

    def __init__(self, function: Callable, *arguments: object, state: object = None):
        self.called = (function, arguments, state)

    def __reduce__(self):
        return self.called


def shared_weights() -> dict[str, torch.Tensor]:
    """77 MB of weights in a file of half a megabyte: the matrices of 100 layers are the same ones."""
    one = mingpt_state(layers=1, width=128, mlp=512, buffers=False)
    layers = {
        name.replace(".0.", f".{layer}.", 1): tensor for layer in range(100) for name, tensor in one.items() if ".0." in name
    }
    return one | layers


@pytest.mark.parametrize("old_format", [False, True])
@pytest.mark.parametrize("content", [lambda: Call(bytearray, 1 << 29), lambda: {"x": Call(set, [1])}, shared_weights])
def test_a_small_foreign_file_fills_no_memory(tmp_path, content, old_format):
    file = tmp_path / "m.pth"
    torch.save(content(), file, _use_new_zipfile_serialization=not old_format)
    reading = held(lambda: import_checkpoint(str(file), tmp_path / "out"))
    assert reading.error is not None
    reading.require_orderly(file.stat().st_size)


SECOND = "holds one object in two places, expected dense tensors"
NO_DICTIONARY = "fills a dictionary by what is none, expected dense tensors"


@pytest.mark.parametrize("old_format", [False, True])
@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ([Call(OrderedDict, one) for one in [dict.fromkeys(range(10_000))] * 100], NO_DICTIONARY),
        ([[one, one] for one in [[1, 2]]], SECOND),
        (Call(OrderedDict, torch.zeros(1, 2).expand(1 << 20, 2)), NO_DICTIONARY),
        (Call(OrderedDict, state=torch.zeros(1, 2).expand(1 << 20, 2)), NO_DICTIONARY),
    ],
    ids=["a dictionary copied", "a list twice", "a tensor for a list", "a tensor for attributes"],
)
def test_nor_what_it_repeats(tmp_path, content, problem, old_format):
    file = tmp_path / "m.pth"
    torch.save(content, file, _use_new_zipfile_serialization=not old_format)
    reading = held(lambda: import_checkpoint(str(file), tmp_path / "out"))
    assert problem in str(reading.error)
    reading.require_orderly(file.stat().st_size)


BYTEARRAY = b"cbuiltins\nbytearray\n\x8a\x05" + (1 << 29).to_bytes(5, "little") + b"\x85R."
TUPLES = b"}K\x01" + b"q\x01h\x01\x86" * 40 + b"K\x02s."
"""As a key a tuple that holds another one twice, and that one a third twice, and so on: 2 ** 40 numbers to hash."""


@pytest.mark.parametrize(("data", "problem"), [(BYTEARRAY, "holds 'builtins bytearray'"), (TUPLES, SECOND)])
def test_nor_does_a_bare_pickle(tmp_path, data, problem):
    (tmp_path / "m.pth").write_bytes(b"\x80\x02" + data)
    reading = held(lambda: import_checkpoint(str(tmp_path / "m.pth"), tmp_path / "out"))
    assert problem in str(reading.error)
    reading.require_orderly(0)
