"""The control of "noisy updates" on two scales: do averages help less without label noise by factors, and in plain differences?

Models on uniform targets have smaller errors to begin with, so an average can take a larger part away from them and still less
of it. The claims look at log10 alone; the second scale was added after the first had been seen, and is exploratory: 95 %
intervals of one number, not widened.
"""

from collections.abc import Mapping
from dataclasses import replace

import pandas as pd

from workbench.study import OUTCOMES, REGIONS, StudyTables
from workbench.study_claims import less_without_noise
from workbench.study_effects import averaging_benefit, estimate_columns

LOG, PLAIN = "log10", "plain"
ON_LOGS = [outcome for outcome in ("illegal_mass", "total_variation") if OUTCOMES[outcome].log]
DIFFERENCE = "hard − soft"


def control_scales(tables: StudyTables) -> pd.DataFrame:
    """What averages change on `targets` hard (sampled) and soft (uniform), and the difference of both, on each `scale`.

    A negative difference is what the control predicts: the error falls less without label noise.
    """
    rows = []
    for scale, scaled in ((LOG, tables), (PLAIN, plain(tables))):
        for weights in ("ema", "bema"):
            for region in REGIONS:
                for outcome in ON_LOGS:
                    hard, soft = (averaging_benefit(scaled, weights, "raw", outcome, region, kind) for kind in ("hard", "soft"))
                    labels = {"contrast": f"{weights} − raw", "region": region, "outcome": outcome, "scale": scale}
                    for targets, estimate in (("hard", hard), ("soft", soft), (DIFFERENCE, hard - soft)):
                        rows.append(labels | {"targets": targets} | estimate_columns(estimate))
    return pd.DataFrame(rows)


def plain(tables: StudyTables) -> StudyTables:
    """The same study with every outcome as it is, no longer its logarithm."""
    rows = tables.outcomes
    logarithmic = rows["outcome"].isin([outcome.name for outcome in OUTCOMES.values() if outcome.log])
    return replace(tables, outcomes=rows.assign(value=rows["value"].where(~logarithmic, 10 ** rows["value"])))


def scale_notes(scales: pd.DataFrame) -> Mapping[str, str]:
    """By claim: for which of its errors the two scales give opposite answers, each with its whole interval, in words.

    Args:
        scales: rows of `control_scales`.
    """
    rows = scales[scales["targets"] == DIFFERENCE].set_index(["contrast", "region", "outcome"])
    logs, plains = (rows[rows["scale"] == scale] for scale in (LOG, PLAIN))
    answers = {
        "more by factors, less in plain differences": (logs["ci_low"] > 0) & (plains["ci_high"] < 0),
        "less by factors, more in plain differences": (logs["ci_high"] < 0) & (plains["ci_low"] > 0),
    }
    notes: dict[str, str] = {}
    for words, opposite in answers.items():
        for contrast, region, outcome in opposite.index[opposite]:
            statement = less_without_noise(contrast.split(" ")[0], region)
            notes[statement] = f"{notes.get(statement, 'scale-dependent')}; {outcome.replace('_', ' ')}: helps {words}"
    return notes
