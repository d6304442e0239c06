"""`workbench app`: notebooks as an app in the browser, by Voila, on the loopback address with a token."""

import shutil
from pathlib import Path
from typing import Annotated

import typer

from models.durable import writing
from workbench.commands.lab import NOTEBOOKS
from workbench.commands.listening import LOOPBACK, IKnow, Ip, require_loopback

SERVED = [NOTEBOOKS / "01_compare_dropout_and_ema.ipynb", NOTEBOOKS / "03_othello_explorer.ipynb"]


def app(
    notebooks: Annotated[
        list[Path],
        typer.Argument(help="Notebooks to serve; the comparison and the Othello explorer when not given.", show_default=False),
    ] = SERVED,
    folder: Annotated[Path, typer.Option(help="Where they are copied to and run; exports land there.")] = Path("workbench-app"),
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8866,
    ip: Ip = LOOPBACK,
    i_know: IKnow = False,
    browser: Annotated[bool, typer.Option(help="Open a browser.")] = True,
) -> None:
    """Show notebooks as an app, text and widgets without code; it listens on 127.0.0.1 only and asks for its token."""
    require_loopback(ip, port, i_know)
    for notebook in notebooks:
        if not notebook.is_file():
            raise ValueError(f"no notebook at {notebook}; give .ipynb files, such as those of the project's notebooks/")
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for notebook in notebooks:
        with writing(folder / notebook.name):
            shutil.copyfile(notebook, folder / notebook.name)
    arguments = [str(folder.resolve()), f"--Voila.ip={ip}", f"--port={port}", "--token"]
    if not browser:
        arguments.append("--no-browser")
    from voila.app import Voila

    # without configuration files: a voila.py in the present folder would be run, a voila.json could let anyone in
    voila = Voila.instance(config_file_paths=[])
    voila.initialize(arguments)
    voila.start()
