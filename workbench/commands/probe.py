"""`workbench probe`: what is inside a checkpoint; each probe writes its tables and figures and prints the main numbers."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from models.whole_numbers import MOST_COUNTED
from workbench.commands.options import (
    Checkpoint,
    Device,
    EvaluationSeed,
    Formats,
    Lengths,
    Sequences,
    Weights,
    folder_option,
    parse_lengths,
    parse_words,
)

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Measure what is inside a checkpoint.")

Out = Annotated[Path, folder_option("Folder for the tables and figures.")]
BALANCE = ["length", "role", "displacement", "spread", "margin", "absent_spread", "misordered"]
POWER_LAW = ["slope", "ci_low", "ci_high", "law", "tokens", "not_positive"]
FitGames = Annotated[int, typer.Option(min=2, max=MOST_COUNTED, help="Games to fit the probes on.")]


@app.command("displacement")
def displacement(
    checkpoint: Checkpoint,
    out: Out = Path("displacement"),
    weights: Weights = "raw",
    sequences: Sequences = 256,
    formats: Formats = "html",
    seed: EvaluationSeed = 0,
) -> None:
    """Logit displacement of a set-complement model: the 2/s law, balance, and structure and identity where they are exact."""
    from probes.subject import set_complement_subject
    from workbench.probe_reports import displacement_report

    tables, figures = displacement_report(set_complement_subject(checkpoint, weights).model, sequences, seed, progress=True)
    by_length = tables["displacement"]
    wide = by_length.pivot(index="length", columns="measure", values="value")
    wide["misordered"] = by_length[by_length["measure"] == "margin"].set_index("length")["not_positive"]
    typer.echo(f"displacement and margin in logits, means, and the share of inputs misordered\n{_text(wide, index=True)}")
    typer.echo(f"\npower law of the displacement against length\n{_text(tables['power-law'][POWER_LAW])}")
    typer.echo(f"\nbalance at lengths 1 and 2, over all inputs\n{_text(tables['balance'][BALANCE])}")
    if "structure" in tables:
        identity, fitted = tables["two-token-identity"], tables["structure"]
        typer.echo(
            f"\nstructure: gamma {_range(fitted['gamma'])}, b {_range(fitted['b'])} logits, residual of D and B up to "
            f"{fitted['relative_residual'].max():.3g} of gamma\ntwo-token identity: residual up to "
            f"{identity['residual'].max():.2g}; with uniform attention up to {identity['uniform_residual'].max():.2g}"
        )
    else:
        typer.echo("\nnot one layer, one head, attention only, without positions and norms: no tables, structure or identity")
    _write(tables, figures, out, formats)


@app.command("dispersion")
def dispersion(
    checkpoint: Checkpoint,
    out: Out = Path("dispersion"),
    weights: Weights = "raw",
    sequences: Sequences = 500,
    formats: Formats = "html",
    seed: EvaluationSeed = 0,
    device: Device = "cpu",
) -> None:
    """How widely attention spreads, by layer, head and length, beside its controls, and what goes with it."""
    from probes.subject import subject
    from workbench.probe_reports import dispersion_report

    model = subject(checkpoint, weights=weights, device=device).model
    tables, figures = dispersion_report(model, sequences, seed, progress=True)
    frame = tables["dispersion"]
    rows = frame[frame["metric"] == "normalised_dispersion"]
    shown = rows.groupby(["length", "control"], sort=False)["value"].mean().unstack("control")
    typer.echo("normalised dispersion, mean over layers and heads ('none' is the model itself)")
    typer.echo(_text(shown, index=True))
    _write(tables, figures, out, formats)


@app.command("board-state")
def board_state(
    checkpoint: Checkpoint,
    out: Out = Path("board-state"),
    weights: Weights = "raw",
    fit_games: FitGames = 2000,
    test_games: Annotated[int, typer.Option(min=2, max=MOST_COUNTED, help="Other games to measure them on.")] = 500,
    probes: Annotated[str, typer.Option(help="Any of closed-form,logistic,nonlinear.")] = "closed-form",
    frames: Annotated[str, typer.Option(help="Any of to_move,parity,colour.")] = "to_move,parity,colour",
    device: Device = "cpu",
    formats: Formats = "html",
    seed: EvaluationSeed = 0,
) -> None:
    """How well linear probes read the board of an OthelloGPT, layer by layer, beside their controls."""
    from probes.board_state import FRAMES, KINDS
    from probes.board_state import board_state as probe_board
    from workbench.probe_reports import board_figures

    frame = probe_board(
        checkpoint,
        parse_words(probes, KINDS, "--probes"),
        parse_words(frames, FRAMES, "--frames"),
        fit_games=fit_games,
        test_games=test_games,
        seed=seed,
        weights=weights,
        device=device,
        save=out / "probes",
        progress=True,
    )
    figures = board_figures(frame)
    pooled = frame[frame[["length", "square", "state"]].isna().all(axis=1) & (frame["metric"] == "accuracy")]
    typer.echo(_text(pooled[["probe", "frame", "control", "layer", "value", "ci_low", "ci_high"]]))
    _write({"board-state": frame}, figures, out, formats)


@app.command("interventions")
def interventions(
    checkpoint: Checkpoint,
    out: Out = Path("interventions"),
    weights: Weights = "raw",
    layers: Annotated[
        str | None, typer.Option(help="Where to edit, such as 3:5; the middle of the depth when not given.")
    ] = None,
    cases: Annotated[int, typer.Option(min=2, max=MOST_COUNTED, help="Games to edit one square in, for each edit.")] = 600,
    fit_games: FitGames = 2000,
    probe: Annotated[Path | None, typer.Option(help="A probe saved by board-state; one is fitted when not given.")] = None,
    device: Device = "cpu",
    formats: Formats = "html",
    seed: EvaluationSeed = 0,
) -> None:
    """Does an OthelloGPT play on the edited board when one square is flipped, erased or added along a probe's directions?"""
    from probes.board_probe import load_probe
    from probes.intervention_score import board_interventions
    from probes.subject import othello_subject
    from workbench.figures.board_state import interventions as draw

    frame = board_interventions(
        checkpoint,
        load_probe(probe, othello_subject(checkpoint, weights).sha256, device) if probe else None,
        layers=parse_lengths(layers, "--layers"),
        cases=cases,
        fit_games=fit_games,
        seed=seed,
        weights=weights,
        device=device,
        progress=True,
    )
    typer.echo(
        "false positives + false negatives a case\n" + _text(frame[["method", "arm", "value", "ci_low", "ci_high", "cases"]])
    )
    _write({"interventions": frame}, {"interventions": draw(frame)}, out, formats)


