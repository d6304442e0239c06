"""Frames such as `compare` returns, with numbers that mean nothing: for figures, their layout and their files."""

import itertools

import numpy as np
import pandas as pd

from workbench.comparison_table import typed, with_seed_spread
from workbench.metrics import METRICS
from workbench.search_space import SITES
from workbench.study import OUTCOMES, REGIONS
from workbench.study_effects import MATCHED

LAYERS, LENGTHS, SQUARES = 3, 5, 36
"""Of boards read."""
LABELS = {"task": "set-complement", "vocab": 9, "shape": "1 layer, positions none", "train_length": 3, "averaging": None}


def made_up(dropouts=("none", "attention 0.1", "residual 0.1"), seeds=(0, 1, 2), steps=(100,), **labels) -> pd.DataFrame:
    """A frame such as `compare` returns, with numbers that mean nothing."""
    generator = np.random.default_rng(0)
    rows = [
        {
            **LABELS,
            "checkpoint": f"{dropout}-{seed}",
            "dropout": dropout,
            "seed": seed,
            "step": step,
            "weights": weights,
            "length": length,
            "metric": metric,
            "sequences": 500,
            "reference": None if (dropout, weights) == ("none", "raw") else "reference",
            **labels,
        }
        for dropout in dropouts
        for seed in seeds
        for step in steps
        for weights in ("raw", "ema", "bema")
        for length in range(1, 9)
        for metric in METRICS
    ]
    frame = pd.DataFrame(rows)
    frame["value"] = np.where(generator.random(len(frame)) < 0.2, 0, 10 ** generator.uniform(-9, -0.5, len(frame)))
    frame["ci_low"], frame["ci_high"] = frame["value"] * 0.8, frame["value"] * 1.2 + 0.001
    least = frame["metric"].map({name: max(metric.low, 0) for name, metric in METRICS.items()})
    for name in ("value", "ci_low", "ci_high"):
        frame[name] += least  # effective tokens are 1 or more
    has = frame["reference"].notna()
    frame["difference"] = np.where(has, generator.uniform(-0.5, 0.5, len(frame)), np.nan)
    frame["difference_low"], frame["difference_high"] = frame["difference"] - 0.1, frame["difference"] + 0.1
    return with_seed_spread(typed(frame))


def made_up_boards() -> pd.DataFrame:
    """Rows as `probes.board_state.board_state` gives them: value = 0.5 + layer / 10 + length or square / 1000."""
    rows = []

    def add(probe, target, control, **cell):
        value = 0.5 + (cell.get("layer") or 0) / 10 + (cell.get("length") or cell.get("square") or 0) / 1000
        numbers = {"value": value, "ci_low": value - 0.02, "ci_high": value + 0.01, "sequences": 9}
        blank = {"layer": None, "length": None, "square": None, "state": None}
        rows.append({"probe": probe, "frame": target, "control": control, "metric": "accuracy", **blank, **cell, **numbers})

    for target in ("to_move", "colour"):
        for control in ("none", "wrong layer") if target == "to_move" else ("none",):
            for layer in range(LAYERS):
                add("closed-form", target, control, layer=layer)
                for length in range(1, LENGTHS + 1):
                    add("closed-form", target, control, layer=layer, length=length)
                for square in range(SQUARES):
                    add("closed-form", target, control, layer=layer, square=square)
    add("guess", "to_move", "guess by length")
    for length in range(1, LENGTHS + 1):
        add("guess", "to_move", "guess by length", length=length)
    return pd.DataFrame(rows).astype({"layer": "Int64", "length": "Int64", "square": "Int64"})


def made_up_edits(methods=("flip", "erase", "add")) -> pd.DataFrame:
    """Rows as `probes.intervention_score.board_interventions` gives them, the same numbers for each method."""
    values = {"edited": 0.2, "null": 2.5, "random direction": 2.6, "unedited board": 0.1}
    rows = [(method, arm, value, value - 0.1, value + 0.1) for method in methods for arm, value in values.items()]
    return pd.DataFrame(rows, columns=["method", "arm", "value", "ci_low", "ci_high"]).assign(cases=50, layers="3, 4")


def made_up_effects() -> pd.DataFrame:
    """Rows as `study_effects.dropout_table` gives them."""
    cells = itertools.product(OUTCOMES, SITES, MATCHED, REGIONS)
    frame = pd.DataFrame(cells, columns=["outcome", "site", "weights", "region"])
    value = np.linspace(-0.4, 0.4, len(frame))
    return frame.assign(value=value, ci_low=value - 0.1, ci_high=value + 0.05, trials=64)
