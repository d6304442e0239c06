"""What a usage error says: typer tells what it expected, and not what it was given, so that is added here."""

from typing import Any

import typer
from typer.core import TyperGroup


class Commands(TyperGroup):
    """The group of all commands."""

    def invoke(self, ctx: Any) -> Any:
        """Runs a command; of a value that has the wrong type, or is out of range, the error names the value."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            told = getattr(error.__cause__, "errors", None)  # pydantic's, which is slow to import
            if told is not None:
                given = str(told()[0]["input"])
                error.message = error.message.removeprefix("Value error, ")
                error.message += "" if given in error.message else f" (got {given})"
            raise