@app.command("bracket-depth")
def bracket_depth(
    checkpoint: Checkpoint,
    out: Out = Path("bracket-depth"),
    weights: Weights = "raw",
    fit_sequences: Annotated[int, typer.Option(min=2, max=MOST_COUNTED, help="Sequences to fit the probe on.")] = 1000,
    sequences: Sequences = 500,
    formats: Formats = "html",
    seed: EvaluationSeed = 0,
    device: Device = "cpu",
) -> None:
    """Is the nesting depth in a bracket model's residual stream, and how strongly? By layer and length, with controls."""
    from probes.bracket_depth import bracket_depth as probe
    from workbench.figures.bracket_depth import bracket_depth as draw

    frame = probe(checkpoint, fit_sequences, sequences, seed, weights=weights, device=device, progress=True)
    by_layer = frame.groupby(["metric", "control", "layer"], dropna=False)["value"].mean().unstack("layer")
    typer.echo("mean over lengths, by layer\n" + _text(by_layer, index=True))
    _write({"bracket-depth": frame}, {"bracket-depth": draw(frame)}, out, formats)


@app.command("vanishing-variance")
def vanishing_variance(
    checkpoint: Checkpoint,
    out: Out = Path("vanishing-variance"),
    weights: Weights = "raw",
    sequences: Annotated[int, typer.Option(min=20, max=MOST_COUNTED, help="How many fresh sequences to measure on.")] = 500,
    formats: Formats = "html",
    seed: EvaluationSeed = 0,
    device: Device = "cpu",
) -> None:
    """Spread of the attention output by layer and length, and its log-log slope (arXiv 2504.02827)."""
    from probes.vanishing_variance import vanishing_variance as probe
    from workbench.figures.related_diagnostics import vanishing_variance as draw

    frame = probe(checkpoint, sequences=sequences, seed=seed, weights=weights, device=device, progress=True)
    slopes = frame[frame["metric"] == "slope"]
    typer.echo(
        "slope of log spread on log length\n" + _text(slopes[["control", "site", "layer", "value", "ci_low", "ci_high"]])
    )
    _write({"vanishing-variance": frame}, {"vanishing-variance": draw(frame)}, out, formats)


