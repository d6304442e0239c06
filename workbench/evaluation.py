"""Evaluation: every metric at every length, with intervals over sequences, streamed.

All lengths come from one causal forward pass of the longest input: the prediction at index s - 1 has seen s tokens. Sequences
are drawn from a stream that no training run can have seen, and are the same for every model, so that differences are paired.
What is compared with what is `comparison`'s business, not this file's.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor
from tqdm.auto import tqdm

from models.config import WeightsName
from models.lengths import chosen_lengths
from models.streams import Draw, require_seed
from models.task import Task
from models.whole_numbers import require_whole
from probes.residual_stream import Model, device_of
from probes.row_entropy import logits_and_entropy
from probes.subject import Address, subject
from workbench.comparison_table import ROW, with_labels
from workbench.intervals import (
    REPLICATES,
    BootstrapMeans,
    DiscordantPairs,
    exact_binomial_interval,
    percentile_interval,
    poisson_weights,
)
from workbench.metrics import METRICS, dispersion_metrics, position_metrics

SEQUENCES = 2000
BATCH = 128
SMALL_MODEL = 2_000_000
"""Parameters below which a model is evaluated on one thread."""
MEANS = tuple(name for name, metric in METRICS.items() if not metric.rate)
RATES = tuple(name for name, metric in METRICS.items() if metric.rate)


def evaluate(
    model: Address,
    task: Task | None = None,
    lengths: Sequence[int] | None = None,
    sequences: int = SEQUENCES,
    seed: int = 0,
    *,
    weights: WeightsName = "raw",
    device: torch.device | str = "cpu",
    batch: int = BATCH,
    progress: bool = False,
) -> pd.DataFrame:
    """Every metric of a model at every length, with 95 % intervals over sequences.

    Args:
        model: a hooked or plain model in eval mode, or a checkpoint folder, run or bundled name to load it from.
        task: the task; None for the one on the checkpoint's card.
        lengths: the lengths to report; None for all from 1 to the task's longest, or to the model's context if that is less.
        sequences: how many sequences to draw. Memory does not depend on it.
        seed: which sequences, and which bootstrap weights, in 0 .. 2**32 - 1.
        weights: which weights of a checkpoint to load; of no effect on a model that is already loaded.
        device: where a checkpoint is loaded to; of no effect on a model that is already loaded.
        batch: sequences a forward pass; of no effect on the results but for rounding.
        progress: show a progress bar.

    Returns:
        One row a length and metric, with columns `table.COLUMNS`. `sequences` counts those with a legal next token there;
        others are left out, and where there are none the value is NaN. Intervals: exact binomial for rates, Poisson bootstrap
        for means (NaN for fewer than two sequences).

    Raises:
        ValueError: lengths, sequences or seed out of range; no task; a task of another vocabulary; a model in training mode.
        CheckpointError: nothing to load there.
    """
    require_whole("sequences", sequences)
    require_whole("sequences a batch", batch)
    require_seed(seed)
    studied = subject(model, task, weights, device)
    chosen = chosen_lengths(studied.possible_lengths, lengths)
    with tqdm(total=sequences, unit=" sequences", disable=not progress) as bar:
        summaries, _ = evaluate_together([studied.model], [chosen], studied.task, [], sequences, seed, batch, bar)
    return with_labels(summaries[0].rows(), studied.labels)


def as_json(frame: pd.DataFrame, sequences: int) -> dict:
    """The frame of one `evaluate` as plain JSON data: lists by length for every metric; what is not defined is None.

    Args:
        frame: rows of one model.
        sequences: how many sequences were drawn; `sequences_at_length` tells how many of them had a legal next token.
    """
    tables = {column: frame.pivot(index="length", columns="metric", values=column) for column in ROW[2:]}
    lists = {
        column: {name: [None if not np.isfinite(v) else float(v) for v in table[name]] for name in METRICS}
        for column, table in tables.items()
    }
    return {
        "lengths": [int(length) for length in tables["value"].index],
        "metrics": lists["value"],
        "ci_low": lists["ci_low"],
        "ci_high": lists["ci_high"],
        "weights": frame["weights"].iloc[0],
        "sequences": sequences,
        "sequences_at_length": [int(n) for n in tables["sequences"][next(iter(METRICS))]],
    }


@dataclass
class Summary:
    """What is kept of one model's evaluation: sums by length."""

    lengths: tuple[int, ...]
    means: BootstrapMeans
    rates: Float[Tensor, "rate length"]

    @classmethod
    def empty(cls, lengths: Sequence[int]) -> "Summary":
        """Before the first batch."""
        n = len(lengths)
        return cls(tuple(lengths), BootstrapMeans(len(MEANS), n), torch.zeros(len(RATES), n, dtype=torch.float64))

    def add(self, values: dict[str, Tensor], present: Bool[Tensor, "batch length"], weights: Tensor) -> None:
        """Adds a batch of measured sequences."""
        self.means.add(_stack(values, MEANS), present, weights)
        absent = rearrange(~present, "batch length -> batch 1 length")
        self.rates += _stack(values, RATES).masked_fill(absent, 0).sum(dim=0)

    def rows(self) -> pd.DataFrame:
        """One row a metric and length, with columns `ROW`."""
        count = self.means.count.numpy()
        rates = self.rates.numpy()
        with np.errstate(invalid="ignore"):
            value = np.concatenate([self.means.means(), rates / count])
        intervals = percentile_interval(self.means.replicate_means()), exact_binomial_interval(rates, count)
        low, high = (np.concatenate(bounds) for bounds in zip(*intervals, strict=True))
        present = np.broadcast_to(count, value.shape)
        return _table(MEANS + RATES, self.lengths, value=value, ci_low=low, ci_high=high, sequences=present)


