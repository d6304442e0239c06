"""`workbench figures`: figures for a paper, from a table or all of them from the bundled checkpoints."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from workbench.commands.options import PrintWidth, folder_option


def figures(
    table: Annotated[
        Path | None,
        typer.Argument(help="A table of workbench compare or ablate (.csv or .parquet), or the folder that one of them wrote."),
    ] = None,
    out: Annotated[Path, folder_option("Folder for the figures.")] = Path("figures"),
    paper: Annotated[
        bool, typer.Option("--paper", help="Instead of a table: the main figures of the bundled checkpoints, with a manifest.")
    ] = False,
    formats: Annotated[
        str, typer.Option("--format", help="Any of html,pdf,svg,png; exit code 1 if one fails.")
    ] = "pdf,svg,png",
    width: PrintWidth = "page",
) -> None:
    """Draw figures for print, each with its data beside it: those of a table, or of the bundled checkpoints."""
    from workbench.figures.export import possible_formats

    if (table is None) != paper:
        raise typer.BadParameter("expected a TABLE or --paper, one of the two: give comparison.csv, or --paper alone")
    asked = formats.split(",")
    try:
        possible = possible_formats(asked)
    except ValueError as error:
        raise typer.BadParameter(f"--format: {error}") from error
    if table is None:
        from workbench.paper_figures import write_paper_figures

        manifest = write_paper_figures(out, possible, width, progress=True)
        typer.echo(f"wrote {manifest}")
        names = [name for entry in json.loads(manifest.read_text())["figures"] for name in entry["files"]]
    else:
        from workbench.report import write_figures

        written = write_figures(table, out, possible, width)
        typer.echo(f"{len(written)} figure files")
        names = [path.name for path in written]
    if not _has_all(names, asked):
        raise typer.Exit(1)  # a warning has said why


def _has_all(names: Sequence[str], formats: Sequence[str]) -> bool:
    """Whether every figure has every format."""
    return {f"{Path(name).stem}.{format}" for name in names for format in formats} <= set(names)
