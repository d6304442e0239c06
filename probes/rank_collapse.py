"""Rank collapse: do the residual streams of a sequence become alike, layer by layer?

Measure: mean cosine between the streams of two positions of one sequence, over all pairs among the first s positions. 1 means
that all point one way, which attention layers without skip connections come to exponentially fast (Dong, Cordonnier and Loukas
2021, arXiv 2103.03404); 0 is what independent directions of zero mean give.
"""

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from models.config import WeightsName
from models.task import Task
from probes.clustered_means import ClusteredMeans
from probes.drawn_sequences import Drawn, drawn_sequences
from probes.residual_stream import Stream, layers_of, read_streams
from probes.subject import Address, Subject, subject, untrained

SEQUENCES = 500
BATCH = 64


def rank_collapse(
    model: Address,
    task: Task | None = None,
    sequences: int = SEQUENCES,
    seed: int = 0,
    *,
    weights: WeightsName = "raw",
    device: torch.device | str = "cpu",
    batch: int = BATCH,
    progress: bool = False,
) -> pd.DataFrame:
    """Mean pairwise cosine of the residual streams of a sequence, by layer and length, beside that of untrained weights.

    Args:
        model: a checkpoint folder, run or bundled name, or a hooked model in eval mode.
        task: the task; None for the one on the card.
        sequences: how many sequences; memory does not depend on it.
        seed: which sequences, in 0 .. 2**32 - 1, and the seed of the untrained weights.
        weights: which weights of a checkpoint; no effect on a loaded model, as has `device`.
        device: where a checkpoint is loaded to.
        batch: sequences a forward pass.
        progress: show a progress bar.

    Returns:
        Tidy: the labels of the checkpoint, `control` ("none" or "random weights"; the latter only for a model whose shape is
        known from a card), `layer` (0 the embedding, l after block l), `length` (from 2), `metric` "cosine", `value` in
        [-1/(s-1), 1], `ci_low`, `ci_high` (over sequences), `sequences`. A stream of length 0 counts as at right angles to all.

    Raises:
        ValueError: a model in training mode, without a task, of another vocabulary; too few sequences.
        CheckpointError: nothing to load there.
    """
    studied = subject(model, task, weights, device)
    drawing = (sequences, seed, batch, progress)
    frames = [_of_model(studied, *drawing).assign(control="none")]
    if studied.has_shape:
        frames.append(_of_model(untrained(studied, seed), *drawing).assign(control="random weights"))
    frame = pd.concat(frames, ignore_index=True)
    return studied.named(frame[["control", "layer", "length", "metric", "value", "ci_low", "ci_high", "sequences"]])


def pairwise_cosine(stream: Stream) -> Float[Tensor, "batch position"]:
    """At index s - 1 the mean cosine over all pairs of the first s positions; 0 at s = 1, which has no pair.

    The sum over pairs is (|sum of unit vectors|^2 - number of unit vectors) / 2, so that no pair is formed.
    """
    unit = torch.nn.functional.normalize(stream.double(), dim=-1)
    count = (unit * unit).sum(-1).cumsum(-1)  # a zero vector is no unit vector
    total = unit.cumsum(1).square().sum(-1)
    length = torch.arange(1, stream.shape[1] + 1, device=stream.device)
    return (total - count) / (length * (length - 1)).clamp(min=1)


def _of_model(studied: Subject, sequences: int, seed: int, batch: int, progress: bool) -> pd.DataFrame:
    layers = layers_of(studied.model)
    means = ClusteredMeans(len(layers), studied.longest - 1)
    for drawn in drawn_sequences(studied, sequences, seed, batch, progress, "rank collapse"):
        read_streams(studied.model, drawn.tokens, _adding_to(means, drawn))
    return means.frame("cosine", layer=layers, length=range(2, studied.longest + 1))


def _adding_to(means: ClusteredMeans, drawn: Drawn):
    present = drawn.present[:, 1:]

    def read(layer: int, stream: Stream) -> None:
        means.add(pairwise_cosine(stream)[:, 1:].masked_fill(~present, 0), present.double(), layer)

    return read
