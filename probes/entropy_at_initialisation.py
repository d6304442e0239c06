"""Entropy collapse at initialisation: how spread is attention before any training, and at what scale of weights is it not?

Untrained attention is close to uniform, so that training has to sharpen it; with larger query and key weights it collapses onto
single tokens, which is known to make training unstable (Zhai et al. 2023, arXiv 2303.06296). Where a shape of model lies
between the two is read off here.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import torch
from einops import einsum, reduce
from jaxtyping import Float64
from torch import Tensor

from models.config import WeightsName
from models.streams import require_seed
from models.task import Task
from models.whole_numbers import require_whole
from probes.clustered_means import ClusteredMeans
from probes.drawn_sequences import drawn_sequences
from probes.residual_stream import Model
from probes.row_entropy import logits_and_entropy, normalised
from probes.subject import Address, Subject, subject, untrained

SCALES = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
SEEDS = 8
SEQUENCES = 100
BATCH = 64


def entropy_at_initialisation(
    model: Address,
    task: Task | None = None,
    scales: Sequence[float] = SCALES,
    seeds: int = SEEDS,
    sequences: int = SEQUENCES,
    seed: int = 0,
    *,
    weights: WeightsName = "raw",
    device: torch.device | str = "cpu",
    batch: int = BATCH,
    progress: bool = False,
) -> pd.DataFrame:
    """Normalised dispersion of untrained models of a shape, with query and key weights scaled, by layer and length.

    Args:
        model: whose shape is taken: a checkpoint folder, run or bundled name, or a hooked model with a card.
        task: the task; None for the one on the card.
        scales: what W_Q and W_K are multiplied by, each > 0; attention logits grow with the square. 1 is how training starts.
        seeds: how many initialisations, at least 2.
        sequences: how many sequences each sees.
        seed: which sequences, in 0 .. 2**32 - 1, and the first of the seeds of initialisation.
        weights: which weights of a checkpoint to load; their values do not matter.
        device: where the models are made.
        batch: sequences a forward pass.
        progress: show a progress bar a model.

    Returns:
        Tidy: the labels of the checkpoint, `scale`, `layer` (block, from 0), `length` (from 2), `metric`
        "normalised_dispersion", `value` in [0, 1] (mean over heads, sequences and initialisations; 1 is uniform attention, 0
        one-hot), `ci_low`, `ci_high` (over initialisations), `sequences` (here: initialisations).

    Raises:
        ValueError: a model without a card or task, or in training mode; a scale <= 0; under two seeds; a seed out of range.
        CheckpointError: nothing to load there.
    """
    require_seed(seed)
    for scale in scales:
        if not scale > 0:
            raise ValueError(
                f"scale {scale} switches attention off or over, expected a value > 0; use 1 for how training starts"
            )
    require_whole("initialisations", seeds, least=2)
    studied = subject(model, task, weights, device)
    layers, lengths = studied.shape.layers, range(2, studied.longest + 1)
    frames = []
    for scale in scales:
        means = ClusteredMeans(layers, len(lengths))
        for initial in range(seed, seed + seeds):
            start = untrained(studied, initial)
            _scale_queries_and_keys(start.model, scale)
            mean = _mean_dispersion(start, sequences, seed, batch, progress)[None, :, 1:]
            means.add(mean, torch.ones_like(mean))
        frames.append(means.frame("normalised_dispersion", layer=range(layers), length=lengths).assign(scale=scale))
    frame = pd.concat(frames, ignore_index=True)
    return studied.named(frame[["scale", "layer", "length", "metric", "value", "ci_low", "ci_high", "sequences"]])


def _mean_dispersion(
    start: Subject, sequences: int, seed: int, batch: int, progress: bool
) -> Float64[Tensor, "layer position"]:
    """Mean over heads and sequences of normalised dispersion."""
    total = torch.zeros(start.shape.layers, start.longest, dtype=torch.float64)
    count = torch.zeros(start.longest, dtype=torch.float64)
    for drawn in drawn_sequences(start, sequences, seed, batch, progress, "attention at initialisation"):
        share = normalised(logits_and_entropy(start.model, drawn.tokens)[1]).double()
        there = drawn.present.double()
        over_heads = reduce(share, "batch position layer head -> batch position layer", "mean")
        total += einsum(over_heads, there, "batch position layer, batch position -> layer position").cpu()
        count += reduce(there, "batch position -> position", "sum").cpu()
    return total / count


@torch.no_grad()
def _scale_queries_and_keys(model: Model, scale: float) -> None:
    for block in model.blocks:
        attention: Any = block.attn
        attention.W_Q.mul_(scale)
        attention.W_K.mul_(scale)
