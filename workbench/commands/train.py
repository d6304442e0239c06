"""`workbench train`: one run, which goes on by itself if its folder exists."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from models.config import TaskName
from workbench.commands.options import folder_option
from workbench.commands.signals import stop_on_signals
from workbench.commands.train_options import with_config_options
from workbench.config_options import config_from_options


@with_config_options
def train(
    task: Annotated[TaskName, typer.Argument(help="What to learn.")],
    out: Annotated[Path, folder_option("The run folder; a run that was stopped goes on by itself.")],
    options: Mapping[str, Any],
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Also log to TensorBoard files in OUT.")] = False,
    wandb: Annotated[bool, typer.Option("--wandb", help="Also log to Weights & Biases, over the network.")] = False,
) -> None:
    """Train one model, keeping raw, EMA and BEMA weights; the same command goes on with a stopped run."""
    try:
        config = config_from_options(task, options)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    from workbench.loggers import LoggerName
    from workbench.processes import in_main_process
    from workbench.training import train as train_run

    loggers: list[LoggerName] = ["tensorboard"] if tensorboard else []
    loggers += ["wandb"] if wandb else []
    with stop_on_signals() as stop:
        run = train_run(config, out, stop=stop, progress=True, loggers=loggers)
    if in_main_process():
        stopped, done = f"stopped; the same command goes on with {run}", f"trained {run}; next: workbench compare {run}"
        typer.echo(stopped if stop.is_set() else done)
    if stop.is_set():
        raise typer.Exit(1)
