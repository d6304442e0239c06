"""Writes `interval-coverage.csv`: how often intervals of a study's paired differences miss, by drawing its own again.

The differences of all trials are taken for the population. From it samples of as many trials are drawn, each gets its interval
as the study makes it (`workbench.study_intervals.mean`), and a miss is a population mean outside. One row a difference of two
sets of weights that a claim rests on: the share of samples that miss at 95 %, and at the level at which the claims are judged
(`wide`), there by the side that the interval lies on.

    python docs/results/interval_coverage.py [STUDY]
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

sys.path.insert(0, str(Path(__file__).parents[2]))

from workbench.intervals import CONFIDENCE
from workbench.search_result import CONTRASTS
from workbench.study import REGIONS, read_studies
from workbench.study_claims import ERRORS, claims, simultaneous_confidence
from workbench.study_effects import paired_difference
from workbench.study_intervals import trial_weights

SAMPLES = 500
AT_ONCE = 100


def replicates(samples: np.ndarray) -> np.ndarray:
    """`mean`'s replicates for each column of `samples` [trial, sample], as [replicate, sample]."""
    value = samples.mean(axis=0)
    centred = samples - value
    squares, error = centred**2, np.sqrt((centred**2).mean(axis=0) / len(samples))
    blocks = []
    for weights in trial_weights(np.arange(len(samples))):
        drawn = weights.sum(axis=1, keepdims=True)
        shift = weights @ centred / drawn
        variance = weights @ squares / drawn - shift**2
        variance[variance <= np.finfo(float).eps * squares.max(axis=0)] = 0
        with np.errstate(invalid="ignore", divide="ignore"):
            blocks.append(value - shift / np.sqrt(variance / drawn) * error)
    return np.concatenate(blocks)


def misses(population: np.ndarray, wide: float) -> dict[str, float]:
    """Shares of the samples whose intervals do not hold the population's mean."""
    drawn = np.random.default_rng(0).choice(population, (len(population), SAMPLES))
    drawn = drawn[:, np.ptp(drawn, axis=0) > 0]
    tails = [(1 - confidence) / 2 for confidence in (CONFIDENCE, wide)]
    levels = [level for tail in tails for level in (tail, 1 - tail)]
    parts = [replicates(drawn[:, first : first + AT_ONCE]) for first in range(0, drawn.shape[1], AT_ONCE)]
    bounds = np.concatenate([np.nanquantile(part, levels, axis=0, method="nearest") for part in parts], axis=1)
    mean = population.mean()
    low, high, wide_low, wide_high = bounds
    return {
        "missed": float(((low > mean) | (high < mean)).mean()),
        "wide_above": float((wide_low > mean).mean()),
        "wide_below": float((wide_high < mean).mean()),
    }


def main(study: str = "set-complement-v16") -> None:
    """Draws, and writes."""
    (tables,) = read_studies(study)
    wide = simultaneous_confidence(claims(tables))
    wanted = [
        (first, second, targets, region, outcome)
        for first, second in CONTRASTS
        for targets in ("hard", "soft")
        for region in REGIONS
        for outcome in ERRORS
    ]
    rows = []
    for first, second, targets, region, outcome in tqdm(wanted):
        population = paired_difference(tables, first, second, outcome, region, targets).to_numpy()
        if len(population) < 2:
            continue
        labels = {"contrast": f"{first} − {second}", "targets": targets, "region": region, "outcome": outcome}
        rows.append(labels | {"trials": len(population), "level": 1 - wide} | misses(population, wide))
    pd.DataFrame(rows).to_csv(Path(__file__).parent / "interval-coverage.csv", index=False, lineterminator="\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
