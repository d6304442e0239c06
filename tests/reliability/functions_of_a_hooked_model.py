"""Every public name of ours that is called with a hooked model, found by its signature."""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from functools import cache
from typing import Any, TypeVar, get_args

import models
import probes
import workbench
from models.hooked import HookedTransformer

LINES = ("models.hooked.hooked_transformer", "models.hooked.native_bridge", "models.hooked.native_model")
"""How a hooked model is made on either line of TransformerLens; only the installed one can be imported."""


@cache
def functions_of_a_hooked_model() -> frozenset[str]:
    """Functions and classes with an argument that is a hooked model, may be one, or is made of one, as a `Subject` is."""
    public = list(_public())
    holders: set[Any] = {HookedTransformer}
    while more := {one for one in public if inspect.isclass(one) and _takes(one, holders)} - holders:
        holders |= more
    names = [one.__name__ for one in public if _takes(one, holders)]
    assert len(names) == len(set(names)), "two of one name"
    return frozenset(names)


def _public() -> Iterator[Any]:
    for package in (models, probes, workbench):
        for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if info.name in LINES or info.name.endswith("__main__"):
                continue
            for name, one in vars(importlib.import_module(info.name)).items():
                ours = getattr(one, "__module__", None) == info.name and not name.startswith("_")
                if ours and (inspect.isfunction(one) or inspect.isclass(one)):
                    yield one


def _takes(one: Any, holders: set[Any]) -> bool:
    try:
        arguments = inspect.signature(one).parameters.values()
    except (TypeError, ValueError):  # what is written in C, or made by a library, has none
        return False
    return any(_mentions(argument.annotation, holders) for argument in arguments)


def _mentions(annotation: Any, holders: set[Any]) -> bool:
    if isinstance(annotation, TypeVar):
        return _mentions(annotation.__bound__, holders)
    if isinstance(annotation, str):
        return annotation in {holder.__name__ for holder in holders}
    if isinstance(annotation, list):  # the arguments of a Callable
        return any(_mentions(part, holders) for part in annotation)
    return annotation in holders or any(_mentions(part, holders) for part in get_args(annotation))
