"""Curves too many to be told apart, drawn as one for each set of weights: the mean of all checkpoints, and their range."""

from dataclasses import replace
from typing import Literal

import pandas as pd

from models.config import WEIGHTS
from workbench.figures.curves import VALUES, Curve, Points, curves
from workbench.figures.theme import PALETTE

MOST_CURVES = len(PALETTE) * len(WEIGHTS)
"""Of more curves in one panel two look alike, and with hundreds every redrawing of it takes half a second."""
CONFIGURATION = ["train_length", "shape", "step", "dropout", "weights", "averaging"]
"""Columns whose values make a curve its own."""

X = Literal["length", "step"]


def number_of_curves(rows: pd.DataFrame, x: X = "length") -> int:
    """How many curves a metric has where seeds are one; all checkpoints, where one seed of a configuration is there twice."""
    configuration = [name for name in CONFIGURATION if name != x]
    each = rows[[*configuration, "checkpoint", "seed"]].drop_duplicates()
    seeds = each.groupby(configuration, dropna=False)["seed"]
    return len(each) if (seeds.nunique() < seeds.size()).any() else seeds.ngroups


def curves_together(rows: pd.DataFrame, x: X = "length", columns: Points = VALUES) -> list[Curve]:
    """One curve of one metric's rows for raw, ema and bema, with all checkpoints taken for seeds of one configuration."""
    rows = rows.dropna(subset=[columns[0]])
    checkpoint = _checkpoint(rows, x)
    one = {name: rows[name].iloc[0] for name in CONFIGURATION if name not in ("weights", x)} if len(rows) else {}
    drawn = curves(rows.assign(**one, seed=checkpoint), x, columns)
    return [replace(curve, name=f"{checkpoint.nunique()} checkpoints, {curve.weights}") for curve in drawn]


def number_together(rows: pd.DataFrame, x: X = "length") -> int:
    """How many checkpoints are to be drawn together in a panel of these rows; 0 where their curves can be told apart."""
    return _checkpoint(rows, x).nunique() if number_of_curves(rows, x) > MOST_CURVES else 0


def _checkpoint(rows: pd.DataFrame, x: X) -> pd.Series:
    return rows.groupby([name for name in ("checkpoint", "step") if name != x], dropna=False).ngroup()
