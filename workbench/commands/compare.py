"""`workbench compare`: any mix of runs and checkpoints over length, on the same sequences."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from models.config import WEIGHTS
from workbench.commands.options import (
    Device,
    EvaluationSeed,
    Formats,
    Lengths,
    Sequences,
    folder_option,
    parse_lengths,
    parse_words,
)


def compare(
    paths: Annotated[list[str], typer.Argument(help="Runs, checkpoints, folders of them, or bundled names.")],
    out: Annotated[Path, folder_option("Folder for the table, figures and report.")] = Path("comparison"),
    sequences: Sequences = 2000,
    lengths: Lengths = None,
    seed: EvaluationSeed = 0,
    device: Device = "cpu",
    weights: Annotated[str, typer.Option(help="Which weights, any of raw,ema,bema.")] = "raw,ema,bema",
    steps: Annotated[Literal["last", "all"], typer.Option(help="The last checkpoint of a run, or all of them.")] = "last",
    formats: Formats = "html,pdf,svg,png",
) -> None:
    """Compare checkpoints at every length: a tidy table, figures and a report."""
    wanted = parse_lengths(lengths)
    chosen = parse_words(weights, WEIGHTS, "--weights")
    from workbench.headline import summary
    from workbench.report import write_comparison

    written = write_comparison(
        paths,
        out,
        sequences=sequences,
        lengths=wanted,
        seed=seed,
        weights=chosen,
        steps=steps,
        device=device,
        formats=formats.split(","),
        progress=True,
    )
    typer.echo(summary(written.frame))
    typer.echo(f"wrote {written}")
