"""`workbench certify`: is the ordering of legal over illegal tokens right on every input of every length?"""

import json
from pathlib import Path
from typing import Annotated

import typer

from workbench.commands.options import Checkpoint, Formats, JsonFile, Weights, folder_option


def certify(
    checkpoint: Checkpoint,
    weights: Weights = "raw",
    json_file: JsonFile = None,
    out: Annotated[Path | None, folder_option("Also write the table and the figure of the worst gap here.")] = None,
    formats: Formats = "html",
) -> None:
    """Certify a one-layer set-complement model at every length, over all inputs, or give a counterexample."""
    from models.durable import write_file
    from probes.certificate import certify as certify_model
    from workbench.comparison_table import write_table
    from workbench.figures.certificate import worst_gap_by_length
    from workbench.figures.export import save_figures

    certificate = certify_model(checkpoint, weights=weights)
    shown = certificate.frame()[["length", "verdict", "worst_gap", "counterexample"]]
    typer.echo(shown.to_string(index=False, float_format="{:.4g}".format))
    typer.echo(f"certified at {certificate.certified_lengths} of {len(certificate.lengths)} lengths, over all inputs")
    if json_file is not None:
        write_file(json_file, json.dumps(certificate.to_json_dict(), indent=1).encode())
    if out is not None:
        write_table(certificate.frame(), out, "certificate")
        save_figures({"worst-gap-by-length": worst_gap_by_length(certificate.frame())}, out / "figures", formats.split(","))
        typer.echo(f"wrote {out}")
