"""`workbench probe`: what is inside a checkpoint; each probe writes its table and figures."""

from pathlib import Path
from typing import Annotated

import typer

from models.config import WeightsName
from workbench.commands.options import Checkpoint, EvaluationSeed, Formats, Sequences

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Measure what is inside a checkpoint.")

Weights = Annotated[WeightsName, typer.Option(help="Which weights.")]
Out = Annotated[Path, typer.Option(help="Folder for the tables and figures.")]


@app.command("displacement")
def displacement(
    checkpoint: Checkpoint,
    out: Out = Path("displacement"),
    weights: Weights = "raw",
    formats: Formats = "html",
    seed: EvaluationSeed = 0,
) -> None:
    """Logit displacement of a set-complement model at every length, beside the 2/s law."""
    from models.hooked import load
    from probes import logit_displacement
    from workbench.figures.displacement import displacement_by_length
    from workbench.figures.export import save_figures
    from workbench.table import write_table

    model = load(checkpoint, weights)
    frame = logit_displacement.displacement(model, seed=seed)
    fit = logit_displacement.power_law(logit_displacement.token_displacement(model, seed=seed))
    write_table(frame, out, "displacement")
    save_figures({"displacement-by-length": displacement_by_length(frame, fit)}, out, formats.split(","))
    typer.echo(frame.pivot(index="length", columns="measure", values="value").to_string(float_format="{:.4g}".format))
    typer.echo(fit.to_string(index=False, float_format="{:.4g}".format))
    typer.echo(f"wrote {out}")


@app.command("dispersion")
def dispersion(
    checkpoint: Checkpoint,
    out: Out = Path("dispersion"),
    weights: Weights = "raw",
    sequences: Sequences = 500,
    formats: Formats = "html",
    seed: EvaluationSeed = 0,
) -> None:
    """How widely attention spreads, by layer, head and length, beside its controls."""
    from probes.dispersion_by_head import dispersion as probe_dispersion
    from workbench.figures.dispersion import dispersion_by_head, dispersion_by_length
    from workbench.figures.export import save_figures
    from workbench.table import write_table

    frame = probe_dispersion(checkpoint, sequences=sequences, seed=seed, weights=weights, progress=True)
    write_table(frame, out, "dispersion")
    longest = int(frame["length"].max())
    figures = {"dispersion-by-length": dispersion_by_length(frame), "dispersion-by-head": dispersion_by_head(frame, longest)}
    save_figures(figures, out, formats.split(","))
    rows = frame[frame["metric"] == "normalised_dispersion"]
    shown = rows.groupby(["length", "control"], sort=False)["value"].mean().unstack("control")
    typer.echo("normalised dispersion, mean over layers and heads ('none' is the model itself)")
    typer.echo(shown.to_string(float_format="{:.3g}".format))
    typer.echo(f"wrote {out}")


@app.command("board-state")
def board_state(
    checkpoint: Checkpoint,
    out: Out = Path("board-state"),
    weights: Weights = "raw",
    fit_games: Annotated[int, typer.Option(min=2, help="Games to fit the probes on.")] = 2000,
    test_games: Annotated[int, typer.Option(min=2, help="Other games to measure them on.")] = 500,
    formats: Formats = "html",
    seed: EvaluationSeed = 0,
) -> None:
    """How well linear probes read the board of an OthelloGPT, layer by layer, beside their controls."""
    from probes.board_state import board_state as probe_board
    from workbench.figures.board_state import board_by_layer, board_by_layer_and_length
    from workbench.figures.export import save_figures
    from workbench.table import write_table

    frame = probe_board(
        checkpoint, fit_games=fit_games, test_games=test_games, seed=seed, weights=weights, save=out / "probes", progress=True
    )
    write_table(frame, out, "board-state")
    figures = {"board-by-layer": board_by_layer(frame), "board-by-layer-and-length": board_by_layer_and_length(frame)}
    save_figures(figures, out, formats.split(","))
    pooled = frame[frame[["length", "square", "state"]].isna().all(axis=1) & (frame["metric"] == "accuracy")]
    columns = ["probe", "frame", "control", "layer", "value", "ci_low", "ci_high"]
    typer.echo(pooled[columns].to_string(index=False, float_format="{:.4f}".format))
    typer.echo(f"wrote {out}")
