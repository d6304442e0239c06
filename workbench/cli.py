"""The `workbench` command: one subcommand a file under `workbench/commands/`, and how errors end.

Exit codes: 0 done, 1 failed, 2 bad usage. Heavy imports stay inside the commands, so that `--help` answers at once.
"""

import logging
import os
import sys
import traceback
from pathlib import Path

import typer

from workbench.commands import (
    ablate,
    bound,
    bundle,
    certify,
    compare,
    demo,
    evaluate,
    figures,
    games,
    import_,
    info,
    lab,
    probe,
    search,
    study,
    train,
    zoo,
)
from workbench.commands import app as notebook_app
from workbench.commands.usage_errors import Commands
from workbench.error_sentence import EXPECTED_ERRORS, one_line, sentence

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="How transformers represent the set of legal next tokens, and why that breaks at lengths they were not trained on.",
)
app.command("demo")(demo.demo)
app.command("train")(train.train)
app.command("evaluate")(evaluate.evaluate)
app.command("compare")(compare.compare)
app.command("certify")(certify.certify)
app.add_typer(probe.app, name="probe")
app.command("ablate")(ablate.ablate)
app.command("search")(search.search)
app.command("study")(study.study)
app.command("bound")(bound.bound)
app.command("figures")(figures.figures)
app.command("games")(games.games)
app.command("import")(import_.import_)
app.command("bundle")(bundle.bundle)
app.command("zoo")(zoo.zoo)
app.command("info")(info.info)
app.command("lab")(lab.lab)
app.command("app")(notebook_app.app)


@app.callback()
def _options(debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error.")) -> None:
    pass


def main() -> None:
    """Runs the command line of this process and exits."""
    with Path(os.devnull).open("w") as nowhere:
        sys.stderr = sys.stderr or nowhere  # a shell's 2>&- leaves none; bars and warnings are written all the same
        sys.exit(run(sys.argv[1:]))


class _OneLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return one_line(super().format(record))


def _warnings() -> logging.Handler:
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine())
    return handler


def run(arguments: list[str]) -> int:
    """Runs one command line and returns its exit code; errors are one sentence on standard error, unless `--debug`."""
    debug = "--debug" in arguments
    arguments = ["--debug", *(word for word in arguments if word != "--debug")] if debug else arguments
    logging.basicConfig(level=logging.WARNING, handlers=[_warnings()])
    for word in arguments:
        if any(0xD800 <= ord(letter) <= 0xDFFF for letter in word):  # how Python reads bytes that are no text
            sys.stderr.write(f"workbench: the argument {ascii(word)} is no UTF-8, expected text; give another name\n")
            return 2
    try:
        app(arguments, prog_name="workbench")  # typer itself prints usage errors, and exits with 2
    except SystemExit as end:
        return int(end.code or 0)
    except Exception as error:
        if isinstance(error.__cause__ or error.__context__, KeyboardInterrupt):  # numba makes a SystemError of a Ctrl-C
            return 130
        if debug:
            traceback.print_exc()
        else:
            hint = "" if isinstance(error, EXPECTED_ERRORS) else "; run again with --debug and report it"
            sys.stderr.write(f"workbench: {sentence(error)}{hint}\n")
        return 1
    return 0
