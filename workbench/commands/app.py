"""`workbench app`: notebooks as an app in the browser, by Voila, on the loopback address with a token."""

import filecmp
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from models.durable import write_file
from workbench.commands.lab import NOTEBOOKS
from workbench.commands.listening import LOOPBACK, IKnow, Ip, Port, require_loopback
from workbench.commands.options import folder_option

SERVED = [NOTEBOOKS / "01_compare_dropout_and_ema.ipynb", NOTEBOOKS / "03_othello_explorer.ipynb"]


def app(
    notebooks: Annotated[
        list[Path],
        typer.Argument(help="Notebooks to serve; the comparison and the Othello explorer when not given.", show_default=False),
    ] = SERVED,
    folder: Annotated[Path, folder_option("Where they are copied to and run; exports land there.")] = Path("workbench-app"),
    port: Port = 8866,
    ip: Ip = LOOPBACK,
    i_know: IKnow = False,
    browser: Annotated[bool, typer.Option(help="Open a browser.")] = True,
) -> None:
    """Show notebooks as an app, text and widgets without code; it listens on 127.0.0.1 only and asks for its token."""
    require_loopback(ip, port, i_know)
    _copy(notebooks, folder)
    arguments = [str(folder.resolve()), f"--Voila.ip={ip}", f"--port={port}", "--token"]
    if not browser:
        arguments.append("--no-browser")
    from voila.app import Voila

    class App(Voila):
        def _url(self, ip: str) -> str:
            return super()._url(f"[{ip}]" if ":" in ip else ip)  # else an address of IPv6 is one that no browser opens

    # without configuration files: a voila.py in the present folder would be run, a voila.json could let anyone in
    voila = App.instance(config_file_paths=[])
    voila.initialize(arguments)
    voila.start()


def _copy(notebooks: Sequence[Path], folder: Path) -> None:
    """Puts notebooks into a folder, all or none; what lies there already stays. Raises ValueError where that cannot be."""
    for notebook in notebooks:
        if not notebook.is_file():
            raise ValueError(f"no notebook at {notebook}; give .ipynb files, such as those of the project's notebooks/")
    names = [notebook.name for notebook in notebooks]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(
            f"several notebooks are named {twice[0]}, and a folder holds one; rename the others, or leave them out"
        )
    there = [notebook for notebook in notebooks if (folder / notebook.name).is_file()]
    for notebook in there:
        if not filecmp.cmp(notebook, folder / notebook.name, shallow=False):
            raise ValueError(
                f"{folder / notebook.name} is kept, and differs from {notebook}: one of them has changed since; delete the "
                "first to have the second, serve the first by its own path, or give another --folder"
            )
    for notebook in notebooks:
        if notebook not in there:
            write_file(folder / notebook.name, notebook.read_bytes())
