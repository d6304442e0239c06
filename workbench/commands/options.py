"""Options that several commands take, and how their values are read."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import typer

from models.config import MOST, WeightsName
from models.durable import require_writable, writing
from models.streams import SEEDS
from models.whole_numbers import MOST_COUNTED

Word = TypeVar("Word", bound=str)

Checkpoint = Annotated[str, typer.Argument(help="A checkpoint folder, a run (its last step) or a bundled name.")]
Sequences = Annotated[int, typer.Option(min=2, max=MOST_COUNTED, help="How many fresh sequences to measure on.")]
EvaluationSeed = Annotated[int, typer.Option(min=0, max=SEEDS - 1, help="Which fresh sequences, apart from all of training.")]
Weights = Annotated[WeightsName, typer.Option(help="Which weights.")]
Device = Annotated[str, typer.Option(help="Where the model is put: cpu, cuda.")]
Lengths = Annotated[str | None, typer.Option(help="Input lengths, such as 1:59, 5:59:5 or 4,8,16; all when not given.")]


def _possible_formats(text: str) -> str:
    """Asked before any work: without a browser, HTML and one line that says what to do."""
    from workbench.figures.export import possible_formats

    try:
        return ",".join(possible_formats(text.split(",")))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def _possible_folder(context: Any, folder: Path | None) -> Path | None:
    """Asked before any work, which could not be written: a file where a folder is to be made, a disk that is read-only."""
    if folder is not None and not context.resilient_parsing:  # that is the Tab key, which is to touch nothing
        _require_place(folder, (folder, *folder.parents))
    return folder


def _possible_file(context: Any, file: Path | None) -> Path | None:
    """Likewise a folder, a pipe or a device where a file is to be written, or a file where its folder is to be."""
    if file is not None and not context.resilient_parsing:
        if _is_there(file) and file.exists() and not file.is_file():
            raise typer.BadParameter(f"cannot write {file}: it is no plain file, expected a file or nothing; give another")
        _require_place(file, file.parents)
    return file


def _require_place(path: Path, places: Iterable[Path]) -> None:
    """Raises typer.BadParameter or OSError where nothing can be made in the first of the places that is there."""
    there = next(place for place in places if _is_there(place))
    if not there.is_dir():
        raise typer.BadParameter(f"cannot write {path}: {there} is a file, expected a folder; give another")
    with writing(path):
        require_writable(there)


def _is_there(place: Path) -> bool:
    """Also a link that leads nowhere, in whose place no folder can be made. Raises OSError for a name that is too long."""
    try:
        place.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def folder_option(help: str) -> Any:
    """An option that names a folder to write to."""
    return typer.Option(callback=_possible_folder, help=help)


def file_option(help: str, *flags: str) -> Any:
    """An option that names a file to write."""
    return typer.Option(*flags, callback=_possible_file, help=help)


Formats = Annotated[str, typer.Option("--format", callback=_possible_formats, help="Any of html,pdf,svg,png.")]
PrintWidth = Annotated[
    Literal["column", "page"], typer.Option("--width", help="In print: a column, 3.3 in, or a page, 6.8 in.")
]
JsonFile = Annotated[Path | None, file_option("Also write the result to this JSON file.", "--json")]


def parse_lengths(text: str | None, flag: str = "--lengths") -> list[int] | None:
    """`1:59` (both ends included), `5:59:5` (in steps), `4,8,16` or a mix; None stays None. Raises typer.BadParameter."""
    if text is None:
        return None
    lengths: list[int] = []
    for part in text.split(","):
        try:
            numbers = [int(word) for word in part.split(":")]
            first, last, step = numbers if len(numbers) > 2 else (numbers[0], numbers[-1], 1)
            if max(abs(first), abs(last)) > MOST:
                raise ValueError
            if step < 1 or first > last:
                raise typer.BadParameter(
                    f"{flag}: {part} holds no length in steps of at least 1; write the least length first, such as 1:5:1"
                )
            lengths += range(first, last + 1, step)
        except ValueError as error:
            raise typer.BadParameter(f"{flag}: expected whole numbers such as 1:59 or 4,8,16 (got {text})") from error
    return lengths


def parse_words(text: str, known: Sequence[Word], flag: str) -> list[Word]:
    """Words with commas between them, each of `known`, given once; in the order of `known`. Raises typer.BadParameter."""
    given = text.split(",")
    chosen = [word for word in known if word in given]
    if len(chosen) != len(given):
        raise typer.BadParameter(f"{flag}: expected any of {','.join(known)}, each once (got {text})")
    return chosen
