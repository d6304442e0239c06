"""Comparison: any mix of checkpoints on the same sequences, in one tidy frame with paired differences and spread over seeds.

Sampling error (`ci_low` .. `ci_high`, `difference_low` .. `difference_high`: other sequences, same weights) and the spread over
training seeds (`seed_*`: other weights, same sequences) are different things and have different columns.
"""

import hashlib
import io
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from tqdm.auto import tqdm

from models.checkpoint import Card, CheckpointError
from models.config import MOST, WEIGHTS, DropoutRates, WeightsName
from models.device import usable_device
from models.durable import write_file
from models.lengths import possible_lengths
from models.streams import require_seed
from models.table_labels import labels
from models.tasks import make_task
from models.whole_numbers import require_whole
from probes.certificate import certify
from probes.minimal_model import is_minimal
from probes.subject import subject
from workbench.comparison_table import CERTIFIED, DIFFERENCE_COLUMNS, ROW, with_labels, with_seed_spread
from workbench.evaluation import BATCH, SEQUENCES, evaluate_together
from workbench.found_checkpoints import Checkpoint, Steps, find_checkpoints
from workbench.kept_parts import FINGERPRINT, computed_with
from workbench.parquet_file import UNREADABLE, read_parquet

MODELS_AT_ONCE = 12


@dataclass(frozen=True)
class Variant:
    """One set of weights of a checkpoint: what a row of the table is about."""

    checkpoint: Checkpoint
    weights: WeightsName

    @property
    def name(self) -> str:
        """How the column `reference` names it."""
        return f"{self.checkpoint.name}, {self.weights}"


def compare(
    paths: Sequence[str | os.PathLike[str]],
    lengths: Iterable[int] | None = None,
    sequences: int = SEQUENCES,
    seed: int = 0,
    weights: Iterable[WeightsName] = WEIGHTS,
    *,
    steps: Steps = "last",
    device: torch.device | str = "cpu",
    batch: int = BATCH,
    keep: str | os.PathLike[str] | None = None,
    progress: bool = False,
) -> pd.DataFrame:
    """Every metric of every checkpoint at every length, on the same sequences for all checkpoints of a task.

    Args:
        paths: runs, checkpoint folders, folders of either, bundled names; of several tasks if need be.
        lengths: the lengths to report, of which every checkpoint gets those that its task and context allow; None for all.
        sequences: how many sequences to draw for each task.
        seed: which sequences, in 0 .. 2**32 - 1. The same arguments give the same frame.
        weights: the sets of weights to report; those that a checkpoint lacks are left out.
        steps: `last` checkpoint of a run, or `all` of them.
        device: where the models are put.
        batch: sequences a forward pass.
        keep: a folder for what is done, a file for about `MODELS_AT_ONCE` models, so that the same call goes on where it was
            interrupted; a file is named for all that its numbers depend on. None keeps nothing.
        progress: show a progress bar.

    Returns:
        The columns of `evaluate`, and

        - reference, difference, difference_low, difference_high: this row minus the same metric of `reference` on the same
          sequences, with the 95 % interval of that paired difference. ema and bema refer to raw of the same checkpoint; raw
          with dropout refers to raw of the checkpoint without dropout that is equal in task, shape, training length, seed and
          step. Missing where there is no such reference.
        - certified_lengths: at how many lengths every legal logit is proved above every illegal one on all inputs, 0 to
          vocab - 1 (`probes.certificate`); the same in every row of a checkpoint's weights, missing where it is not exact.
        - seeds, seed_mean, seed_sd, seed_low, seed_high: number of checkpoints that differ in nothing but the seed, and mean,
          standard deviation, least and greatest of their values. seeds is 1 where it stands alone.

    Raises:
        CheckpointError: a path holds no checkpoint, or a checkpoint has none of the weights asked for.
        ValueError: a checkpoint's vocabulary is not its task's; no length is possible; lengths or weights are no list of such;
            sequences or seed out of range.
    """
    require_whole("sequences", sequences)
    require_whole("sequences a batch", batch)
    require_seed(seed)
    device = usable_device(device)
    asked_lengths, asked_weights = lengths_asked_for(lengths), weights_asked_for(weights)
    checkpoints = find_checkpoints(paths, steps)
    wanted = [Variant(checkpoint, name) for checkpoint in checkpoints for name in _weights_of(checkpoint, asked_weights)]
    chosen = {checkpoint: _chosen_lengths(checkpoint, asked_lengths) for checkpoint in checkpoints}
    bags = list(_bags(wanted, _references(checkpoints)))
    with tqdm(total=sequences * sum(len(bag.variants) for bag in bags), unit=" sequences", disable=not progress) as bar:
        frames = []
        for bag in bags:
            file = None if keep is None else Path(keep) / f"{_fingerprint(bag, chosen, sequences, seed, device, batch)}.parquet"
            kept = None if file is None else _kept(file)
            if kept is not None:
                bar.update(sequences * len(bag.variants))
            else:
                kept = _compare_bag(bag, chosen, sequences, seed, device, batch, bar)
                if file is not None:
                    _keep(file, kept)
            frames.append(kept)
    return with_seed_spread(pd.concat(frames, ignore_index=True))


