"""Attention dispersion of every head at every length: streamed means, quantiles and intervals; no pattern is kept.

For: how widely each head spreads its attention as inputs grow, of both organisms, with the controls that give the numbers their
scale. The row statistics themselves are in `row_entropy.py`. Layers are TransformerLens's blocks, from 0.
"""

from collections.abc import Collection
from typing import Literal, get_args

import pandas as pd
import torch
from einops import rearrange, repeat
from jaxtyping import Bool, Float
from torch import Tensor

from models.config import WeightsName
from models.task import Task
from probes.attention_pattern import Pattern, Read, heads_of, reading_patterns
from probes.clustered_means import ClusteredMeans
from probes.drawn_sequences import drawn_sequences
from probes.row_entropy import effective_tokens, normalised, row_entropy
from probes.streamed_quantiles import StreamedQuantiles
from probes.subject import Address, Subject, subject, untrained

Control = Literal["random weights", "uniform attention", "one-hot attention"]
CONTROLS: tuple[Control, ...] = get_args(Control)
METRICS = ("dispersion", "normalised_dispersion", "effective_tokens", "top_weight")
QUANTILES = {"q05": 0.05, "q25": 0.25, "q50": 0.5, "q75": 0.75, "q95": 0.95}
SEQUENCES = 500
BATCH = 64

Rows = Float[Tensor, "batch head position"]


class DispersionSummary:
    """Running statistics of attention rows, one cell for each layer, head and length."""

    def __init__(self, layers: int, heads: int, longest: int):
        """Memory does not depend on the number of sequences: two histograms of 512 bins and 24 sums a cell."""
        self._shape = (layers, heads, longest)
        self._means = {name: ClusteredMeans(*self._shape) for name in METRICS}
        # entropy, normalised entropy and effective tokens are functions of each other at a given length, so share a histogram
        self._quantiles = {name: StreamedQuantiles(*self._shape) for name in ("normalised_dispersion", "top_weight")}

    def add(self, layer: int, entropy: Rows, top: Rows, present: Bool[Tensor, "batch position"]) -> None:
        """Adds a batch of one layer's rows: their entropies in nats and their greatest weights."""
        by_position = normalised(rearrange(entropy, "batch head position -> batch position head"))
        share = rearrange(by_position, "batch position head -> batch head position")
        values = {
            "dispersion": entropy,
            "normalised_dispersion": share,
            "effective_tokens": effective_tokens(entropy),
            "top_weight": top,
        }
        there = repeat(present, "batch position -> batch head position", head=entropy.shape[1])
        for name, value in values.items():
            self._means[name].add(value.masked_fill(~there, 0), there.double(), layer)
        for name, histogram in self._quantiles.items():
            histogram.add(values[name], there, layer)

    def frame(self) -> pd.DataFrame:
        """One row a metric, layer, head and length: `value` (mean), `ci_low`, `ci_high`, `q05` .. `q95`, `sequences`.

        The error of a quantile is at most 1/512 of the metric's range at that length: of ln s for `dispersion`, of 1 for
        `normalised_dispersion` and `top_weight`; for `effective_tokens` it is a factor of s^(1/512).
        """
        layers, heads, longest = (range(size) for size in self._shape)
        lengths = range(1, len(longest) + 1)
        logarithm = torch.arange(1, len(longest) + 1).double().log().numpy()
        frames = []
        for name, means in self._means.items():
            frame = means.frame(name, layer=layers, head=heads, length=lengths)
            histogram = self._quantiles["top_weight" if name == "top_weight" else "normalised_dispersion"]
            for column, share in QUANTILES.items():
                quantile = histogram.quantile(share)
                if name in ("dispersion", "effective_tokens"):
                    quantile = quantile * logarithm
                frame[column] = (torch.from_numpy(quantile).exp().numpy() if name == "effective_tokens" else quantile).ravel()
            frames.append(frame)
        return pd.concat(frames, ignore_index=True)


