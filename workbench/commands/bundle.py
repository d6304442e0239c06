"""`workbench bundle`: a small copy of a run, to share."""

from pathlib import Path
from typing import Annotated

import typer

from workbench.commands.options import folder_option


def bundle(
    run: Annotated[Path, typer.Argument(help="A run made by workbench train.")],
    out: Annotated[Path, folder_option("The folder to make.")],
    steps: Annotated[str | None, typer.Option(help="Which checkpoints, such as 100,1000; all when not given.")] = None,
) -> None:
    """Copy a run without its trainer state and with weights in bfloat16: it can be read and compared, not trained on."""
    from workbench.bundling import bundle as bundle_run

    try:
        wanted = None if steps is None else [int(step) for step in steps.split(",")]
    except ValueError as error:
        raise typer.BadParameter(f"--steps: expected whole numbers such as 100,1000 (got {steps})") from error
    typer.echo(f"bundled {bundle_run(run, out, wanted)}")
