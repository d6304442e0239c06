"""`workbench figures`: figures from a table, for a paper."""

from pathlib import Path
from typing import Annotated

import typer

from workbench.commands.options import Formats


def figures(
    table: Annotated[Path, typer.Argument(help="A table written by workbench compare (.csv or .parquet).")],
    out: Annotated[Path, typer.Option(help="Folder for the figures.")],
    formats: Formats = "pdf,svg,png",
) -> None:
    """Draw the figures of a comparison table."""
    from workbench.report import write_figures

    typer.echo(write_figures(table, out, formats.split(",")))
