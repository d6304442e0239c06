"""What a usage error says: typer tells what it expected, and not what it was given, so that is added here; and in one line."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperGroup

from workbench.error_sentence import one_line

UsageError: Any = typer.BadParameter.__base__  # typer has a copy of click's of its own, and no public name for it


class Commands(TyperGroup):
    """The group of all commands."""

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        """Reads the options before a command."""
        with _told_in_one_line():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: Any) -> Any:
        """Runs a command; of a value that has the wrong type, or is out of range, the error names the value."""
        with _told_in_one_line():
            return super().invoke(ctx)


@contextmanager
def _told_in_one_line() -> Iterator[None]:
    try:
        yield
    except UsageError as error:
        told = getattr(error.__cause__, "errors", None)  # pydantic's, which is slow to import
        error.message = one_line(error.message)
        if isinstance(error, typer.BadParameter) and told is not None:
            given = one_line(str(told()[0]["input"]))
            error.message = error.message.removeprefix("Value error, ")
            error.message += "" if given in error.message else f" (got {given})"
        raise
