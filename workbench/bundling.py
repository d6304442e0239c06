"""Makes a small copy of a run to share or to bundle: weights in bfloat16, no trainer state."""

import os
from collections.abc import Collection
from pathlib import Path

import torch

from models.checkpoint import read_card, read_weights, run_checkpoints, save_checkpoint
from models.durable import whole_folder, write_file
from models.float_type import require_float
from models.plain_file import as_path, read_plain
from models.temporary_siblings import is_leftover
from workbench.folder_lock import LOCK_FILE, held_alone
from workbench.run import MAX_RECORD_BYTES, RUN_FILE, RunError


def bundle(
    run: str | os.PathLike[str],
    out: str | os.PathLike[str],
    steps: Collection[int] | None = None,
    dtype: torch.dtype = torch.bfloat16,
) -> Path:
    """Copies a run's checkpoints to a new run folder of the same layout that can be read and compared, but not trained on.

    They appear all at once, at the end. What a killed call left is no obstacle to the next, which deletes it.

    Args:
        run: a run made by `workbench train`.
        out: the folder to make; an empty one may be there.
        steps: which checkpoints; all of them when None.
        dtype: what weights are rounded to; bfloat16 keeps 8 significant bits.

    Raises:
        RunError: the run has no checkpoint, or not one of the steps asked for, or its `run.json` cannot be read.
        FileExistsError: something is in `out` already.
        FolderError: another process writes there.
    """
    run, out = as_path(run), as_path(out)
    require_float(dtype)
    if steps is not None and (isinstance(steps, str) or not isinstance(steps, Collection)):
        raise RunError(f"steps {steps!r:.60} are no list; give a list of them, such as [100, 200]")
    found = {read_card(folder).step: folder for folder in run_checkpoints(run)}
    if not found:
        raise RunError(f"{run} has no checkpoints; give a run made by workbench train")
    absent = sorted(set(steps or ()) - found.keys())
    if absent:
        raise RunError(f"{run} has checkpoints of steps {sorted(map(str, found))}, not of {absent}; ask for those it has")
    try:
        settings = read_plain(run / RUN_FILE, MAX_RECORD_BYTES)
    except OSError as error:
        raise RunError(f"cannot read {run / RUN_FILE}: {error.strerror}; give a run made by workbench train") from error
    with held_alone(out):
        if not all(_is_left_by_a_kill(path, settings) for path in out.iterdir()):
            raise FileExistsError(f"{out} exists already and is no empty folder; choose another folder or delete it first")
        with whole_folder(out / "checkpoints") as checkpoints:  # named last, since a reader takes what has them for a run
            for step, folder in found.items():
                if steps is None or step in steps:
                    _copy(folder, checkpoints / folder.name, dtype)
            write_file(out / RUN_FILE, settings)
    return out


def _is_left_by_a_kill(path: Path, settings: bytes) -> bool:
    """Whether bundling the same run may have left it, before its checkpoints had their name."""
    if path.name == RUN_FILE:
        return path.is_file() and path.stat().st_size == len(settings) and path.read_bytes() == settings
    return path.name == LOCK_FILE or is_leftover(path.name)


def _copy(checkpoint: Path, out: Path, dtype: torch.dtype) -> None:
    card = read_card(checkpoint)
    weights = {
        name: {key: tensor.to(dtype) for key, tensor in read_weights(checkpoint, name, card).items()} for name in card.weights
    }
    save_checkpoint(out, card.model_copy(update={"sha256": {}}), weights)
