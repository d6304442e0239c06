"""What ablating each component of a model does to every metric, at every length.

For: the whole map, in about half the time of a loop over `ablate` while nothing is hooked to the model (`rerun_from.py` says
how). Each row is a paired difference: the ablated and the clean model see the same sequences. Not for: one experiment of one's
own (`ablation.py`).
"""

import hashlib
import os
from collections.abc import Callable, Collection, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import SupportsIndex

import numpy as np
import pandas as pd
import torch
from einops import rearrange, repeat
from jaxtyping import Float, Int64
from torch import Tensor
from tqdm.auto import tqdm

from models.config import WeightsName
from models.hooked import TRANSFORMER_LENS, HookedTransformer
from models.lengths import chosen_lengths
from models.streams import Draw
from models.task import Task
from models.transformer import Transformer
from models.whole_numbers import require_whole
from probes.subject import Address, Subject, subject
from workbench.ablation_methods import METHODS, Method, Replacement, read_replacement
from workbench.components import WHATS, What, as_indices, component_name, find_sites, require_indices
from workbench.intervals import REPLICATES, BootstrapMeans, DiscordantPairs, percentile_interval, poisson_weights
from workbench.kept_parts import KeptParts, Part, computed_with
from workbench.metrics import METRICS, POSITION_METRICS, position_metrics
from workbench.rerun_from import Cell, CleanRun, cells_of, plain_form

SEQUENCES = 500
REFERENCES = 256
"""How many reference sequences mean and resample are taken from."""
BATCH = 32
TOLD_APART_BY = 32
"""By how many sequences two tasks are told apart."""

MEANS = tuple(name for name in POSITION_METRICS if not METRICS[name].rate)
RATES = tuple(name for name in POSITION_METRICS if METRICS[name].rate)


def ablation_map(
    model: Address,
    task: Task | None = None,
    what: What = "heads",
    method: Method = "zero",
    lengths: Collection[SupportsIndex] | None = None,
    sequences: int = SEQUENCES,
    seed: int = 0,
    positions: Collection[SupportsIndex] | None = None,
    *,
    weights: WeightsName = "raw",
    device: torch.device | str = "cpu",
    batch: int = BATCH,
    keep: str | os.PathLike[str] | None = None,
    progress: bool = False,
    report: Callable[[float], None] = lambda share: None,
) -> pd.DataFrame:
    """The change in every metric when one component at a time is ablated, by layer, head and length.

    Args:
        model: a checkpoint folder, run or bundled name, or a hooked model in eval mode, whose other hooks stay and act.
        task: the task; None for the one on the card.
        what: heads, attention, mlp, layers or stream; see `components.What`.
        method: zero, mean (by position) or resample, over fresh sequences of the task that are not those measured on.
        lengths: the lengths to report; None for all that task and model allow.
        sequences: how many sequences to measure on: those that `evaluate` draws for the same seed.
        seed: which sequences, references and bootstrap weights, in 0 .. 2**32 - 1.
        positions: ablate each of these positions alone, from 0, instead of all together.
        weights: which weights of a checkpoint to load; of no effect on a loaded model, as is `device`.
        device: where a checkpoint is loaded to.
        batch: sequences a clean pass; of no effect on the results but for rounding.
        keep: a folder for what is done, batch by batch: a map that was interrupted goes on there where it stopped, and one of
            more sequences adds to it. Only for a checkpoint, since it must be told that the weights are the same.
        progress: show a progress bar.
        report: called after every few runs with the share that is done, in [0, 1]; may raise to end the map. Of a map that is
            kept, all but the batch under way stays.

    Returns:
        Tidy: the labels of the checkpoint, `what`, `method`, `layer`, `head` and `position` (missing where all), `length`,
        `metric` (those of the prediction), `clean` and `value` (without and with the ablation), `difference` = value - clean on
        the same sequences, with its 95 % interval `difference_low` .. `difference_high` over sequences, and `sequences` (those
        with a legal next token at that length). Intervals: Poisson bootstrap of the paired differences, for rates Bonett and
        Price's of paired rates.

    Raises:
        ValueError: what, method, lengths, positions, sequences or seed out of range; no task; a model in training mode; kept
            parts of another map.
        CheckpointError: nothing to load there.
    """
    if what not in WHATS or method not in METHODS:
        raise ValueError(f"cannot ablate '{what}' by '{method}'; choose from {', '.join(WHATS)}, and from {', '.join(METHODS)}")
    require_whole("sequences", sequences, least=2)
    require_whole("sequences a batch", batch)
    studied = subject(model, task, weights, device, hooked=True)
    measured = _Map(studied, what, method, chosen_lengths(studied.possible_lengths, lengths), seed, positions)
    kept = None if keep is None else KeptParts(Path(keep), _settings(model, measured))
    summary = _Summary(measured.cells, measured.lengths)
    runs = sequences * len(measured.cells)
    with tqdm(total=runs, unit=" runs", desc=f"ablating {what}", disable=not progress) as bar:

        def done(before: int, more: int) -> None:
            bar.update(before + more - bar.n)
            report((before + more) / runs)

        for first in range(0, sequences, batch):
            last = min(first + batch, sequences)
            make = partial(measured.part, first, last, partial(done, first * len(measured.cells)))
            part = kept.get(f"sequences-{first:07d}-{last:07d}", make) if kept else make()
            summary.add(part, poisson_weights(seed, torch.arange(first, last), REPLICATES))
            done(last * len(measured.cells), 0)  # a kept part has told nothing
    return studied.named(summary.rows().assign(what=what, method=method)[list(COLUMNS)])


