"""`workbench ablate`: what each component of a checkpoint is worth, at every length."""

from pathlib import Path
from typing import Annotated, Literal

import typer

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
)


def ablate(
    checkpoint: Checkpoint,
    what: Annotated[
        Literal["heads", "attention", "mlp", "layers", "stream"], typer.Option(help="Which components, one at a time.")
    ] = "heads",
    method: Annotated[
        Literal["zero", "mean", "resample"], typer.Option(help="What their activations are replaced with.")
    ] = "zero",
    lengths: Lengths = None,
    sequences: Sequences = 500,
    weights: Weights = "raw",
    out: Annotated[Path, folder_option("Folder for table and figures; an interrupted map goes on from its parts/.")] = Path(
        "ablation"
    ),
    formats: Formats = "html",
    seed: EvaluationSeed = 0,
    device: Device = "cpu",
) -> None:
    """The change in every metric by layer, head and length when a component is ablated, with intervals."""
    chosen = parse_lengths(lengths)
    from workbench.ablation_map import ablation_map
    from workbench.comparison_table import write_table
    from workbench.figures.ablation import ablation_figures
    from workbench.figures.export import save_figures
    from workbench.folder_lock import held_alone
    from workbench.kept_parts import remove_parts

    name = f"{what}-{method}"
    parts = out / "parts" / f"{name}-{weights}"
    with held_alone(out):
        frame = ablation_map(
            checkpoint,
            None,
            what,
            method,
            chosen,
            sequences,
            seed,
            weights=weights,
            device=device,
            keep=parts,
            progress=True,
        )
        write_table(frame, out, name)
        remove_parts(parts)
        save_figures(ablation_figures(frame), out / "figures", formats.split(","))
    longest = int(frame["length"].max())
    rows = frame[(frame["length"] == longest) & (frame["metric"] == "illegal_mass")].sort_values("difference", ascending=False)
    columns = [
        "layer",
        *(["head"] if what == "heads" else []),
        "clean",
        "value",
        "difference",
        "difference_low",
        "difference_high",
    ]
    typer.echo(f"illegal mass at length {longest}, greatest change first")
    typer.echo(rows[columns].head(12).to_string(index=False, float_format="{:.4g}".format))
    typer.echo(f"wrote {out}")
