"""Can the nesting depth be read off the residual stream of a bracket model? A linear reading, by layer and length.

For: the state that the bracket task asks a model to keep, as the board is Othello's. Not for: which kinds are open.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import one_hot
from tqdm.auto import tqdm

from models.brackets import BracketTask
from models.config import WeightsName
from probes.clustered_means import ClusteredMeans
from probes.drawn_sequences import PROBE_STREAM, batches, require_seed
from probes.linear_probe import Moments, least_squares
from probes.residual_stream import Stream, layers_of, read_streams, width_of
from probes.subject import Address, Subject, subject, untrained

FIT, TEST, BATCH = 500, 300, 64
Reading = Sequence[tuple[Float[Tensor, "width depth"], Float[Tensor, "depth"]]]
"""Weight and bias of each layer."""


@dataclass(frozen=True)
class Split:
    """Which sequences of a seed's stream a probe is fitted on, and which others it is measured on."""

    seed: int
    fit: int
    test: int
    batch: int
    progress: bool


def bracket_depth(
    model: Address,
    fit_sequences: int = FIT,
    test_sequences: int = TEST,
    seed: int = 0,
    *,
    weights: WeightsName = "raw",
    device: torch.device | str = "cpu",
    batch: int = BATCH,
    progress: bool = False,
) -> pd.DataFrame:
    """Accuracy of the depth read by least squares onto the indicators of the depths, fitted on other sequences.

    Args:
        model: a checkpoint folder, run or bundled name, or a hooked model in eval mode, of the bracket task.
        fit_sequences: sequences to fit on, >= 2; all positions of each.
        test_sequences: other sequences to measure on, >= 2.
        seed: which sequences, in 0 .. 2**32 - 1, and the initial weights of the control.
        weights: which weights of a checkpoint; no effect on a loaded model, as has `device`.
        device: where a checkpoint is loaded to.
        batch: sequences a forward pass.
        progress: show a progress bar.

    Returns:
        Tidy: the labels of the checkpoint, `control`, `layer` (0 embedding, l after block l; missing for guesses), `length`,
        `metric` ("accuracy", the share of sequences whose depth is read right), `value`, `ci_low`, `ci_high` (over
        sequences), `sequences`. Controls: "random weights"; "shuffled labels", fitted to the depth of another sequence at the
        same length; "guess by length", the most frequent depth there.

    Raises:
        ValueError: a model in training mode or of another task; too few sequences; a seed out of range.
        CheckpointError: nothing to load there.
    """
    require_seed(seed)
    if min(fit_sequences, test_sequences) < 2:
        raise ValueError(f"{min(fit_sequences, test_sequences)} sequences are too few, expected at least 2; ask for more")
    studied = subject(model, None, weights, device)
    if not isinstance(studied.task, BracketTask):
        raise ValueError(f"the checkpoint was trained on {studied.task.name}, and this probe reads bracket models; choose one")
    split = Split(seed, fit_sequences, test_sequences, batch, progress)
    frames = [_accuracy(studied, _fit(studied, split), split, "none")]
    frames.append(_accuracy(studied, _fit(studied, split, shuffled=True), split, "shuffled labels"))
    if studied.has_shape:
        random = untrained(studied, seed)
        frames.append(_accuracy(random, _fit(random, split), split, "random weights"))
    frames.append(_guess(studied, split))
    return studied.named(pd.concat(frames, ignore_index=True).astype({"layer": "Int64"}))


def _depths(studied: Subject) -> int:
    assert isinstance(studied.task, BracketTask)
    return studied.task.depth + 1


def _drawn(studied: Subject, start: int, stop: int, split: Split) -> Iterator[tuple[Tensor, Int64[Tensor, "batch position"]]]:
    task = studied.task
    assert isinstance(task, BracketTask)
    with tqdm(total=stop - start, unit=" sequences", desc="bracket depth", disable=not split.progress) as bar:
        for first, last in batches(start, stop, split.batch):
            tokens = task.sequences(PROBE_STREAM + split.seed, first, last - first)[:, : studied.longest]
            yield tokens.to(studied.device), task.depths(tokens).to(studied.device)
            bar.update(last - first)


def _fit(studied: Subject, split: Split, shuffled: bool = False) -> Reading:
    layers = layers_of(studied.model)
    depths = _depths(studied)
    moments = Moments(len(layers), width_of(studied.model), depths, studied.device)
    for tokens, depth in _drawn(studied, 0, split.fit, split):
        target = one_hot((depth.roll(1, dims=0) if shuffled else depth).flatten(), depths).float()

        def add(layer: int, stream: Stream, target: Tensor = target) -> None:
            moments.add(layer, stream.flatten(0, 1), target)

        read_streams(studied.model, tokens, add)
    fits = [least_squares(moments, layer)[:2] for layer in layers]
    return [(weight.float(), bias.float()) for weight, bias in fits]


def _accuracy(studied: Subject, reading: Reading, split: Split, control: str) -> pd.DataFrame:
    layers = layers_of(studied.model)
    means = ClusteredMeans(len(layers), studied.longest)
    for tokens, depth in _drawn(studied, split.fit, split.fit + split.test, split):

        def score(layer: int, stream: Stream, depth: Tensor = depth) -> None:
            weight, bias = reading[layer]
            right = ((stream @ weight + bias).argmax(-1) == depth).double()
            means.add(right, torch.ones_like(right), layer)

        read_streams(studied.model, tokens, score)
    axes = dict(layer=layers, length=range(1, studied.longest + 1))
    return means.frame("accuracy", shares=True, **axes).assign(control=control)


def _guess(studied: Subject, split: Split) -> pd.DataFrame:
    counts = sum(one_hot(depth, _depths(studied)).sum(0) for _, depth in _drawn(studied, 0, split.fit, split))
    guess = torch.as_tensor(counts).argmax(-1)
    means = ClusteredMeans(studied.longest)
    for _, depth in _drawn(studied, split.fit, split.fit + split.test, split):
        right = (guess == depth).double()
        means.add(right, torch.ones_like(right))
    return means.frame("accuracy", shares=True, length=range(1, studied.longest + 1)).assign(control="guess by length")
