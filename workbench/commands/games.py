"""`workbench games`: Othello games from a file, checked move by move."""

from pathlib import Path
from typing import Annotated

import typer

from workbench.commands.options import file_option

MAX_BYTES = 1 << 32
"""Some thirty million games as text."""


def games(
    file: Annotated[Path, typer.Argument(help="A WTHOR archive (.wtb), or text with one game a line (f5d6c3...).")],
    out: Annotated[Path | None, file_option("Write the games here as text, one a line.")] = None,
    transposed: Annotated[
        bool, typer.Option("--transposed", help="The text's letters are rows, as in the published data; --out writes columns.")
    ] = False,
    board: Annotated[int, typer.Option(help="Squares a side of a text file's board: 4, 6 or 8.")] = 8,
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
    from models.plain_file import read_plain

    if not file.is_file():
        raise ValueError(f"no file at {file}; give a .wtb archive, or text with one game a line")
    try:
        data = read_plain(file, MAX_BYTES)
    except OSError as error:
        raise ValueError(f"cannot read {file}: {error.strerror}; give a file of games") from error
    if file.suffix.lower() == ".wtb":
        if transposed or board != 8:
            raise typer.BadParameter("a .wtb archive is 8x8 in its own notation; leave out --board and --transposed")
        size, sound = board_of_size(8), read_wthor(data, skip_bad).games
    else:
        size = board_of_size(board)
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ValueError(f"{file} is not text; give a .wtb archive, or UTF-8 text with one game a line") from error
        notation: Notation = "transposed" if transposed else "standard"
        sound = read_transcripts(text, size, notation, skip_bad)
    typer.echo(f"{len(sound.tokens)} games, all legal to the end; {sound.left_out} left out")
    for bad in sound.skipped[:10]:
        typer.echo(f"left out: {bad.game}, move {bad.move}: {bad.reason}")
    if out is not None:
        write_file(out, write_transcripts(sound.tokens, size).encode())
        typer.echo(f"wrote {out}")