def lengths_asked_for(lengths: Iterable[int] | None) -> tuple[int, ...] | None:
    """The lengths as a tuple; None stays None. Raises ValueError for what is no list, and for what can be no length."""
    if lengths is None:
        return None
    if isinstance(lengths, str | bytes) or not isinstance(lengths, Iterable):
        raise ValueError(f"lengths {lengths!r} are no list; give a list of them, such as [5, 10]")
    asked = tuple(lengths)
    for length in asked:
        if length not in range(1, MOST + 1):
            raise ValueError(f"length {length!r}: expected whole numbers in 1 .. {MOST}; leave out the others")
    return asked


def weights_asked_for(weights: Iterable[WeightsName]) -> tuple[WeightsName, ...]:
    """The sets of weights as a tuple. Raises ValueError for what is no list, for an empty one, and for an unknown name."""
    if isinstance(weights, str | bytes) or not isinstance(weights, Iterable):
        raise ValueError(f"weights {weights!r} are no list; give a list of any of {', '.join(WEIGHTS)}")
    asked = tuple(weights)
    wrong = [name for name in asked if name not in WEIGHTS]
    if wrong or not asked:
        raise ValueError(f"weights {wrong[0] if wrong else asked!r}: expected any of {', '.join(WEIGHTS)}; name some of those")
    return asked


def _kept(file: Path) -> pd.DataFrame | None:
    """What an interrupted comparison kept; None where there is nothing, or nothing that can be read and is of that name."""
    try:
        frame = read_parquet(file)
        told = pq.read_schema(file).metadata or {}
    except UNREADABLE:
        return None
    return frame if told.get(FINGERPRINT) == file.stem.encode() else None


def _keep(file: Path, frame: pd.DataFrame) -> None:
    """Writes a part, which says itself what it is of."""
    table, data = pa.Table.from_pandas(frame), io.BytesIO()
    pq.write_table(table.replace_schema_metadata({**table.schema.metadata, FINGERPRINT: file.stem.encode()}), data)
    write_file(file, data.getvalue())


def _weights_of(checkpoint: Checkpoint, weights: Sequence[WeightsName]) -> list[WeightsName]:
    has = [name for name in WEIGHTS if name in weights and name in checkpoint.card.weights]
    if not has:
        raise CheckpointError(
            f"checkpoint {checkpoint.folder} has no {' or '.join(weights)} weights, it has "
            f"{', '.join(checkpoint.card.weights)}; ask for those"
        )
    return has


def _chosen_lengths(checkpoint: Checkpoint, lengths: Sequence[int] | None) -> tuple[int, ...]:
    card = checkpoint.card
    possible = possible_lengths(make_task(card.task), card.model.vocab, card.model.context)
    chosen = tuple(length for length in possible if lengths is None or length in lengths)
    if not chosen:
        asked = ", ".join(map(str, (lengths or ())[:5])) or "none"
        raise ValueError(
            f"none of the lengths asked for can be given to checkpoint {checkpoint.name}, which takes 1 .. {possible[-1]} "
            f"(asked for: {asked}); ask for some of those, or leave the checkpoint out"
        )
    return chosen