@dataclass
class Difference:
    """The paired difference, first - second, of two models that were evaluated together."""

    first: Summary
    second: Summary
    discordant: DiscordantPairs

    def rows(self) -> pd.DataFrame:
        """One row a metric and length: `difference`, `difference_low`, `difference_high`."""
        count = self.first.means.count.numpy()
        with np.errstate(invalid="ignore"):
            rates = (self.first.rates - self.second.rates).numpy() / count
            means = self.first.means.means() - self.second.means.means()
            replicates = self.first.means.replicate_means() - self.second.means.replicate_means()
        intervals = percentile_interval(replicates), self.discordant.interval(count)
        low, high = (np.concatenate(bounds) for bounds in zip(*intervals, strict=True))
        value = np.concatenate([means, rates])
        return _table(MEANS + RATES, self.first.lengths, difference=value, difference_low=low, difference_high=high)


def evaluate_together(
    models: Sequence[Model],
    lengths: Sequence[Sequence[int]],
    task: Task,
    pairs: Sequence[tuple[int, int]],
    sequences: int,
    seed: int,
    batch: int,
    bar: tqdm,
) -> tuple[list[Summary], list[Difference]]:
    """Evaluates models on the same sequences, batch by batch, and the differences models[i] - models[j] of `pairs` (i, j).

    Memory: the models, and a table of bootstrap sums for each. `lengths` are increasing, one list for each model and the same
    for the two of a pair. `bar` advances by one for every sequence and model.
    """
    summaries = [Summary.empty(chosen) for chosen in lengths]
    differences = [
        Difference(summaries[i], summaries[j], DiscordantPairs(len(RATES), len(summaries[i].lengths))) for i, j in pairs
    ]
    longest = max(length for summary in summaries for length in summary.lengths)
    with _threads_for(models):
        for tokens, legal, weights in _batches(task, Draw.EVALUATION.stream(seed), seed, sequences, batch, longest):
            measured = []
            for model, summary in zip(models, summaries, strict=True):
                at = torch.tensor(summary.lengths) - 1
                values = {name: value[:, at] for name, value in _measure(model, tokens, legal, max(summary.lengths)).items()}
                summary.add(values, legal[:, at].any(dim=-1), weights)
                measured.append(values)
                bar.update(len(tokens))
            for (i, j), difference in zip(pairs, differences, strict=True):
                at = torch.tensor(difference.first.lengths) - 1
                difference.discordant.add(_stack(measured[i], RATES), _stack(measured[j], RATES), legal[:, at].any(dim=-1))
    return summaries, differences


@contextmanager
def _threads_for(models: Sequence[Model]) -> Iterator[None]:
    """One torch thread for small models: on a busy machine, waiting for the others takes ten times as long as the work."""
    before = torch.get_num_threads()
    if max(sum(parameter.numel() for parameter in model.parameters()) for model in models) < SMALL_MODEL:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _batches(
    task: Task, stream: int, seed: int, sequences: int, batch: int, longest: int
) -> Iterator[tuple[Int64[Tensor, "batch position"], Bool[Tensor, "batch position vocab"], Float[Tensor, "batch replicate"]]]:
    for start in range(0, sequences, batch):
        count = min(batch, sequences - start)
        tokens = task.sequences(stream, start, count)[:, :longest]
        yield tokens, task.legal(tokens), poisson_weights(seed, torch.arange(start, start + count), REPLICATES)


def _measure(
    model: Model, tokens: Int64[Tensor, "batch position"], legal: Bool[Tensor, "batch position vocab"], longest: int
) -> dict[str, Float[Tensor, "batch position"]]:
    """Every metric at lengths 1 .. longest, on the CPU in float64."""
    logits, entropy = logits_and_entropy(model, tokens[:, :longest].to(device_of(model)))
    metrics = position_metrics(logits, legal[:, :longest].to(logits.device)) | dispersion_metrics(entropy)
    return {name: value.double().cpu() for name, value in metrics.items()}


def _stack(values: dict[str, Tensor], names: Sequence[str]) -> Float[Tensor, "batch metric length"]:
    return rearrange([values[name] for name in names], "metric batch length -> batch metric length")


def _table(metrics: Sequence[str], lengths: Sequence[int], **columns: Shaped[np.ndarray, "metric length"]) -> pd.DataFrame:
    index = pd.MultiIndex.from_product([metrics, lengths], names=["metric", "length"])
    frame = pd.DataFrame({name: values.ravel() for name, values in columns.items()}, index=index)
    return frame.reindex(list(METRICS), level="metric").reset_index()
