"""`workbench figures`: figures for a paper, from a table or all of them from the bundled checkpoints."""

from pathlib import Path
from typing import Annotated

import typer

from workbench.commands.options import Formats, PrintWidth


def figures(
    table: Annotated[
        Path | None,
        typer.Argument(
            help="A table written by workbench compare or ablate (.csv or .parquet), or the folder of a comparison."
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the figures.")] = Path("figures"),
    paper: Annotated[
        bool, typer.Option("--paper", help="Instead of a table: the main figures of the bundled checkpoints, with a manifest.")
    ] = False,
    formats: Formats = "pdf,svg,png",
    width: PrintWidth = "page",
) -> None:
    """Draw figures for print, each with its data beside it: those of a table, or of the bundled checkpoints."""
    if (table is None) != paper:
        raise typer.BadParameter("expected a TABLE or --paper, one of the two: give comparison.csv, or --paper alone")
    if table is None:
        from workbench.paper_figures import write_paper_figures

        typer.echo(f"wrote {write_paper_figures(out, formats.split(','), width, progress=True)}")
    else:
        from workbench.report import write_figures

        typer.echo(write_figures(table, out, formats.split(","), width))
