"""`workbench demo`: the main job on the bundled checkpoints."""

from pathlib import Path
from typing import Annotated

import typer

from workbench.commands.options import folder_option


def demo(out: Annotated[Path, folder_option("Folder for tables, figures and the report.")] = Path("demo")) -> None:
    """Compare dropout and EMA checkpoints over length on the bundled models: tables, figures, a report."""
    from workbench.demo import demo as run_demo
    from workbench.headline import summary

    written = run_demo(out)
    typer.echo(summary(written.frame))
    typer.echo(f"wrote {written}")