def dispersion(
    model: Address,
    task: Task | None = None,
    sequences: int = SEQUENCES,
    seed: int = 0,
    controls: Collection[Control] = CONTROLS,
    *,
    weights: WeightsName = "raw",
    device: torch.device | str = "cpu",
    batch: int = BATCH,
    progress: bool = False,
) -> pd.DataFrame:
    """How widely each attention row spreads, by layer, head and length, over random inputs.

    Args:
        model: a checkpoint folder, run or bundled name, or a hooked model in eval mode.
        task: the task; None for the one on the card.
        sequences: how many sequences; memory does not depend on it.
        seed: which sequences, in 0 .. 2**32 - 1.
        controls: random weights: the same shape of model, untrained; uniform attention and one-hot attention: rows made up
            for scale, through the same arithmetic, whose normalised dispersion is 1 and 0 (from length 2 on).
        weights: which weights of a checkpoint; no effect on a loaded model, as has `device`.
        device: where a checkpoint is loaded to.
        batch: sequences a forward pass; no effect on the results but for rounding.
        progress: show a progress bar.

    Returns:
        Tidy: the labels of the checkpoint, `control` ("none" for the model itself), `layer` (block, from 0), `head`, `length`,
        `metric`, `value`, `ci_low`, `ci_high` (over sequences), quantiles `q05`, `q25`, `q50`, `q75`, `q95`, `sequences` (those
        with a legal next token at that length). Metrics: `dispersion` in nats, [0, ln s]; `normalised_dispersion`, [0, 1],
        0 at s = 1; `effective_tokens` = exp(dispersion), [1, s]; `top_weight`, the greatest weight, [1/s, 1]. Made-up rows
        have no layer or head.

    Raises:
        ValueError: a model in training mode, without a task, of another vocabulary; an unknown control; too few sequences.
        CheckpointError: nothing to load there.
    """
    for control in controls:
        if control not in CONTROLS:
            raise ValueError(f"control '{control}' is unknown; choose from {', '.join(CONTROLS)}")
    studied = subject(model, task, weights, device)
    drawing = (sequences, seed, batch, progress)
    frames = {"none": _of_model(studied, *drawing)}
    if "random weights" in controls:
        frames["random weights"] = _of_model(untrained(studied, seed), *drawing)
    for control in ("uniform attention", "one-hot attention"):
        if control in controls:
            frames[control] = _made_up(control, studied.longest)
    frame = pd.concat([rows.assign(control=control) for control, rows in frames.items()], ignore_index=True)
    columns = ["control", "layer", "head", "length", "metric", "value", "ci_low", "ci_high", *QUANTILES, "sequences"]
    frame = frame.astype({"layer": "Int64", "head": "Int64"})
    return studied.named(frame[columns])


def _of_model(studied: Subject, sequences: int, seed: int, batch: int, progress: bool) -> pd.DataFrame:
    model = studied.model
    summary = DispersionSummary(len(model.blocks), heads_of(model), studied.longest)
    for drawn in drawn_sequences(studied, sequences, seed, batch, progress, "attention dispersion"):
        with torch.no_grad(), reading_patterns(model, _adding_to(summary, drawn.present)):
            model(drawn.tokens)
    return summary.frame()


def _adding_to(summary: DispersionSummary, present: Bool[Tensor, "batch position"]) -> Read:
    def read(layer: int, pattern: Pattern) -> None:
        summary.add(layer, *_rows(pattern), present)

    return read


def _rows(pattern: Pattern) -> tuple[Rows, Rows]:
    """Entropy and greatest weight of each row; head by head, so that no second array of the pattern's size is made."""
    entropies = [row_entropy(pattern[:, head]) for head in range(pattern.shape[1])]
    return torch.stack(entropies, dim=1), pattern.amax(dim=-1)


def _made_up(control: Control, longest: int) -> pd.DataFrame:
    lower = torch.ones(longest, longest).tril()
    pattern = lower / lower.sum(-1, keepdim=True) if control == "uniform attention" else torch.eye(longest)
    summary = DispersionSummary(1, 1, longest)
    summary.add(0, *_rows(pattern[None, None].expand(2, 1, -1, -1)), torch.ones(2, longest, dtype=torch.bool))
    frame = summary.frame()
    return frame.assign(layer=pd.array([pd.NA] * len(frame), "Int64"), head=pd.array([pd.NA] * len(frame), "Int64"))
