"""Is the nesting depth in the residual stream of a bracket model, and how strongly, at every length?

For: the state that the bracket task asks a model to keep, as the board is Othello's. Attention without positions can hold
(openings - closings) / s, the depth divided by the length: so each length has a reading of its own, which asks whether the
depth is there, and the reading of the training length, taken to other lengths, asks how strong it is there (1 / s by that
account: attention dispersion). Not for: which kinds of brackets are open.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from tqdm.auto import tqdm

from models.brackets import BracketTask
from models.config import WeightsName
from models.streams import Draw, require_seed
from models.whole_numbers import require_whole
from probes.clustered_means import ClusteredMeans, Z
from probes.drawn_sequences import batches
from probes.linear_probe import RIDGE, with_penalty
from probes.residual_stream import Stream, read_streams
from probes.subject import Address, Subject, subject, untrained

FIT, TEST, BATCH = 1000, 500, 64


@dataclass(frozen=True)
class Read:
    """The streams of some sequences and the depths there."""

    streams: Float[Tensor, "layer sequence position width"]
    depths: Int64[Tensor, "sequence position"]


@dataclass(frozen=True)
class Readings:
    """A linear reading of the depth for each layer and length: stream @ weight + bias."""

    weight: Float[Tensor, "layer position width"]
    bias: Float[Tensor, "layer position"]


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
    """Accuracy and strength of the depth read by least squares, by layer and length, measured on other sequences.

    Args:
        model: a checkpoint folder, run or bundled name, or a hooked model in eval mode, of the bracket task.
        fit_sequences: sequences to fit on, >= 2.
        test_sequences: other sequences to measure on, >= 2.
        seed: which sequences, in 0 .. 2**32 - 1, and the initial weights of the control.
        weights: which weights of a checkpoint; no effect on a loaded model, as has `device`.
        device: where a checkpoint is loaded to.
        batch: sequences a forward pass.
        progress: show a progress bar.

    The streams of all sequences are held at once: 4 bytes a number, so 0.1 GB for 1,500 sequences of the default model.

    Returns:
        Tidy: the labels of the checkpoint, `control`, `layer` (0 embedding, l after block l; missing for guesses), `length`,
        `metric`, `value`, `ci_low`, `ci_high` (95 %, over sequences), `sequences`. Metrics: "accuracy", the share of sequences
        whose depth is the nearest to the reading among those that the length allows (depth and length are both odd or both
        even); "signal", by how much the reading of the training length grows per unit of depth (1 where it reads right;
        missing where the depth does not vary or the training length is unknown). Controls: "random weights"; "shuffled
        labels", fitted to the depths of another sequence; "guess by length", the most frequent depth there.

    Raises:
        ValueError: a model in training mode or of another task; too few sequences; a seed out of range.
        CheckpointError: nothing to load there.
    """
    require_seed(seed)
    require_whole("sequences to fit", fit_sequences, least=2)
    require_whole("sequences to test", test_sequences, least=2)
    studied = subject(model, None, weights, device)
    if not isinstance(studied.task, BracketTask):
        raise ValueError(f"the checkpoint was trained on {studied.task.name}, and this probe reads bracket models; choose one")
    subjects = {"none": studied} | ({"random weights": untrained(studied, seed)} if studied.has_shape else {})
    frames = []
    for control, one in subjects.items():
        with tqdm(total=fit_sequences + test_sequences, unit=" sequences", desc=control, disable=not progress) as bar:
            fit = _read(one, seed, 0, fit_sequences, batch, bar)
            test = _read(one, seed, fit_sequences, fit_sequences + test_sequences, batch, bar)
        readings = _fit(fit.streams, fit.depths)
        frames += [_accuracy(studied.task, readings, test, control), _signal(studied, readings, test, control)]
        if control == "none":
            shuffled = _fit(fit.streams, fit.depths.roll(1, dims=0))
            frames += [_accuracy(studied.task, shuffled, test, "shuffled labels"), _guess(fit.depths, test.depths)]
    return studied.named(pd.concat(frames, ignore_index=True).astype({"layer": "Int64"}))


def _read(studied: Subject, seed: int, start: int, stop: int, batch: int, bar: tqdm) -> Read:
    task = studied.task
    assert isinstance(task, BracketTask)
    streams, depths = [], []
    for first, last in batches(start, stop, batch):
        tokens = task.sequences(Draw.PROBES.stream(seed), first, last - first)[:, : studied.longest].to(studied.device)
        layers: list[Stream] = []
        read_streams(studied.model, tokens, lambda _, stream, layers=layers: layers.append(stream.float()))  # type: ignore[misc]
        streams.append(torch.stack(layers))
        depths.append(task.depths(tokens))
        bar.update(last - first)
    return Read(torch.cat(streams, dim=1), torch.cat(depths))


def _fit(streams: Float[Tensor, "layer sequence position width"], depths: Int64[Tensor, "sequence position"]) -> Readings:
    """Ridge regression of the depth at each layer and length, with an unpenalised bias, in float64."""
    target = depths.double() - depths.double().mean(0)
    weight, bias = [], []
    for layer in streams.double():
        mean = layer.mean(0)
        centred = (layer - mean).transpose(0, 1)
        covariance = centred.mT @ centred / len(layer)
        cross = centred.mT @ target.T[..., None] / len(layer)
        solved = [torch.linalg.solve(with_penalty(one, RIDGE), by) for one, by in zip(covariance, cross, strict=True)]
        weight.append(torch.stack(solved)[..., 0])
        bias.append(depths.double().mean(0) - (mean * weight[-1]).sum(-1))
    return Readings(torch.stack(weight), torch.stack(bias))


def _accuracy(task: BracketTask, readings: Readings, test: Read, control: str) -> pd.DataFrame:
    layers, length = readings.bias.shape
    odd = torch.arange(1, length + 1, device=test.depths.device) % 2
    means = ClusteredMeans(layers, length)
    for layer, stream in enumerate(test.streams.double()):
        read = torch.einsum("nsd,sd->ns", stream, readings.weight[layer]) + readings.bias[layer]
        nearest = (2 * ((read - odd) / 2).round() + odd).clamp(min=odd, max=task.depth - (task.depth - odd) % 2)
        right = (nearest == test.depths).double()
        means.add(right, torch.ones_like(right), layer)
    return means.frame("accuracy", shares=True, layer=range(layers), length=range(1, length + 1)).assign(control=control)


def _signal(studied: Subject, readings: Readings, test: Read, control: str) -> pd.DataFrame:
    trained = studied.labels["train_length"]
    if trained is None:
        return pd.DataFrame()
    depth = (test.depths - test.depths.double().mean(0)).cpu().numpy()
    variation, frames = (depth**2).sum(0), []
    for layer, stream in enumerate(test.streams.double()):
        read = (stream @ readings.weight[layer, min(trained, studied.longest) - 1]).cpu().numpy()
        with np.errstate(invalid="ignore", divide="ignore"):
            slope = np.where(variation > 0, (depth * read).sum(0) / variation, np.nan)
            left = read - read.mean(0) - slope * depth
            error = Z * np.sqrt((depth**2 * left**2).sum(0)) / variation  # robust to unequal variances
        numbers = dict(value=slope, ci_low=slope - error, ci_high=slope + error)
        frames.append(pd.DataFrame(dict(layer=layer, length=range(1, len(slope) + 1), metric="signal", **numbers)))
    return pd.concat(frames).dropna(subset="value").assign(control=control, sequences=len(test.depths))


def _guess(fit: Int64[Tensor, "fitted position"], test: Int64[Tensor, "sequence position"]) -> pd.DataFrame:
    right = (test == fit.mode(dim=0).values).double()
    means = ClusteredMeans(right.shape[1])
    means.add(right, torch.ones_like(right))
    return means.frame("accuracy", shares=True, length=range(1, right.shape[1] + 1)).assign(control="guess by length")
