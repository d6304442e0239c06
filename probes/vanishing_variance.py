"""Vanishing variance: does the attention output vary less between inputs as they grow longer?

Measure: standard deviation, over sequences, of a component of what attention writes, in the root mean square over components.
Attention over s independent tokens averages them, so this falls as s^(-1/2) for uniform attention without positions, and so
does what later layers see of it (Li, Boduljak and Zhou 2025, arXiv 2504.02827, whose remedy, a norm after the attention output,
is our norm "branch"). Set-complement inputs are drawn without replacement, which adds the factor sqrt((v - s) / (v - 1)).
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from einops import einsum
from jaxtyping import Float, Float64
from scipy import stats
from torch import Tensor

from models.config import WeightsName
from models.hooked import HookedTransformer
from models.hooked.own_hooks import HookFunction, own_hooks
from models.task import Task
from models.whole_numbers import require_whole
from probes.drawn_sequences import Drawn, drawn_sequences
from probes.subject import Address, Subject, subject, untrained

SEQUENCES = 500
BATCH = 64
GROUPS = 10
"""Sequences are dealt to this many groups; intervals are of the jackknife that leaves out one group at a time."""

Output = Float[Tensor, "batch position width"]


class OutputSpread:
    """Running sums of the outputs of every layer, by group and length."""

    def __init__(self, layers: int, longest: int, width: int):
        """Memory is groups x layers x lengths x (width + 2) numbers, whatever the number of sequences."""
        cells = (GROUPS, layers, longest)
        self.count = torch.zeros(cells, dtype=torch.float64)
        self._sum = torch.zeros(*cells, width, dtype=torch.float64)
        self._square = torch.zeros(cells, dtype=torch.float64)

    def add(self, layer: int, output: Output, drawn: Drawn) -> None:
        """Adds a batch of one layer's outputs; positions that are not present are left out."""
        output = output.double().masked_fill(~drawn.present[..., None], 0).cpu()
        group = drawn.number % GROUPS
        self.count[:, layer].index_add_(0, group, drawn.present.double().cpu())
        self._sum[:, layer].index_add_(0, group, output)
        self._square[:, layer].index_add_(0, group, output.square().sum(-1))

    def deviations(self) -> tuple[Float64[np.ndarray, "layer length"], Float64[np.ndarray, "group layer length"]]:
        """Root mean square over components of the standard deviation over sequences: of all, and leaving out each group."""
        sums = (self.count, self._sum, self._square)
        whole = _deviation(*(part.sum(0) for part in sums))
        return whole.numpy(), _deviation(*(part.sum(0) - part for part in sums)).numpy()


def _deviation(
    count: Float64[Tensor, "*cell"], total: Float64[Tensor, "*cell width"], square: Float64[Tensor, "*cell"]
) -> Float64[Tensor, "*cell"]:
    variance = (square - total.square().sum(-1) / count) / (count - 1) / total.shape[-1]
    return variance.clamp(min=0).sqrt()


