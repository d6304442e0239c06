"""Where the averaged weights help: EMA weights put into the raw model one part at a time.

python examples/ema_layer_by_layer.py [CHECKPOINT] [--out FOLDER] [--sequences N]
"""

import argparse

import pandas as pd
import torch

from models.hooked import plain_state
from workbench import evaluate, load
from workbench.comparison_table import write_table
from workbench.figures.export import save_figures
from workbench.figures.variants import variants_by_length


def main() -> None:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", nargs="?", default="othello-mini-none")
    parser.add_argument("--out", default="ema-layer-by-layer")
    parser.add_argument("--sequences", type=int, default=100)
    arguments = parser.parse_args()

    averaged = plain_state(load(arguments.checkpoint, weights="ema"))
    layers = load(arguments.checkpoint).cfg.n_layers
    parts = {"raw": (), "embedding": ("embed.", "pos_embed.")}
    parts |= {f"layer {layer}": (f"blocks.{layer}.",) for layer in range(layers)}
    parts |= {"unembedding": ("ln_final.", "unembed."), "ema": ("",)}
    frames = []
    for part, prefixes in parts.items():
        model = load(arguments.checkpoint)
        with torch.no_grad():
            for name, tensor in plain_state(model).items():
                if name.startswith(prefixes):
                    tensor.copy_(averaged[name])
        frames.append(evaluate(model, sequences=arguments.sequences).assign(averaged=part))
    table = pd.concat(frames, ignore_index=True)
    write_table(table, arguments.out, "ema-layer-by-layer")

    figure = variants_by_length(table, "averaged", title="Averaged weights, part by part")
    save_figures({"illegal-mass": figure}, arguments.out, ["html"])
    mass = table[table["metric"] == "illegal_mass"].pivot(index="length", columns="averaged", values="value")
    print("change in mean illegal mass over all lengths, when only this part is averaged:")
    print((mass.mean() - mass["raw"].mean())[list(parts)].to_string(float_format="{:+.4f}".format))


if __name__ == "__main__":
    main()
