"""The demo: the main job on the bundled checkpoints, sized to end within a minute on two cores."""

import os
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from models.checkpoint import CheckpointError, bundled_names, bundled_tables, find_checkpoint, read_card
from workbench.comparison import compare
from workbench.comparison_table import read_table
from workbench.figures.export import possible_formats
from workbench.folder_lock import held_alone
from workbench.found_checkpoints import find_checkpoints
from workbench.headline import headline_lengths
from workbench.report import Written, write_results

FORMATS: tuple[str, ...] = ("html", "pdf")


class Measured(NamedTuple):
    """What the bundled checkpoints gave."""

    frame: pd.DataFrame
    """rows of `compare`, of the last step of every run at every length"""
    training: pd.DataFrame | None
    """the same of every step of the runs that have several, at the headline lengths"""
    settings: dict[str, object]


class Sequences(NamedTuple):
    """How many sequences a task is measured on."""

    last_step: int
    every_step: int


SMALL_TASKS = Sequences(2000, 200)
OTHELLO = Sequences(400, 40)


def demo(out: str | os.PathLike[str] = "demo", progress: bool = True) -> Written:
    """Compares dropout and raw, ema and bema weights over length on every bundled run: table, figures, report.

    Raises CheckpointError where nothing is bundled, and as `held_alone` where another process writes there.
    """
    formats = possible_formats(FORMATS)
    with held_alone(Path(out)):
        measured = measure_bundled(progress)
        return write_results(
            measured.frame,
            find_checkpoints(bundled_names()),
            out,
            "Dropout and averaged weights over length: the bundled checkpoints",
            f"workbench demo --out {out}",
            measured.settings,
            training=measured.training,
            formats=formats,
            progress=progress,
        )


def measure_bundled(progress: bool = True) -> Measured:
    """The comparison of the demo: the last step of each bundled run at every length.

    Where a run has several steps, all of them are measured at the headline lengths, on fewer sequences. Raises CheckpointError
    where nothing is bundled.
    """
    names = bundled_names()
    if not names:
        raise CheckpointError("no checkpoints are bundled with this installation; give your own to `workbench compare PATH...`")
    runs: dict[str, list[str]] = {}
    for name in names:
        runs.setdefault(read_card(find_checkpoint(name)).task.name, []).append(name)
    counts = {task: OTHELLO if task == "othello" else SMALL_TASKS for task in runs}
    frame = pd.concat(
        [compare(runs[task], sequences=counts[task].last_step, progress=progress) for task in runs], ignore_index=True
    )
    lengths = sorted({length for _, rows in frame.groupby(["task", "vocab"]) for length in headline_lengths(rows)})
    several = {task: [name for name in runs[task] if len(find_checkpoints([name], steps="all")) > 1] for task in runs}
    training = [
        compare(several[task], lengths, counts[task].every_step, steps="all", progress=progress)
        for task in runs
        if several[task]
    ]
    training += [read_table(table) for table in bundled_tables()]
    return Measured(frame, pd.concat(training, ignore_index=True) if training else None, _settings(counts, several))


def _settings(counts: dict[str, Sequences], several: dict[str, list[str]]) -> dict[str, object]:
    facts: dict[str, object] = {"seed": 0}
    for task, count in counts.items():
        over_training = f" (over training {count.every_step})" if several[task] else ""
        facts[f"sequences of {task}"] = f"{count.last_step:,}{over_training}"
    for path in bundled_tables():
        facts[f"over training, bundled table {path.stem}"] = (
            f"{int(read_table(path)['sequences'].max()):,} sequences, measured before"
        )
    return facts