@app.command("rank-collapse")
def rank_collapse(
    checkpoint: Checkpoint,
    out: Out = Path("rank-collapse"),
    weights: Weights = "raw",
    sequences: Sequences = 500,
    formats: Formats = "html",
    seed: EvaluationSeed = 0,
    device: Device = "cpu",
) -> None:
    """Do the residual streams of a sequence become alike? Mean pairwise cosine by layer and length."""
    from probes.rank_collapse import rank_collapse as probe
    from workbench.figures.related_diagnostics import rank_collapse as draw

    frame = probe(checkpoint, sequences=sequences, seed=seed, weights=weights, device=device, progress=True)
    longest = frame[frame["length"] == frame["length"].max()]
    typer.echo(_text(longest[["control", "layer", "length", "value", "ci_low", "ci_high"]]))
    _write({"rank-collapse": frame}, {"rank-collapse": draw(frame)}, out, formats)


@app.command("exchangeability")
def exchangeability(
    checkpoint: Checkpoint,
    out: Out = Path("exchangeability"),
    weights: Weights = "raw",
    sequences: Sequences = 500,
    lengths: Lengths = None,
    formats: Formats = "html",
    seed: EvaluationSeed = 0,
    device: Device = "cpu",
) -> None:
    """How much the last prediction changes when the earlier tokens change their order, beside that of another sequence."""
    from probes.exchangeability import exchangeability as probe
    from workbench.figures.related_diagnostics import exchangeability as draw

    frame = probe(
        checkpoint,
        sequences=sequences,
        seed=seed,
        lengths=parse_lengths(lengths),
        weights=weights,
        device=device,
        progress=True,
    )
    typer.echo(_text(frame[["pair", "length", "metric", "value", "ci_low", "ci_high"]]))
    _write({"exchangeability": frame}, {"exchangeability": draw(frame)}, out, formats)


@app.command("entropy-at-initialisation")
def entropy_at_initialisation(
    checkpoint: Checkpoint,
    out: Out = Path("entropy-at-initialisation"),
    sequences: Sequences = 100,
    formats: Formats = "html",
    seed: EvaluationSeed = 0,
    device: Device = "cpu",
) -> None:
    """Normalised dispersion of untrained models of the checkpoint's shape, with query and key weights scaled."""
    from probes.entropy_at_initialisation import entropy_at_initialisation as probe
    from workbench.figures.related_diagnostics import entropy_at_initialisation as draw

    frame = probe(checkpoint, sequences=sequences, seed=seed, device=device, progress=True)
    longest = frame[frame["length"] == frame["length"].max()]
    typer.echo(_text(longest[["scale", "layer", "length", "value", "ci_low", "ci_high"]]))
    name = "entropy-at-initialisation"
    _write({name: frame}, {name: draw(frame)}, out, formats)


def _text(frame: "pd.DataFrame", index: bool = False) -> str:
    return frame.to_string(index=index, float_format="{:.4g}".format)


def _range(values: "pd.Series") -> str:
    return f"{values.min():.3g} to {values.max():.3g}"


def _write(tables: Mapping[str, "pd.DataFrame"], figures: Mapping[str, "go.Figure"], out: Path, formats: str) -> None:
    from workbench.comparison_table import write_table
    from workbench.figures.export import save_figures

    for name, frame in tables.items():
        write_table(frame, out, name)
    save_figures(figures, out / "figures", formats.split(","))
    typer.echo(f"wrote {out}")
