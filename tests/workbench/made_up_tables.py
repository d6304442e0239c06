"""Frames such as `compare` returns, with numbers that mean nothing: for figures, their layout and their files."""

import numpy as np
import pandas as pd

from workbench.metrics import METRICS
from workbench.table import typed, with_seed_spread

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
    has = frame["reference"].notna()
    frame["difference"] = np.where(has, generator.normal(size=len(frame)), np.nan)
    frame["difference_low"], frame["difference_high"] = frame["difference"] - 0.1, frame["difference"] + 0.1
    return with_seed_spread(typed(frame))
