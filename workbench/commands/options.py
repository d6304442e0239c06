"""Options that several commands take, and how their values are read."""

from pathlib import Path
from typing import Annotated

import typer

Checkpoint = Annotated[str, typer.Argument(help="A checkpoint folder, a run (its last step) or a bundled name.")]
Sequences = Annotated[int, typer.Option(min=2, help="How many fresh sequences to measure on.")]
EvaluationSeed = Annotated[int, typer.Option(min=0, help="Which fresh sequences: a stream apart from all of training.")]
Lengths = Annotated[str | None, typer.Option(help="Input lengths, such as 1:59 or 4,8,16; all when not given.")]
Formats = Annotated[str, typer.Option("--format", help="Any of html,pdf,svg,png.")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Also write the result to this JSON file.")]


def parse_lengths(text: str | None) -> list[int] | None:
    """`1:59` (both ends included), `4,8,16` or a mix, as whole numbers; None stays None. Raises typer.BadParameter."""
    if text is None:
        return None
    lengths: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition(":")
        try:
            lengths += range(int(first), int(last or first) + 1)
        except ValueError as error:
            raise typer.BadParameter(f"--lengths: expected whole numbers such as 1:59 or 4,8,16 (got {text})") from error
    return lengths
