"""What is measured of one trained member of a search and kept in the database: JSON data, a few kilobytes a trial.

Every set of weights is evaluated on the same sequences, so that their differences are paired. Beside raw, ema and bema stand
three controls, raw or ema weights with all logits times one number (a temperature), which `measure` describes.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor
from tqdm.auto import tqdm

from models.config import WEIGHTS, ModelConfig, WeightsName
from models.set_complement.task import SetComplementTask
from models.set_complement.theory import needed_gap
from models.transformer import Transformer, with_weights
from probes.certificate import certify
from probes.logit_displacement import TOLERATED_ILLEGAL_MASS, displacement
from probes.minimal_model import is_minimal
from workbench.evaluation import BATCH, evaluate_together
from workbench.training_config import TrainingConfig

RAW_TO_BEMA, EMA_TO_BEMA, RAW_TO_NEED = "raw scaled to bema", "ema scaled to bema", "raw scaled to need"
SCALED: dict[str, WeightsName] = {RAW_TO_BEMA: "raw", EMA_TO_BEMA: "ema", RAW_TO_NEED: "raw"}
"""Variants with scaled logits, and whose logits: evaluated beside raw, ema and bema."""
CONTRASTS = (("ema", "raw"), ("bema", "raw"), ("bema", "ema"), ("bema", RAW_TO_BEMA), ("bema", EMA_TO_BEMA))
"""The paired differences that are kept, first - second."""
COMPARED = ("illegal_mass", "total_variation", "uniformity_kl", "misordered", "normalised_dispersion")
"""The metrics whose paired differences are kept."""
DIGITS = 6
OBJECTIVE_METRIC = "total_variation"
WORST_OBJECTIVE = 1.0
"""The greatest total variation there is: what a trial that diverged is given."""

State = Mapping[str, Tensor]


def measure(states: Mapping[WeightsName, State], config: TrainingConfig, sequences: int, seed: int = 0) -> dict[str, Any]:
    """Everything that a study tabulates of one trained member, as JSON data; what does not exist is None or left out.

    Keys:

    - `lengths`: 1 .. v - 1.
    - `metrics`: variant -> metric -> mean by length. "raw scaled to bema" has raw's logits times the number that gives it
      bema's mean displacement over all lengths, "ema scaled to bema" likewise ema's; "raw scaled to need" times the number that
      makes its mean displacement at the training length just what an illegal mass of 1 % needs there if logits are tied. Any is
      left out where a mean displacement is not positive. Scaling leaves `misordered` as it is.
    - `scale`: those numbers, by variant.
    - `differences`: "first - second" -> metric -> `value`, `low`, `high` by length, on the same sequences, for `CONTRASTS`
      and `COMPARED`.
    - `displacement`: raw, ema, bema -> means by length of the `context` tokens (from length 2), of the last one, `query`, and
      of both, `by_length`, in logits; and `mean`, that of `by_length`.
    - `certified`: raw, ema, bema -> the lengths certified over all inputs; left out where the certificate does not exist.
    """
    models = {str(name): with_weights(config.model, states[name]) for name in WEIGHTS}
    pushed: dict[str, dict[str, Any]] = {name: _displacement(models[name], sequences, seed) for name in WEIGHTS}
    scale = _scales(pushed, config)
    models |= {name: with_weights(config.model, _scaled(states[SCALED[name]], factor)) for name, factor in scale.items()}
    result = _evaluated(models, config.model, sequences, seed) | {"scale": scale, "displacement": pushed}
    if is_minimal(models["raw"]):
        result["certified"] = {name: _certified_lengths(models[name]) for name in WEIGHTS}
    return _plain(result)


def objective(result: Mapping[str, Any], train_length: int) -> float:
    """The one number Optuna is told: mean total variation of the raw weights beyond the training length, in [0, 1]."""
    return float(np.mean(result["metrics"]["raw"][OBJECTIVE_METRIC][train_length:]))


def _displacement(model: Transformer, sequences: int, seed: int) -> dict[str, Any]:
    frame = displacement(model, sequences, seed).pivot(index="length", columns="measure", values="value")
    context, query = frame["context"].to_numpy(), frame["query"].to_numpy()
    length = frame.index.to_numpy()
    mean = (np.nan_to_num(context) * (length - 1) + query) / length
    return {"context": context, "query": query, "by_length": mean, "mean": float(mean.mean())}


def _scales(pushed: Mapping[str, dict[str, Any]], config: TrainingConfig) -> dict[str, float]:
    at_train_length = float(pushed["raw"]["by_length"][config.train_length - 1])
    need = float(needed_gap(TOLERATED_ILLEGAL_MASS, config.train_length, config.model.vocab))
    wanted = {name: (pushed[SCALED[name]]["mean"], pushed["bema"]["mean"]) for name in (RAW_TO_BEMA, EMA_TO_BEMA)}
    wanted[RAW_TO_NEED] = (at_train_length, need)
    return {name: goal / present for name, (present, goal) in wanted.items() if present > 0 and goal > 0}


def _scaled(state: State, factor: float) -> dict[str, Tensor]:
    """The same model with all logits times a factor: exact for every norm, since the unembedding comes last."""
    return {name: tensor * factor if name.startswith("unembed.") else tensor for name, tensor in state.items()}


def _evaluated(models: Mapping[str, Transformer], shape: ModelConfig, sequences: int, seed: int) -> dict[str, Any]:
    names = list(models)
    lengths = range(1, shape.vocab)
    contrasts = [(first, second) for first, second in CONTRASTS if first in models and second in models]
    pairs = [(names.index(first), names.index(second)) for first, second in contrasts]
    summaries, differences = evaluate_together(
        [*models.values()],
        [lengths] * len(names),
        SetComplementTask(shape.vocab),
        pairs,
        sequences,
        seed,
        BATCH,
        tqdm(disable=True),
    )
    paired = {}
    for (first, second), difference in zip(contrasts, differences, strict=True):
        rows = difference.rows().rename(columns={"difference": "value", "difference_low": "low", "difference_high": "high"})
        paired[f"{first} - {second}"] = {
            metric: {column: one[column].to_numpy() for column in ("value", "low", "high")}
            for metric, one in rows[rows["metric"].isin(COMPARED)].groupby("metric", sort=False)
        }
    metrics = {
        name: {metric: one["value"].to_numpy() for metric, one in summary.rows().groupby("metric", sort=False)}
        for name, summary in zip(names, summaries, strict=True)
    }
    return {"lengths": list(lengths), "metrics": metrics, "differences": paired}


def _certified_lengths(model: Transformer) -> list[int] | None:
    try:
        certificate = certify(model)
    except (ArithmeticError, ValueError):
        return None  # weights beyond float64: nothing is proved of this one
    return [length for length, verdict in zip(certificate.lengths, certificate.verdict, strict=True) if verdict == "certified"]


def _plain(value: Any) -> Any:
    """Lists and rounded numbers; what is not finite becomes None, since JSON has no word for it."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence | np.ndarray) and not isinstance(value, str):
        return [_plain(item) for item in value]
    if isinstance(value, float | np.floating):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    return value
