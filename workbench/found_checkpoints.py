"""The checkpoints that paths mean: runs, checkpoint folders, folders of either and bundled names, and what their cards say.

For: comparisons, reports and widgets, which all take the same paths. Not for: one checkpoint (`models/checkpoint.py`).
"""

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import pandas as pd

from models.checkpoint import CARD_FILE, Card, CheckpointError, cannot_look, find_checkpoint, read_card, run_checkpoints
from models.config import DropoutRates
from models.plain_file import as_path
from models.table_labels import averaging_label, shape_label

Steps = Literal["last", "all"]
FOLDER_DEPTH = 3


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """One checkpoint of a comparison, and the name it has in the table."""

    folder: Path
    card: Card
    name: str


def find_checkpoints(paths: Sequence[str | os.PathLike[str]], steps: Steps = "last") -> list[Checkpoint]:
    """The checkpoints that paths and bundled names mean, each once, in a fixed order (task, size, seed, step, dropout, name).

    A run gives its last checkpoint, or all; a checkpoint folder itself; any other folder what its sub-folders give. A name
    that two checkpoints of one step share gets the folder added. Raises CheckpointError for a path that holds none.
    """
    if steps not in get_args(Steps):
        raise ValueError(f"steps '{steps}' is unknown; choose one of {', '.join(get_args(Steps))}")
    if isinstance(paths, str | os.PathLike):
        raise CheckpointError(f"'{paths}' is one path, expected a list of them; give ['{paths}']")
    if not isinstance(paths, Collection):
        raise CheckpointError(f"{paths!r:.60} is no list of paths; give one, such as ['runs/mine']")
    for path in paths:
        as_path(path)
    if not paths:
        raise CheckpointError("no checkpoint was given; give a run, a checkpoint folder, a folder of them or a bundled name")
    folders = {folder.resolve(): folder for path in paths for folder in _expand(path, steps)}
    cards = [(folder, read_card(folder)) for folder in folders.values()]
    taken: dict[tuple[str, int | None], int] = {}
    for _, card in cards:
        taken[card.name, card.step] = taken.get((card.name, card.step), 0) + 1
    checkpoints = [
        Checkpoint(folder, card, card.name if taken[card.name, card.step] == 1 else f"{card.name} ({folder})")
        for folder, card in cards
    ]
    return sorted(checkpoints, key=_order)


def card_table(checkpoints: Sequence[Checkpoint]) -> pd.DataFrame:
    """What the cards of checkpoints say of how they were made, one row each, for provenance."""

    def row(checkpoint: Checkpoint) -> dict[str, object]:
        card = checkpoint.card
        averaged = card.averaging is not None and len(card.weights) > 1
        return {
            "checkpoint": checkpoint.name,
            "shape": shape_label(card.model),
            "dropout": card.model.dropout.label,
            "drawn by": card.dropout_kernel,
            "weights": ", ".join(card.weights),
            "averaging": averaging_label(card.averaging) if card.averaging and averaged else None,
            "trained to": card.train_length,
            "seed": card.seed,
            "step": card.step,
            "sequences seen": card.sequences_seen,
            "versions": ", ".join(f"{name} {version}" for name, version in card.versions.items()),
            "sha256 of raw": card.sha256.get("raw.safetensors", "")[:12],
            "command": card.command or card.source,
        }

    return pd.DataFrame([row(checkpoint) for checkpoint in checkpoints], dtype=object)


def _order(checkpoint: Checkpoint) -> tuple:
    card = checkpoint.card
    known = tuple(-1 if value is None else value for value in (card.train_length, card.seed, card.step))
    size = card.model.model_copy(update={"dropout": DropoutRates()}).model_dump_json()
    dropout = card.model.dropout.label
    return (card.task.name, card.model.vocab, size, *known, dropout != "none", dropout, checkpoint.name)


def _expand(path: str | os.PathLike[str], steps: Steps) -> list[Path]:
    try:
        found = _inside(Path(path), steps, FOLDER_DEPTH)
    except OSError as error:
        raise cannot_look(path, error) from error
    if found:
        return found
    last = find_checkpoint(path)  # a bundled name; else it raises, with the one sentence for it
    of_a_run = steps == "all" and last.name != Path(path).name
    return run_checkpoints(last.parent.parent) if of_a_run else [last]


def _inside(folder: Path, steps: Steps, depth: int) -> list[Path]:
    if (folder / CARD_FILE).is_file():
        return [folder]
    run = run_checkpoints(folder)
    if run:
        return run if steps == "all" else run[-1:]
    if depth == 0 or not folder.is_dir():
        return []
    children = sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))
    return [found for child in children for found in _inside(child, steps, depth - 1)]
