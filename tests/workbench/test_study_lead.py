"""What a prototype had seen, asked of a study: medians and correlations are those of its own trials."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from workbench.study import study_tables
from workbench.study_lead import lead_table

from .planted_study import SPACE, TRIALS, planted_study


def test_medians_and_correlations_are_those_of_the_trials_asked_about():
    planted = study_tables(planted_study(TRIALS))
    worse_later = planted.curves["value"] * (1 + 0.1 * planted.curves["length"])
    tables = replace(planted, curves=planted.curves.assign(value=worse_later))
    rows = lead_table(tables)
    assert (rows[["value", "ci_low", "ci_high"]].notna()).all(axis=None)
    assert ((rows["ci_low"] <= rows["value"]) & (rows["value"] <= rows["ci_high"])).all()
    short, long = SPACE.train_lengths
    found = rows.set_index(["question", "targets", "width", "measure"])["value"]
    curves = tables.curves[(tables.curves["metric"] == "misordered") & (tables.curves["length"] == long)]
    drawn = tables.trials.loc[curves["number"]].reset_index(drop=True)
    asked = ((drawn["train_length"] == short) & (drawn["targets"] == "hard") & (drawn["width"] == SPACE.widths[1])).to_numpy()
    for weights in ("raw", "ema"):
        expected = np.median(curves["value"][asked & (curves["weights"] == weights).to_numpy()])
        at = f"misordered inputs at length {long}, trained to {short}", "hard", SPACE.widths[1], f"median, {weights}"
        assert found[at] == pytest.approx(expected)
    values = tables.outcome("misordered", "beyond")
    values = values[tables.trials.loc[values.index, "train_length"] == long]
    expected = stats.spearmanr(tables.trials.loc[values.index, "dropout_attention"], values).statistic
    at = f"attention dropout and misordered inputs beyond, trained to {long}", "all", "all widths", "rank correlation, as drawn"
    assert found[at] == pytest.approx(expected) and expected < 0
