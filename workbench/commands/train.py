"""`workbench train`: one run, which goes on by itself if its folder exists."""

import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from models.config import TaskName
from workbench.cli_options import config_from_options, with_config_options


@with_config_options
def train(
    task: Annotated[TaskName, typer.Argument(help="What to learn.")],
    out: Annotated[Path, typer.Option(help="The run folder; a run that was stopped goes on by itself.")],
    options: Mapping[str, Any],
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Also log to TensorBoard files in OUT.")] = False,
    wandb: Annotated[bool, typer.Option("--wandb", help="Also log to Weights & Biases, over the network.")] = False,
) -> None:
    """Train one model, keeping raw, EMA and BEMA weights; the same command goes on with a stopped run."""
    config = config_from_options(task, options)
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


@contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """An event that Ctrl-C or SIGTERM sets; a second Ctrl-C interrupts at once."""
    stop = threading.Event()

    def ask_to_stop(number: int, frame: object) -> None:
        stop.set()
        signal.signal(number, before[number])

    before = {int(number): signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, ask_to_stop)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
