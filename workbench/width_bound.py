"""How wide a minimal model has to be: width d and head width d_v swept apart through v - 3 .. v + 1, trained and certified.

arXiv 2510.08341 states a tight bound of v - 1 on both. For d it holds for any weights that order every input right, by Radon's
theorem (`models/set_complement/closed_form.py`); for d_v the argument needs absent logits to be tied, and without ties counting
hyperplane cells gives only v - 2. So the sweep trains on the task without label noise and at every length, and asks at each
pair: how far down does the error get, and is every input of every length ordered right? Wider models, trained in the same way,
are the control: where they succeed, it is not the training that fails near the bound.
"""

import itertools
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
from tqdm.auto import tqdm

from models.config import WEIGHTS, ModelConfig, TaskConfig
from models.durable import write_file
from models.plain_file import as_path
from models.set_complement.task import SetComplementTask
from models.transformer import with_weights
from models.whole_numbers import require_whole
from probes.certificate import certify
from workbench.comparison_table import read_any_table
from workbench.evaluation import evaluate
from workbench.fleet import Fleet
from workbench.training_config import TrainingConfig

STEPS, SEEDS, BATCH, LEARNING_RATE = 5000, 4, 128, 3e-3
SEQUENCES = 512
STEPS_BETWEEN_LOOKS = 200
TRAINED = ("vocab", "width", "head_width", "seed", "steps", "weights", "lengths")
MEASURED = ("certified_lengths", "worst_gap", "total_variation", "illegal_mass", "misordered")
"""Columns of the table: what was trained, and what came of it."""


def swept(vocab: int) -> range:
    """The widths v - 3 .. v + 1."""
    return range(vocab - 3, vocab + 2)


