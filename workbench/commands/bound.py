"""`workbench bound`: widths around v - 1, trained and certified."""

from pathlib import Path
from typing import Annotated

import typer

from models.config import MOST
from models.whole_numbers import MOST_COUNTED
from workbench.commands.options import Formats, folder_option
from workbench.commands.signals import stop_on_signals

MOST_SEEDS = 1000
"""All models of a pair of widths are in memory together."""


def bound(
    vocab: Annotated[int, typer.Option(min=5, max=MOST // 4, help="Number of tokens v.")] = 8,
    out: Annotated[Path, folder_option("Folder for the table and the figure; a stopped sweep goes on.")] = Path("bound"),
    steps: Annotated[int, typer.Option(min=1, max=MOST_COUNTED, help="Optimiser steps of every model.")] = 5000,
    seeds: Annotated[int, typer.Option(min=1, max=MOST_SEEDS, help="Models at each pair of widths.")] = 4,
    formats: Formats = "html,pdf,svg,png",
) -> None:
    """Sweep width and head width apart through v-3 .. v+1, and wider ones as the control: where training stops working."""
    from workbench.figures.export import save_figures
    from workbench.figures.width_bound import bound_maps
    from workbench.width_bound import bound_table, sweep

    with stop_on_signals() as stop:
        rows = sweep(vocab, out, steps, seeds, stop, progress=True)
    if stop.is_set():
        typer.echo("stopped; the same command goes on")
        raise typer.Exit(1)
    save_figures({f"bound-v{vocab}": bound_maps(rows)}, out / "figures", formats.split(","))
    typer.echo(bound_table(rows).to_string(index=False, float_format="{:.4g}".format))
    typer.echo(f"wrote {out / f'bound-v{vocab}.csv'}")
