"""`workbench lab`: JupyterLab on the notebooks, on the loopback address with a token."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


def lab(
    folder: Annotated[Path, typer.Argument(help="Folder to open.")] = NOTEBOOKS,
    browser: Annotated[bool, typer.Option(help="Open a browser.")] = True,
) -> None:
    """Open JupyterLab on the notebooks; it listens on 127.0.0.1 only and asks for its token."""
    if not folder.is_dir():
        raise ValueError(f"no folder at {folder}; give a folder to open, such as a copy of the project's notebooks/")
    command = [sys.executable, "-m", "jupyterlab", str(folder), "--ServerApp.ip=127.0.0.1"]
    if os.geteuid() == 0:
        command.append("--allow-root")  # in containers; it listens on loopback and asks for its token all the same
    if not browser:
        command.append("--no-browser")
    raise typer.Exit(subprocess.run(command).returncode)