def _references(checkpoints: Sequence[Checkpoint]) -> dict[Variant, Variant]:
    """What each variant is compared with, where there is something."""
    without_dropout = {
        _equal_but_dropout(checkpoint.card): checkpoint
        for checkpoint in reversed(checkpoints)
        if checkpoint.card.model.dropout.label == "none"
    }
    references: dict[Variant, Variant] = {}
    for checkpoint in (checkpoint for checkpoint in checkpoints if "raw" in checkpoint.card.weights):
        card, raw = checkpoint.card, Variant(checkpoint, "raw")
        references |= {Variant(checkpoint, name): raw for name in card.weights if name != "raw"}
        baseline = without_dropout.get(_equal_but_dropout(card))
        paired = baseline is not None and "raw" in baseline.card.weights and card.seed is not None and card.step is not None
        if baseline is not None and paired and card.model.dropout.label != "none":
            references[raw] = Variant(baseline, "raw")
    return references


def _equal_but_dropout(card: Card) -> tuple:
    return (card.task, card.model.model_copy(update={"dropout": DropoutRates()}), card.train_length, card.seed, card.step)


@dataclass(frozen=True)
class Bag:
    """Work done together: models of one task that are in memory together and see each batch together."""

    rows: tuple[Variant, ...]
    """whom the bag's part of the table is about"""
    references: dict[Variant, Variant]
    """what each of them is compared with, if anything"""

    @property
    def variants(self) -> list[Variant]:
        """Every model of the bag, each once."""
        return list(dict.fromkeys((*self.rows, *self.references.values())))


def _bags(wanted: Sequence[Variant], references: dict[Variant, Variant]) -> Iterator[Bag]:
    """Splits the work into bags of about `MODELS_AT_ONCE` models, so that memory is bounded for any number of checkpoints.

    A reference that several bags need is evaluated in each of them, which costs less than keeping every bootstrap table.
    """
    rows: tuple[Variant, ...] = ()
    for variant in wanted:
        longer = _bag((*rows, variant), references)
        other_task = rows and rows[0].checkpoint.card.task != variant.checkpoint.card.task
        if rows and (other_task or len(longer.variants) > MODELS_AT_ONCE):
            yield _bag(rows, references)
            rows = ()
        rows = (*rows, variant)
    yield _bag(rows, references)


def _bag(rows: tuple[Variant, ...], references: dict[Variant, Variant]) -> Bag:
    return Bag(rows, {variant: references[variant] for variant in rows if variant in references})


def _fingerprint(
    bag: Bag,
    lengths: dict[Checkpoint, tuple[int, ...]],
    sequences: int,
    seed: int,
    device: torch.device,
    batch: int,
) -> str:
    """A name for all that a bag's part of the table depends on; `computed_with` says what is left out."""
    told = [
        [variant.name, variant.weights, variant.checkpoint.card.model_dump(mode="json"), *lengths[variant.checkpoint]]
        for variant in bag.variants
    ]
    pairs = [[variant.name, reference.name] for variant, reference in bag.references.items()]
    parts = [computed_with(device), len(bag.rows), told, pairs, sequences, seed, batch]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:20]


def _compare_bag(
    bag: Bag,
    lengths: dict[Checkpoint, tuple[int, ...]],
    sequences: int,
    seed: int,
    device: torch.device,
    batch: int,
    bar: tqdm,
) -> pd.DataFrame:
    task = make_task(bag.rows[0].checkpoint.card.task)
    variants = bag.variants
    models = [subject(variant.checkpoint.folder, task, variant.weights, device).model for variant in variants]
    pairs = [(variants.index(variant), variants.index(reference)) for variant, reference in bag.references.items()]
    own_lengths = [lengths[variant.checkpoint] for variant in variants]
    summaries, differences = evaluate_together(models, own_lengths, task, pairs, sequences, seed, batch, bar)
    paired = dict(zip(bag.references, differences, strict=True))
    frames = []
    for variant, model, summary in zip(variants, models, summaries, strict=True):
        if variant not in bag.rows:
            continue
        rows = summary.rows()
        if variant in paired:
            rows = rows.merge(paired[variant].rows(), on=["metric", "length"], validate="1:1")
            rows["reference"] = bag.references[variant].name
        rows = rows.reindex(columns=[*ROW, *DIFFERENCE_COLUMNS])
        rows[CERTIFIED] = certify(model).certified_lengths if is_minimal(model) else pd.NA
        named = labels(variant.checkpoint.card, task, variant.weights) | {"checkpoint": variant.checkpoint.name}
        frames.append(with_labels(rows, named))
    return pd.concat(frames, ignore_index=True)
