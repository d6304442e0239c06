"""`workbench games`: Othello games from a file, checked move by move."""

from pathlib import Path
from typing import Annotated

import typer


def games(
    file: Annotated[Path, typer.Argument(help="A WTHOR archive (.wtb), or text with one game a line (f5d6c3...).")],
    out: Annotated[Path | None, typer.Option(help="Write the games here as text, one a line.")] = None,
    transposed: Annotated[bool, typer.Option("--transposed", help="Letters are rows, as in the published data.")] = False,
    board: Annotated[int, typer.Option(help="Squares a side of a text file's board: 6 or 8.")] = 8,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out and count games that are illegal or cut off.")
    ] = False,
) -> None:
    """Read Othello games, refuse or count the illegal ones, and write them as plain text."""
    from models.durable import write_file
    from models.othello.board import board_of_size
    from models.othello.notation import Notation
    from models.othello.transcripts import read_transcripts, write_transcripts
    from models.othello.wthor import read_wthor

    if file.suffix.lower() == ".wtb":
        size, sound = board_of_size(8), read_wthor(file.read_bytes(), skip_bad).games
    else:
        size = board_of_size(board)
        notation: Notation = "transposed" if transposed else "standard"
        sound = read_transcripts(file.read_text(encoding="utf-8"), size, notation, skip_bad)
    typer.echo(f"{len(sound.tokens)} games, all legal to the end; {len(sound.skipped)} left out")
    for error in sound.skipped[:10]:
        typer.echo(f"left out: {error}")
    if out is not None:
        write_file(out, write_transcripts(sound.tokens, size).encode())
        typer.echo(f"wrote {out}")