def vanishing_variance(
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
    """Spread of the attention output over sequences by layer and length, and its slope on log-log axes.

    Args:
        model: a checkpoint folder, run or bundled name, or a hooked model in eval mode.
        task: the task; None for the one on the card.
        sequences: how many sequences, at least 20; memory does not depend on it.
        seed: which sequences, in 0 .. 2**32 - 1, and the seed of the untrained weights.
        weights: which weights of a checkpoint; no effect on a loaded model, as has `device`.
        device: where a checkpoint is loaded to.
        batch: sequences a forward pass.
        progress: show a progress bar.

    Returns:
        Tidy: the labels of the checkpoint, `control` ("none" or, where the shape is known, "random weights"), `site`
        ("attention output", before any norm of its own; "after its norm", in models of norm "branch"), `layer` (block, from
        0), `length`, `metric`, `value`, `ci_low`, `ci_high` (jackknife over groups of sequences), `sequences`. Metrics:
        `attention_std` >= 0 in units of the stream, 0 where the output is the same for every input; `slope` of log
        `attention_std` on log length, fitted to all lengths (its `length` is missing): 0 where the spread stays, -1/2 for an
        average of independent tokens.

    Raises:
        ValueError: a model in training mode, without a task, of another vocabulary; too few sequences.
        CheckpointError: nothing to load there.
    """
    require_whole("sequences", sequences, least=2 * GROUPS)
    studied = subject(model, task, weights, device, hooked=True)
    drawing = (sequences, seed, batch, progress)
    frames = [_of_model(studied, *drawing).assign(control="none")]
    if studied.has_shape:
        frames.append(_of_model(untrained(studied, seed), *drawing).assign(control="random weights"))
    frame = pd.concat(frames, ignore_index=True)
    columns = ["control", "site", "layer", "length", "metric", "value", "ci_low", "ci_high", "sequences"]
    return studied.named(frame[columns].astype({"length": "Int64"}))


def _of_model(studied: Subject, sequences: int, seed: int, batch: int, progress: bool) -> pd.DataFrame:
    model = studied.model
    assert isinstance(model, HookedTransformer)
    spreads = {site: OutputSpread(model.cfg.n_layers, studied.longest, model.cfg.d_model) for site in _sites(model)}
    for drawn in drawn_sequences(studied, sequences, seed, batch, progress, "vanishing variance"):
        hooks = [hook for site, spread in spreads.items() for hook in _adding_to(spread, site, model, drawn)]
        with torch.no_grad(), own_hooks(model, hooks):
            model(drawn.tokens, return_type=None)
    return pd.concat([_rows(spread).assign(site=site) for site, spread in spreads.items()], ignore_index=True)


def _sites(model: HookedTransformer) -> tuple[str, ...]:
    own_norm = any(name.endswith("ln1_post.hook_normalized") for name in model.hook_dict)
    return ("attention output", "after its norm") if own_norm else ("attention output",)


def _adding_to(spread: OutputSpread, site: str, model: HookedTransformer, drawn: Drawn) -> list[tuple[str, HookFunction]]:
    """Hooks at what attention writes; where a norm follows it, the output before that has no hook point and is z W_O + b_O."""
    before_norm = site == "attention output" and len(_sites(model)) == 2

    def reader(layer: int) -> Callable:
        attention = model.blocks[layer].attn

        def read(value: Tensor, hook: object) -> None:
            if before_norm:
                value = (
                    einsum(value, attention.W_O, "batch position head d, head d width -> batch position width") + attention.b_O
                )
            spread.add(layer, value, drawn)

        return read

    point = "attn.hook_z" if before_norm else "hook_attn_out"
    return [(f"blocks.{layer}.{point}", reader(layer)) for layer in range(model.cfg.n_layers)]


def _rows(spread: OutputSpread) -> pd.DataFrame:
    whole, left_out = spread.deviations()
    layers, longest = whole.shape
    counts = spread.count.sum(0)[0].long().numpy()
    cells = pd.MultiIndex.from_product([range(layers), range(1, longest + 1)], names=["layer", "length"]).to_frame(index=False)
    low, high = _jackknife(whole, left_out)
    stds = cells.assign(metric="attention_std", value=whole.ravel(), ci_low=np.maximum(low, 0).ravel(), ci_high=high.ravel())
    stds["sequences"] = np.tile(counts, layers)
    slopes = [_slope(whole), np.stack([_slope(part) for part in left_out])]
    low, high = _jackknife(*slopes)
    fits = pd.DataFrame({"layer": range(layers), "length": pd.NA, "value": slopes[0], "ci_low": low, "ci_high": high})
    return pd.concat([stds, fits.assign(metric="slope", sequences=counts.max())], ignore_index=True)


def _slope(deviation: Float64[np.ndarray, "layer length"]) -> Float64[np.ndarray, "layer"]:
    """Least-squares slope of log deviation on log length; NaN where an output never varies, which has no logarithm."""
    with np.errstate(divide="ignore"):
        values = np.log(deviation)
    length = np.log(np.arange(1, deviation.shape[1] + 1))
    centred = length - length.mean()
    return np.where(
        np.isfinite(values).all(-1), np.where(np.isfinite(values), values, 0) @ centred / (centred @ centred), np.nan
    )


def _jackknife(
    whole: Float64[np.ndarray, "*cell"], left_out: Float64[np.ndarray, "group *cell"]
) -> tuple[Float64[np.ndarray, "*cell"], Float64[np.ndarray, "*cell"]]:
    error = np.sqrt((GROUPS - 1) * ((left_out - left_out.mean(0)) ** 2).mean(0))
    half = stats.t.ppf(0.975, GROUPS - 1) * error
    return whole - half, whole + half