COLUMNS = (
    *("what", "method", "layer", "head", "position", "length", "metric"),
    *("clean", "value", "difference", "difference_low", "difference_high", "sequences"),
)


def _settings(model: Address, measured: "_Map") -> dict:
    """What kept parts must agree in."""
    studied = measured.subject
    if isinstance(model, HookedTransformer) or studied.sha256 is None:
        raise ValueError("only maps of a checkpoint can be kept, since a model in memory may change; give its path, or no keep")
    return {
        **computed_with(studied.device),
        "transformer_lens": TRANSFORMER_LENS,
        "weights_sha256": studied.sha256,
        "task": f"{studied.task.name}, {studied.task.vocab} tokens",
        "task_sha256": _task_sha256(studied.task),
        "what": measured.what,
        "method": measured.method,
        "lengths": list(measured.lengths),
        "positions": measured.positions and list(measured.positions),
        "seed": int(measured.seed),
        "references": REFERENCES,
        "metrics": list(POSITION_METRICS),
    }


def _task_sha256(task: Task) -> str:
    """Tells tasks apart that have a name and a vocabulary in common, such as brackets of two depths."""
    tokens = task.sequences(Draw.EVALUATION.stream(0), 0, TOLD_APART_BY)
    return hashlib.sha256(tokens.numpy().tobytes() + task.legal(tokens[:, : task.longest]).numpy().tobytes()).hexdigest()


class _Map:
    """What is measured, batch by batch. What many batches need is made when the first one needs it."""

    def __init__(
        self,
        studied: Subject,
        what: What,
        method: Method,
        lengths: tuple[int, ...],
        seed: int,
        positions: Collection[SupportsIndex] | None,
    ):
        assert isinstance(studied.model, HookedTransformer)
        self.subject, self.model = studied, studied.model
        self.what, self.method, self.lengths, self.seed = what, method, lengths, seed
        self.stream = Draw.EVALUATION.stream(seed)
        self.positions = None if positions is None else as_indices(positions, "position")
        if self.positions is not None:
            require_indices(self.positions, lengths[-1], "position")
        self.cells = cells_of(self.model, what, self.positions)
        self._replacement: Replacement | None = None

    def part(self, first: int, last: int, done: Callable[[int], None]) -> Part:
        """The metrics of sequences first .. last - 1, clean and for every cell, and where they are `present`.

        `done` is told every now and then how many runs of the batch are done.
        """
        tokens = self.subject.task.sequences(self.stream, first, last - first)[:, : self.lengths[-1]]
        at = torch.tensor(self.lengths) - 1
        legal = self.subject.task.legal(tokens)[:, at].to(self.subject.device)
        run = CleanRun(self.model, self._stand_in, tokens, self.what)
        if self._replacement is None:
            self._replacement = self._read_replacement(lambda: done(0))
        replacement, ablated, runs = self._replacement, [], 0
        for cells, logits in run.with_replaced(self.cells, lambda point, value: replacement.at(point, value, first)):
            together = rearrange(logits[:, :, at], "cell batch length vocab -> (cell batch) length vocab")
            values = _metrics(together, repeat(legal, "batch length vocab -> (cell batch) length vocab", cell=len(cells)))
            ablated.append(rearrange(values, "(cell batch) metric length -> batch cell metric length", cell=len(cells)))
            runs += len(cells) * len(tokens)
            done(runs)
        return {
            "clean": _metrics(run.logits[:, at], legal),
            "ablated": torch.cat(ablated, dim=1),
            "present": legal.any(-1).cpu(),
        }

    def _read_replacement(self, report: Callable[[], None]) -> Replacement:
        layers = range(self.model.cfg.n_layers)
        head = 0 if self.what == "heads" else None
        points = {site.point for at in layers for site in find_sites(self.model, component_name(self.what, at), head)}
        return read_replacement(self.model, points, self.method, self._reference, seed=self.seed, report=report)

    @cached_property
    def _reference(self) -> Int64[Tensor, "reference position"]:
        return self.subject.task.sequences(Draw.PROBES.stream(self.seed), 0, REFERENCES)[:, : self.lengths[-1]]

    @cached_property
    def _stand_in(self) -> Transformer | None:
        return plain_form(self.model, self._reference[:4].to(self.subject.device))


