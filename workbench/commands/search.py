"""`workbench search`: a random hyperparameter search, trained in fleets, by as many workers as share its storage."""

from typing import Annotated, Literal

import typer

from models.config import MOST
from models.streams import SEEDS
from models.whole_numbers import MOST_COUNTED
from workbench.commands.signals import stop_on_signals

MOST_TRIALS = 100_000
"""All parameter sets are drawn before the first is trained, 0.1 ms each."""


def search(
    task: Annotated[Literal["set-complement"], typer.Argument(help="What to learn.")],
    storage: Annotated[
        str, typer.Option(help="sqlite:///FILE, or postgresql+psycopg://USER@HOST/DATABASE for several machines.")
    ] = "sqlite:///search.db",
    trials: Annotated[
        int, typer.Option(min=1, max=MOST_TRIALS, help="Parameter sets in all; more than before goes on with a search.")
    ] = 512,
    vocab: Annotated[int, typer.Option(min=8, max=MOST // 2, help="Number of tokens v.")] = 16,
    steps: Annotated[int, typer.Option(min=1, max=MOST_COUNTED, help="Optimiser steps of every trial.")] = 5000,
    seed: Annotated[int, typer.Option(min=0, max=SEEDS - 1, help="Fixes parameters and training seed of every trial.")] = 0,
    sequences: Annotated[int, typer.Option(min=2, max=MOST_COUNTED, help="Fresh sequences to measure every trial on.")] = 512,
    fleet: Annotated[int, typer.Option(min=1, max=MOST_COUNTED, help="The most models trained together; more on a GPU.")] = 16,
    device: Annotated[Literal["cpu", "cuda"], typer.Option(help="Where to train.")] = "cpu",
    minutes: Annotated[float | None, typer.Option(min=0, help="Start no further fleet after so many minutes.")] = None,
) -> None:
    """Search hyperparameters at random; the same command goes on with a search, and joins it from another machine."""
    from models.device import usable_device
    from workbench.search import search as run_search
    from workbench.search_ledger import Ledger
    from workbench.search_space import SearchSpace
    from workbench.search_storage import shown_url

    space = SearchSpace(vocab=vocab, steps=steps, seed=seed)
    usable_device(device)  # before a database is made for nothing
    ledger = Ledger(storage, space, {"sequences": sequences})
    with stop_on_signals() as stop:
        completed = run_search(
            space,
            trials,
            ledger,
            sequences=sequences,
            fleet_size=fleet,
            device=device,
            minutes=minutes,
            stop=stop,
            progress=True,
        )
    if completed < trials:
        typer.echo(f"{completed} of {trials} trials are completed; the same command goes on")
        raise typer.Exit(1)
    typer.echo(f"all {trials} trials are completed; next: workbench study {shown_url(storage)}")
