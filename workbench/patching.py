"""Activation patching: what of a corrupt run is mended by each component's activation on a clean run.

On the same grid, and as fast, as `ablation_map`. Source of the method: Vig et al. 2020 (arXiv 2004.12265) and Meng et al. 2022
(arXiv 2202.05262), as TransformerLens's `patching` has it: clean activations go into the corrupt run. For the other direction
change the two about. Between two heads only: `path_patching.py`.
"""

from collections.abc import Callable, Collection, Sequence
from typing import SupportsIndex

import pandas as pd
import torch
from einops import rearrange
from jaxtyping import Float, Int64
from torch import Tensor

from models.hooked import HookedTransformer
from models.task import Task
from models.token_input import require_token_matrix
from probes.clustered_means import ClusteredMeans
from probes.residual_stream import require_input
from workbench.components import WHATS, What, as_indices, require_indices
from workbench.metrics import POSITION_METRICS, position_metrics
from workbench.rerun_from import Cell, CleanRun, cells_of, plain_form

Measure = Callable[[Float[Tensor, "batch position vocab"]], Float[Tensor, "batch"]]
"""From logits to one number for each sequence."""


def metric_at(task: Task, tokens: Int64[Tensor, "batch position"], metric: str, length: int | None = None) -> Measure:
    """A metric of the prediction that the tokens ask for at one length: whatever is run, it is judged by what is legal here.

    Args:
        task: the task.
        tokens: the sequences whose legal tokens count; of a patch usually the clean ones.
        metric: one of `metrics.POSITION_METRICS`.
        length: how many tokens are seen, from 1; None for all of them.

    Raises:
        ValueError: another metric or length.
    """
    require_token_matrix(tokens)
    if metric not in POSITION_METRICS:
        raise ValueError(f"metric '{metric}' is no metric of a prediction; choose one of {', '.join(POSITION_METRICS)}")
    seen = tokens.shape[1] if length is None else length
    if not isinstance(seen, SupportsIndex) or not 1 <= seen <= tokens.shape[1]:
        raise ValueError(f"length {length} is outside 1 .. {tokens.shape[1]}, the length of the tokens; choose one inside")
    at = seen - 1
    legal = task.legal(tokens)[:, at : at + 1]

    def measure(logits: Float[Tensor, "batch position vocab"]) -> Float[Tensor, "batch"]:
        return position_metrics(logits[:, at : at + 1], legal.to(logits.device))[metric][:, 0]

    return measure


def patch(
    model: HookedTransformer,
    clean: Int64[Tensor, "batch position"],
    corrupt: Int64[Tensor, "batch position"],
    what: What,
    metric: Measure,
    positions: Collection[SupportsIndex] | None = None,
) -> pd.DataFrame:
    """The metric of corrupt runs in which one component at a time has its activation of the clean run.

    Args:
        model: hooked, in eval mode; its other hooks stay and act.
        clean: sequences.
        corrupt: as many of the same length; sequence i gets the activation on clean sequence i.
        what: heads, attention, mlp, layers or stream; see `components.What`.
        metric: logits to one number for each sequence, such as `metric_at(task, clean, "illegal_mass")`.
        positions: patch each of these positions alone, from 0, instead of all together.

    Returns:
        Tidy, in the order of the grid: `layer`, `head` and `position` (missing where all), `corrupt` and `clean` (means of the
        metric without a patch), `value` (with it), `difference` = value - corrupt with its 95 % interval `difference_low` ..
        `difference_high` over sequences, `share` = difference / (clean - corrupt): 1 where the patch mends all, NaN where
        there is nothing to mend; and `sequences` (those with a metric).

    Raises:
        ValueError: an unknown `what`; clean and corrupt of different shapes; tokens or positions that the model or the tokens
            do not have; a metric of another shape; a model in training mode.
    """
    if what not in WHATS:
        raise ValueError(f"what '{what}' cannot be patched; choose one of {', '.join(WHATS)}")
    require_pairs(model, clean, corrupt)
    if positions is not None:
        positions = as_indices(positions, "position")
        require_indices(positions, clean.shape[1], "position")
    cells = cells_of(model, what, positions)
    stand_in = plain_form(model, clean[:4].to(model.cfg.device))
    source, run = CleanRun(model, stand_in, clean, what), CleanRun(model, stand_in, corrupt, what)
    patched = []
    for chunk, logits in run.with_replaced(cells, lambda point, value: source[point]):
        patched += [measured(metric, logits[at]) for at in range(len(chunk))]
    base, aim = measured(metric, run.logits), measured(metric, source.logits)
    frame = effects(rearrange(patched, "cell batch -> batch cell"), base, aim)
    return _with_cells(frame.rename(columns={"base": "corrupt", "source": "clean"}), cells)


def require_pairs(model: HookedTransformer, clean: Int64[Tensor, "..."], corrupt: Int64[Tensor, "..."]) -> None:
    """Raises ValueError for sequences that the model does not take, or that are no pairs."""
    for tokens in (clean, corrupt):
        require_token_matrix(tokens)
    if clean.shape != corrupt.shape or not len(clean):
        raise ValueError(
            f"clean has shape {tuple(clean.shape)} and corrupt {tuple(corrupt.shape)}; give as many sequences, at "
            "least one, as long"
        )
    for tokens in (clean, corrupt):
        require_input(model, tokens)


def measured(metric: Measure, logits: Float[Tensor, "batch position vocab"]) -> Float[Tensor, "batch"]:
    """What the metric says, on the CPU. Raises ValueError where it is not one number for each sequence."""
    if not callable(metric):
        raise ValueError(f"the metric {metric!r:.60} is no function; give one, such as metric_at(task, clean, 'illegal_mass')")
    value = metric(logits)
    if not isinstance(value, Tensor) or value.shape != logits.shape[:1]:
        given = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
        raise ValueError(
            f"the metric gave {given} for {len(logits)} sequences; have it return one number for each, such "
            "as metric_at(task, clean, 'illegal_mass')"
        )
    return value.detach().double().cpu()


def effects(patched: Float[Tensor, "batch cell"], base: Float[Tensor, "batch"], source: Float[Tensor, "batch"]) -> pd.DataFrame:
    """One row a cell, in order, of means over the sequences where no value is NaN.

    Columns: `base`, `source`, `value`, `difference` = value - base with its interval, `share` of (source - base), `sequences`.
    """
    there = ~(patched.isnan().any(1) | base.isnan() | source.isnan())
    means = ClusteredMeans(patched.shape[1])
    difference = patched[there] - base[there, None]
    means.add(difference, torch.ones_like(difference))
    before, aim = float(base[there].mean()), float(source[there].mean())
    low, high = means.intervals()
    change = means.means()
    columns = {"base": before, "source": aim, "value": change + before}
    columns |= {"difference": change, "difference_low": low, "difference_high": high}
    share = change / (aim - before) if aim != before else float("nan")
    return pd.DataFrame(columns | {"share": share, "sequences": int(there.sum())})


def _with_cells(frame: pd.DataFrame, cells: Sequence[Cell]) -> pd.DataFrame:
    axes = {name: pd.array([getattr(cell, name) for cell in cells], dtype="Int64") for name in ("layer", "head", "position")}
    return frame.assign(**axes)[[*axes, *frame.columns]]