def _metrics(logits: Tensor, legal: Tensor) -> Float[Tensor, "batch metric length"]:
    values = position_metrics(logits, legal)
    return rearrange([values[name] for name in (*MEANS, *RATES)], "metric batch length -> batch metric length").cpu()


class _Summary:
    """Sums over sequences: of the clean metrics, and of the paired differences of every cell."""

    def __init__(self, cells: Sequence[Cell], lengths: Sequence[int]):
        self._cells, self._lengths = cells, lengths
        self._clean = torch.zeros(len(MEANS) + len(RATES), len(lengths), dtype=torch.float64)
        self._means = BootstrapMeans(len(cells) * len(MEANS), len(lengths))
        self._rates = DiscordantPairs(len(cells) * len(RATES), len(lengths))

    def add(self, part: Part, weights: Float[Tensor, "batch replicate"]) -> None:
        """Adds a batch of sequences."""
        clean, ablated, present = part["clean"], part["ablated"], part["present"]
        absent = rearrange(~present, "batch length -> batch 1 length")
        self._clean += clean.masked_fill(absent, 0).sum(dim=0)
        flat = "batch cell metric length -> batch (cell metric) length"
        pairs = clean[:, None].expand_as(ablated)
        means, rates = slice(None, len(MEANS)), slice(len(MEANS), None)
        self._means.add(rearrange((ablated - pairs)[:, :, means], flat), present, weights)
        self._rates.add(rearrange(ablated[:, :, rates], flat), rearrange(pairs[:, :, rates], flat), present)

    def rows(self) -> pd.DataFrame:
        """One row a cell, metric and length."""
        count = self._means.count.numpy()
        with np.errstate(invalid="ignore", divide="ignore"):
            rate = (self._rates.only_first - self._rates.only_second).numpy() / count
            clean = self._clean.numpy() / count
        intervals = percentile_interval(self._means.replicate_means()), self._rates.interval(count)
        columns = {"difference": (self._means.means(), rate)}
        columns |= {f"difference_{end}": (intervals[0][at], intervals[1][at]) for at, end in enumerate(("low", "high"))}
        keys = pd.MultiIndex.from_product(
            [range(len(self._cells)), (*MEANS, *RATES), self._lengths], names=["cell", "metric", "length"]
        )
        frame = keys.to_frame(index=False)
        for name, (means, rates) in columns.items():
            frame[name] = np.concatenate([self._by_cell(means), self._by_cell(rates)], axis=1).ravel()
        shape = (len(self._cells), *clean.shape)
        frame["clean"], frame["sequences"] = np.broadcast_to(clean, shape).ravel(), np.broadcast_to(count, shape).ravel()
        frame["value"] = frame["clean"] + frame["difference"]
        for axis in ("layer", "head", "position"):
            frame[axis] = pd.array([getattr(self._cells[at], axis) for at in frame["cell"]], dtype="Int64")
        return frame

    def _by_cell(self, values: Float[np.ndarray, "cell_metric length"]) -> Float[np.ndarray, "cell metric length"]:
        return rearrange(values, "(cell metric) length -> cell metric length", cell=len(self._cells))
