"""`workbench certify`: is the ordering of legal over illegal tokens right on every input of every length?"""

import json
from typing import Annotated

import typer

from models.config import WeightsName
from workbench.commands.options import Checkpoint, JsonFile


def certify(
    checkpoint: Checkpoint,
    weights: Annotated[WeightsName, typer.Option(help="Which weights.")] = "raw",
    json_file: JsonFile = None,
) -> None:
    """Certify a one-layer set-complement model at every length, over all inputs, or give a counterexample."""
    from models.durable import write_file
    from models.hooked import load
    from probes.certificate import certify as certify_model

    certificate = certify_model(load(checkpoint, weights))
    shown = certificate.frame()[["length", "verdict", "worst_gap", "counterexample"]]
    typer.echo(shown.to_string(index=False, float_format="{:.4g}".format))
    typer.echo(f"certified at {certificate.certified_lengths} of {len(certificate.lengths)} lengths, over all inputs")
    if json_file is not None:
        write_file(json_file, json.dumps(certificate.to_json_dict(), indent=1).encode())
