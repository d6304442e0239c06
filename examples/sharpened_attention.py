"""Take attention dispersion away: attention sharpened by a temperature, so that it spreads less over long inputs. Does it help?

python examples/sharpened_attention.py [CHECKPOINT] [--out FOLDER] [--sequences N]
"""

import argparse

import pandas as pd
from torch import Tensor

from workbench import evaluate, load
from workbench.comparison_table import write_table
from workbench.figures.export import save_figures
from workbench.figures.variants import variants_by_length

TEMPERATURES = [1.0, 0.8, 0.6, 0.4]


def sharpened(model, temperature: float):
    """While it is open, every attention logit of the model is divided by the temperature; below 1 attention is sharper."""

    def divide(scores: Tensor, hook: object) -> Tensor:
        return scores / temperature  # what the causal mask set to minus infinity stays there

    return model.hooks(fwd_hooks=[(lambda name: name.endswith("hook_attn_scores"), divide)])


def main() -> None:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", nargs="?", default="set-complement-v32-none-seed0")
    parser.add_argument("--out", default="sharpened-attention")
    parser.add_argument("--sequences", type=int, default=200)
    arguments = parser.parse_args()

    model, frames = load(arguments.checkpoint), []
    for temperature in TEMPERATURES:
        with sharpened(model, temperature):
            frames.append(evaluate(model, sequences=arguments.sequences).assign(temperature=temperature))
    table = pd.concat(frames, ignore_index=True)
    write_table(table, arguments.out, "sharpened")

    figure = variants_by_length(table, "temperature", title="Sharpened attention")
    save_figures({"illegal-mass": figure}, arguments.out, ["html"])
    last = table[(table["length"] == table["length"].max()) & table["metric"].isin(["illegal_mass", "effective_tokens"])]
    print(f"at length {table['length'].max()}:")
    print(last.pivot(index="temperature", columns="metric", values="value").to_string(float_format="{:.3f}".format))


if __name__ == "__main__":
    main()
