"""`workbench info`: what is installed and found here, and what is missing with its remedy."""

import typer

PACKAGES = ("torch", "transformer-lens", "numpy", "plotly", "kaleido", "jupyterlab", "anywidget", "voila", "numba", "optuna")
OPTIONAL = {
    "psycopg": "searches shared by PostgreSQL: pip install 'legal-tokens-workbench[search]'",
    "tensorboard": "workbench train --tensorboard: pip install 'legal-tokens-workbench[loggers]'",
    "wandb": "workbench train --wandb: pip install 'legal-tokens-workbench[loggers]'",
}


def info() -> None:
    """Print versions, devices, the browser for figures and the bundled checkpoints; name what is missing and its remedy."""
    import platform

    for name, what in {
        "legal-tokens-workbench": _version("legal-tokens-workbench"),
        "python": platform.python_version(),
        **{package: _version(package) for package in PACKAGES},
        "devices": _devices(),
        "browser": _browser(),
        "bundled checkpoints": _bundled(),
    }.items():
        typer.echo(f"{name:>22}  {what}")
    for package, remedy in OPTIONAL.items():
        if _version(package) == MISSING:
            typer.echo(f"{package:>22}  not installed; for {remedy}")


MISSING = "missing; install the package again with its dependencies"


def _version(package: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return MISSING


def _devices() -> str:
    import torch

    cuda = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return ", ".join([f"cpu ({torch.get_num_threads()} threads)", *cuda])


def _browser() -> str:
    from workbench.figures.browser import HOW_TO_GET_A_BROWSER, find_browser

    return find_browser() or f"none; PDF, SVG and PNG need Chrome or Chromium: {HOW_TO_GET_A_BROWSER}"


def _bundled() -> str:
    from models.checkpoint import bundled_names

    return f"{len(bundled_names())} (workbench zoo lists them)"
