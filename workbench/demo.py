"""The demo: the main job on the bundled checkpoints, sized to end within a minute on two cores."""

import os
from pathlib import Path

import pandas as pd

from models.checkpoint import CheckpointError, bundled_names, find_checkpoint, read_card
from workbench.comparison import compare, find_checkpoints
from workbench.comparison_folder import Written, write_folder
from workbench.evaluation import SEQUENCES
from workbench.figures.export import Format
from workbench.headline import headline_lengths

OTHELLO_SEQUENCES = 500
TRAINING_SEQUENCES = 200
FORMATS: tuple[Format, ...] = ("html", "pdf")


def demo(out: str | os.PathLike[str] = "demo", progress: bool = True) -> Written:
    """Compares dropout and raw, ema and bema weights over length on every bundled run: table, figures, report.

    Small set-complement models are measured on 2,000 sequences, Othello models on 500 games; where a run has several steps,
    200 sequences show it over training. Raises CheckpointError where nothing is bundled.
    """
    names = bundled_names()
    if not names:
        raise CheckpointError("no checkpoints are bundled with this installation; give your own to `workbench compare PATH...`")
    tasks: dict[str, list[str]] = {}
    for name in names:
        tasks.setdefault(read_card(find_checkpoint(name)).task.name, []).append(name)
    counts = {task: OTHELLO_SEQUENCES if task == "othello" else SEQUENCES for task in tasks}
    frames = [compare(runs, sequences=counts[task], progress=progress) for task, runs in tasks.items()]
    frame = pd.concat(frames, ignore_index=True)
    settings = {f"sequences of {task}": count for task, count in counts.items()} | {"seed": 0}
    return write_folder(
        frame,
        find_checkpoints(names),
        Path(out),
        "Dropout and averaged weights over length: the bundled checkpoints",
        f"workbench demo --out {out}",
        settings,
        training=_over_training(names, frame, progress),
        formats=FORMATS,
    )


def _over_training(names: list[str], frame: pd.DataFrame, progress: bool) -> pd.DataFrame | None:
    """Every step of the runs that have several, at the headline lengths; None where no run has."""
    several = [name for name in names if len(find_checkpoints([name], steps="all")) > 1]
    if not several:
        return None
    lengths = sorted({length for _, rows in frame.groupby(["task", "vocab"]) for length in headline_lengths(rows)})
    return compare(several, lengths, TRAINING_SEQUENCES, steps="all", progress=progress)
