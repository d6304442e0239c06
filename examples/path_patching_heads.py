"""Which earlier heads a head listens to: path patching into every head of the last layer.

python examples/path_patching_heads.py [CHECKPOINT] [--length N] [--out FOLDER] [--sequences N]
"""

import argparse

import pandas as pd

from models.streams import Draw
from workbench import load, make_task
from workbench.comparison_table import write_table
from workbench.figures.ablation import map_of_heads
from workbench.figures.export import save_figures
from workbench.patching import metric_at
from workbench.path_patching import path_patch


def main() -> None:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", nargs="?", default="othello-mini-none")
    parser.add_argument("--length", type=int, default=20)
    parser.add_argument("--out", default="path-patching")
    parser.add_argument("--sequences", type=int, default=48)
    arguments = parser.parse_args()

    model = load(arguments.checkpoint)
    task = make_task(model.card.task)
    both = task.sequences(Draw.EVALUATION.stream(0), 0, 2 * arguments.sequences)[:, : arguments.length]
    clean, corrupt = both.chunk(2)
    metric = metric_at(task, clean, "illegal_mass")
    last = model.cfg.n_layers - 1
    receivers = [(last, head) for head in range(model.cfg.n_heads)] if last else []
    frames = {
        "logits" if receiver == "logits" else f"head {receiver[1]}": path_patch(model, clean, corrupt, receiver, metric)
        for receiver in [*receivers, "logits"]
    }
    table = pd.concat([frame.assign(receiver=name) for name, frame in frames.items()], ignore_index=True)
    write_table(table, arguments.out, "path-patching")
    figures = {
        f"into-{name.replace(' ', '-')}": map_of_heads(
            frame, f"From each head into {name}, layer {last}", "change in illegal mass"
        )
        for name, frame in frames.items()
    }
    save_figures(figures, arguments.out, ["html"])
    print(f"strongest paths at length {arguments.length} (change in illegal mass when the sender speaks of another sequence):")
    strongest = table.loc[table["difference"].abs().sort_values(ascending=False).index].head(8)
    columns = ["layer", "head", "receiver", "difference", "difference_low", "difference_high"]
    print(strongest[columns].to_string(index=False, float_format="{:.4f}".format))


if __name__ == "__main__":
    main()
