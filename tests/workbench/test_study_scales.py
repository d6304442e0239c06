"""The control without label noise on two scales: a smaller error that falls by a larger factor falls by less."""

from dataclasses import replace

import numpy as np
import pytest

from workbench.study import study_tables
from workbench.study_claims import claims, less_without_noise
from workbench.study_scales import DIFFERENCE, control_scales, plain, scale_notes

from .planted_study import TRIALS, planted_study


@pytest.fixture(scope="module")
def tables():
    """Uniform targets: a raw total variation of 0.01 that ema divides by 10; sampled: 0.5, which it divides by 1.25."""
    planted = study_tables(planted_study(TRIALS))
    rows, noise = planted.outcomes, np.random.default_rng(0)
    soft = planted.trials.loc[rows["number"], "targets"].to_numpy() == "soft"
    gain = np.log10(np.where(soft, 0.1, 0.8)) + 0.01 * noise.normal(size=len(rows))
    value = np.log10(np.where(soft, 0.01, 0.5)) + gain * (rows["weights"] == "ema")
    chosen = (rows["outcome"] == "total_variation") & (rows["region"] == "inside")
    return replace(planted, outcomes=rows.assign(value=rows["value"].where(~chosen, value)))


def test_both_scales_tell_what_was_planted_and_the_claim_is_named_where_they_are_opposed(tables):
    scales = control_scales(tables)
    rows = scales.set_index(["contrast", "region", "outcome", "scale", "targets"]).sort_index()
    one = rows.loc[("ema − raw", "inside", "total_variation")]["value"]
    assert one["log10", "hard"] == pytest.approx(np.log10(0.8), abs=0.01)
    assert one["log10", DIFFERENCE] == pytest.approx(np.log10(8), abs=0.01)
    assert one["plain", "soft"] == pytest.approx(-0.009, abs=1e-3)
    assert one["plain", DIFFERENCE] == pytest.approx(-0.1 + 0.009, abs=1e-2)
    notes = scale_notes(scales)
    assert notes == {
        less_without_noise("ema", "inside"): (
            "scale-dependent; total variation: helps more by factors, less in plain differences"
        )
    }
    assert set(notes) <= {claim.statement for claim in claims(tables)}


def test_plain_outcomes_are_no_longer_logarithms_and_the_rest_is_as_it_was(tables):
    assert plain(tables).outcome("total_variation", "inside").isin([0.01, 0.5]).mean() == 1
    assert plain(tables).outcome("misordered", "beyond").equals(tables.outcome("misordered", "beyond"))
