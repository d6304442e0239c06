"""`workbench evaluate`: every metric of one checkpoint at every length."""

import json

import typer

from workbench.commands.options import Checkpoint, Device, EvaluationSeed, JsonFile, Lengths, Sequences, Weights, parse_lengths


def evaluate(
    checkpoint: Checkpoint,
    sequences: Sequences = 2000,
    weights: Weights = "raw",
    lengths: Lengths = None,
    seed: EvaluationSeed = 0,
    device: Device = "cpu",
    json_file: JsonFile = None,
) -> None:
    """Measure one checkpoint at every length, with 95 % intervals over sequences."""
    wanted = parse_lengths(lengths)
    from models.durable import write_file
    from workbench.evaluation import as_json
    from workbench.evaluation import evaluate as evaluate_model

    frame = evaluate_model(checkpoint, None, wanted, sequences, seed, weights=weights, device=device, progress=True)
    typer.echo(frame.pivot(index="length", columns="metric", values="value").to_string(float_format="{:.4g}".format))
    if json_file is not None:
        write_file(json_file, json.dumps(as_json(frame, sequences), indent=1).encode())
