"""`workbench lab`: JupyterLab on the notebooks, on the loopback address with a token."""

import os
import sysconfig
from pathlib import Path
from typing import Annotated

import typer

from models.durable import write_file
from workbench.commands.listening import LOOPBACK, IKnow, Ip, Port, require_loopback

_INSTALLED = Path(sysconfig.get_path("data")) / "share" / "legal-tokens-workbench" / "notebooks"
_SOURCE = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = _SOURCE if (_SOURCE.parent / "pyproject.toml").is_file() else _INSTALLED
"""Ours: in a checkout its own, elsewhere those that were installed with the package."""
OFFLINE = (
    "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    "--LabApp.news_url=None",
    "--LabApp.extension_manager=readonly",  # the other one asks PyPI what there is
)
"""Else JupyterLab's server asks PyPI and its news feed when a page is loaded."""


def lab(
    folder: Annotated[
        Path | None,
        typer.Argument(
            help="Folder to open; the project's notebooks when not given, from an installed package a copy in notebooks/."
        ),
    ] = None,
    port: Port = 8888,
    ip: Ip = LOOPBACK,
    i_know: IKnow = False,
    browser: Annotated[bool, typer.Option(help="Open a browser.")] = True,
) -> None:
    """Open JupyterLab on the notebooks; it listens on 127.0.0.1 only and asks for its token."""
    require_loopback(ip, port, i_know)
    folder = _notebooks() if folder is None else folder
    if not folder.is_dir():
        raise ValueError(f"no folder at {folder}; give a folder to open, such as a copy of the project's notebooks/")
    arguments = [str(folder.resolve()), f"--ServerApp.ip={ip}", f"--ServerApp.port={port}"]
    arguments.append("--ServerApp.jpserver_extensions=voila.server_extension=False")  # it would run a voila.py that lies here
    arguments.extend(OFFLINE)
    if os.geteuid() == 0:
        arguments.append("--allow-root")  # in containers; it asks for its token all the same
    if not browser:
        arguments.append("--no-browser")
    from jupyterlab.labapp import LabApp

    server = LabApp.initialize_server(argv=arguments)
    if not server.identity_provider.auth_enabled:
        raise ValueError(
            "your Jupyter configuration switches off the token, so anyone on this machine could run code as you; take "
            "IdentityProvider.token out of it (jupyter --paths tells where it is)"
        )
    server.start()


def _notebooks() -> Path:
    """Those of the checkout; where the package was installed, a copy to work in, the user's from then on."""
    if NOTEBOOKS != _INSTALLED:
        return NOTEBOOKS
    folder = Path("notebooks")
    for notebook in sorted(NOTEBOOKS.glob("*.ipynb")):
        if not (folder / notebook.name).exists():
            write_file(folder / notebook.name, notebook.read_bytes())
    return folder
