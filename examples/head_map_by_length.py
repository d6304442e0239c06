"""Which heads matter at which length, with dropout and without: a map of every head for each checkpoint.

python examples/head_map_by_length.py [CHECKPOINT ...] [--out FOLDER] [--sequences N]
"""

import argparse

import pandas as pd

from workbench.ablation_map import ablation_map
from workbench.comparison_table import write_table
from workbench.figures.ablation import ablation_by_head, ablation_by_length
from workbench.figures.export import save_figures

LENGTHS = [5, 15, 30, 45, 59]


def main() -> None:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", nargs="*", default=["othello-mini-none", "othello-mini-all-0.1"])
    parser.add_argument("--out", default="head-map")
    parser.add_argument("--sequences", type=int, default=48)
    arguments = parser.parse_args()

    maps = {
        name: ablation_map(name, what="heads", method="zero", lengths=LENGTHS, sequences=arguments.sequences, progress=True)
        for name in arguments.checkpoints
    }
    figures = {}
    for name, frame in maps.items():
        figures[f"{name}-by-length"] = ablation_by_length(frame)
        for length in LENGTHS:
            figures[f"{name}-length-{length}"] = ablation_by_head(frame, length)
    save_figures(figures, arguments.out, ["html"])

    table = pd.concat(maps.values(), ignore_index=True)
    write_table(table, arguments.out, "head-map")
    mass = table[table["metric"] == "illegal_mass"]
    worst = mass.loc[mass.groupby(["checkpoint", "length"])["difference"].idxmax()]
    columns = ["checkpoint", "length", "layer", "head", "clean", "difference", "difference_low", "difference_high"]
    print("illegal mass that the most important head keeps away:")
    print(worst[columns].to_string(index=False, float_format="{:.3f}".format))


if __name__ == "__main__":
    main()