def wide(vocab: int) -> tuple[int, ...]:
    """The widths d = d_v of the control: v + 2, v + 4, 3 v / 2, 2 v, 4 v."""
    return tuple(sorted({vocab + 2, vocab + 4, 3 * vocab // 2, 2 * vocab, 4 * vocab}))


def shapes(vocab: int) -> list[tuple[int, int]]:
    """Every (width, head width) of a sweep: those of `swept` apart, and the control."""
    return [*itertools.product(swept(vocab), swept(vocab)), *((width, width) for width in wide(vocab))]


def bound_config(vocab: int, width: int, head_width: int, seed: int, steps: int = STEPS) -> TrainingConfig:
    """One minimal model of the sweep: uniform targets, every length trained on, a cosine learning rate, no weight decay."""
    return TrainingConfig(
        task=TaskConfig(name="set-complement", vocab=vocab),
        model=ModelConfig(vocab=vocab, context=vocab - 1, width=width, head_width=head_width),
        train_length=vocab - 1,
        targets="soft",
        steps=steps,
        batch=BATCH,
        learning_rate=LEARNING_RATE,
        warmup=min(100, steps // 10),
        schedule="cosine",
        weight_decay=0.0,
        seed=seed,
        save_every=steps,
    )


def sweep(
    vocab: int,
    out: str | os.PathLike[str],
    steps: int = STEPS,
    seeds: int = SEEDS,
    stop: threading.Event | None = None,
    progress: bool = False,
) -> pd.DataFrame:
    """Trains and certifies `seeds` models at every pair of `shapes`; a stopped sweep goes on with the pairs that are missing.

    Returns and writes to `out/bound-v{vocab}.csv`, one row a (`width`, `head_width`, `seed`, `weights`): `certified_lengths` of
    `lengths`, the `worst_gap` over all inputs in logits, and `total_variation`, `illegal_mass` and `misordered` as means over
    lengths. Missing for a seed that diverged. Raises ValueError where the file holds a sweep of other steps or seeds, or none;
    for fewer than 4 tokens, and for no step or seed.
    """
    require_whole("tokens", vocab, least=4)
    require_whole("steps", steps)
    require_whole("seeds", seeds)
    path = as_path(out) / f"bound-v{vocab}.csv"
    done = read_any_table(path) if path.exists() else pd.DataFrame()
    _require_same_sweep(done, path, vocab, steps, seeds)
    known = set(zip(done["width"], done["head_width"], strict=True)) if len(done) else set()
    missing = [pair for pair in shapes(vocab) if pair not in known]
    for width, head_width in tqdm(missing, unit=" shapes", disable=not progress, desc=f"v = {vocab}"):
        fleet = Fleet([bound_config(vocab, width, head_width, seed, steps) for seed in range(seeds)])
        while fleet.step < steps and not (stop and stop.is_set()):
            fleet.run(min(steps, fleet.step + STEPS_BETWEEN_LOOKS))
        if fleet.step < steps:
            break
        done = pd.concat([done, pd.DataFrame(_rows(fleet), columns=[*TRAINED, *MEASURED])], ignore_index=True)
        write_file(path, done.to_csv(index=False, lineterminator="\n").encode())
    return done


def _require_same_sweep(done: pd.DataFrame, path: Path, vocab: int, steps: int, seeds: int) -> None:
    if not path.exists():
        return
    odd = [name for name in (*TRAINED, *MEASURED) if name not in done or not _has_type(done[name])]
    if odd or done.empty or set(done["vocab"]) != {vocab}:
        found = f"missing or of another type: {', '.join(odd)}" if odd else "it has no row, or ones of another vocabulary"
        raise ValueError(f"{path} is no sweep of {vocab} tokens ({found}); restore it from a copy, or give another folder")
    before = int(done["steps"].iloc[0]), done["seed"].nunique()
    if before != (steps, seeds):
        raise ValueError(
            f"{path} holds a sweep of {before[0]} steps and {before[1]} seeds, not {steps} and {seeds}; give the same numbers "
            "to go on with it, or another folder"
        )


def _has_type(column: pd.Series) -> bool:
    if column.name == "weights":
        return bool(column.isin(WEIGHTS).all())
    is_type = pd.api.types.is_integer_dtype if column.name in TRAINED else pd.api.types.is_numeric_dtype
    return bool(is_type(column))


def _rows(fleet: Fleet) -> Iterator[dict[str, float | int | str]]:
    for member, config in enumerate(fleet.configs):
        shape = config.model
        for weights in WEIGHTS:
            row: dict[str, float | int | str] = {
                "vocab": shape.vocab, "width": shape.width, "head_width": shape.head_width, "seed": config.seed,
                "steps": config.steps, "weights": weights, "lengths": shape.vocab - 1,
            }  # fmt: skip
            if fleet.diverged[member] is None:
                model = with_weights(shape, {name: part.cpu() for name, part in fleet.state(member, weights).items()})
                metrics = evaluate(model, SetComplementTask(shape.vocab), sequences=SEQUENCES).groupby("metric")["value"].mean()
                certificate = certify(model)
                row |= {"certified_lengths": certificate.certified_lengths, "worst_gap": min(certificate.worst_gap)}
                row |= {name: float(metrics[name]) for name in ("total_variation", "illegal_mass", "misordered")}
            yield row


def bound_table(
    rows: pd.DataFrame, weights: str = "raw", columns: Sequence[str] = ("certified_lengths", "total_variation")
) -> pd.DataFrame:
    """The best seed at every pair of widths: what a model of that shape can be trained to at least.

    Args:
        rows: of `sweep`.
        weights: raw, ema or bema.
        columns: what to tabulate; the greatest of `certified_lengths` and `worst_gap`, the least of errors.

    `certified` is how many of the `seeds` models are certified at every length.
    """
    chosen = rows[rows["weights"] == weights]
    chosen = chosen.assign(certified=chosen["certified_lengths"] == chosen["lengths"])
    best = {name: "max" if name in ("certified_lengths", "worst_gap") else "min" for name in columns}
    pairs = chosen.groupby(["width", "head_width"], as_index=False)
    return pairs.agg(best).merge(pairs.agg(certified=("certified", "sum"), seeds=("seed", "nunique")))
