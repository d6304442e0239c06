"""A hook of one's own: no query may attend to the token a given distance back, and the rest of its row is renormalised.

`ablate(..., edge=...)` sets weights and leaves the others; minus infinity before the softmax, as here, shares them out again.

    python examples/knocked_out_distance.py [CHECKPOINT] [--out FOLDER] [--sequences N]
"""

import argparse

import pandas as pd
import torch
from torch import Tensor

from workbench import evaluate, load
from workbench.comparison_table import write_table
from workbench.figures.export import save_figures
from workbench.figures.variants import variants_by_length

DISTANCES = [0, 1, 2, 4, 8]


def without_distance(model, distance: int):
    """While it is open, attention to the token `distance` back has no weight, in every head, but where nothing else is seen."""

    def knock_out(scores: Tensor, hook: object) -> Tensor:
        queries = torch.arange(max(distance, 1), scores.shape[-2], device=scores.device)
        changed = scores.clone()  # never write to what a hook is given
        changed[:, :, queries, queries - distance] = -torch.inf
        return changed

    return model.hooks(fwd_hooks=[(lambda name: name.endswith("hook_attn_scores"), knock_out)])


def main() -> None:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", nargs="?", default="othello-mini-none")
    parser.add_argument("--out", default="knocked-out-distance")
    parser.add_argument("--sequences", type=int, default=64)
    arguments = parser.parse_args()

    model = load(arguments.checkpoint)
    frames = [evaluate(model, sequences=arguments.sequences).assign(distance="nothing")]
    for distance in DISTANCES:
        with without_distance(model, distance):
            frames.append(evaluate(model, sequences=arguments.sequences).assign(distance=str(distance)))
    table = pd.concat(frames, ignore_index=True)
    write_table(table, arguments.out, "knocked-out-distance")

    figure = variants_by_length(table, "distance", title="Attention without one distance")
    save_figures({"illegal-mass": figure}, arguments.out, ["html"])
    mass = table[table["metric"] == "illegal_mass"].pivot(index="length", columns="distance", values="value")
    print("mean illegal mass over all lengths, without attention to the token this far back:")
    print(mass.mean().to_string(float_format="{:.4f}".format))


if __name__ == "__main__":
    main()
