"""A study told apart by width: what was planted in one half is found there, and not in the other."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from workbench.study import StudyTables, study_tables
from workbench.study_claims import claim_table, claims
from workbench.study_shapes import averaging_by_shape, by_width, claims_by_width, learned_table, width_table

from .planted_study import BENEFIT, EFFECT, SPACE, TRIALS, planted_study

NARROW, WIDE = SPACE.widths


@pytest.fixture(scope="module")
def tables() -> StudyTables:
    """As planted, but in narrow models averages do nothing, attention dropout does the reverse, and few learn the task."""
    planted = study_tables(planted_study(TRIALS))
    outcomes = planted.outcomes.merge(planted.trials[["width", "dropout_attention"]], left_on="number", right_index=True)
    narrow, values = outcomes["width"] == NARROW, outcomes["value"].copy()
    raw = outcomes[outcomes["weights"] == "raw"].set_index(["number", "region", "outcome"])["value"]
    keys = pd.MultiIndex.from_frame(outcomes[["number", "region", "outcome"]])
    mass, averaged = outcomes["outcome"] == "illegal_mass", outcomes["weights"].isin(["ema", "bema"])
    values = values.mask(narrow & averaged, raw.reindex(keys).to_numpy())
    values += 2 * EFFECT * (narrow & mass & (outcomes["dropout_attention"] > 0))
    inside = (outcomes["outcome"] == "misordered") & (outcomes["region"] == "inside") & (outcomes["weights"] == "raw")
    learned = ~narrow | (outcomes["number"] < 8)
    values = values.mask(inside, np.where(learned, 0.05, 0.051))
    return replace(planted, outcomes=outcomes.assign(value=values)[planted.outcomes.columns])


def test_each_half_has_its_own_trials(tables):
    halves = by_width(tables)
    assert list(halves) == [NARROW, WIDE]
    assert sum(len(half.trials) for half in halves.values()) == TRIALS
    for width, half in halves.items():
        assert set(half.trials["width"]) == {width}
        assert set(half.outcomes["number"]) == set(half.curves["number"]) == set(half.finished.index)


def test_the_share_that_learned_the_task_is_told_by_width_with_an_exact_interval(tables):
    rows = learned_table(tables).set_index(["measure", "width", "targets"])
    learned = rows.loc["learned: misorders at most 5 % inside"]
    assert learned.loc[(WIDE, "all"), "value"] == 1 and learned.loc[(WIDE, "all"), "ci_high"] == 1
    few = learned.loc[(NARROW, "all")]
    numbers = by_width(tables)[NARROW].finished.index
    assert few["value"] == (numbers < 8).mean() and 0 < few["ci_low"] < few["value"] < few["ci_high"] < 0.2
    assert learned.loc[("all widths", "hard"), "trials"] == (tables.finished["targets"] == "hard").sum()
    mass = 10 ** tables.outcome("illegal_mass", "beyond")
    row = rows.loc[("median illegal mass beyond", "all widths", "all")]
    assert row["value"] == pytest.approx(mass.median()) and row["ci_low"] < row["value"] < row["ci_high"]


def test_effects_are_told_by_width_with_their_difference(tables):
    rows = width_table(tables).set_index(["effect", "region", "outcome", "width"]).sort_index()
    ema = rows.loc[("ema − raw", "beyond", "illegal_mass")]
    assert ema.loc[NARROW, "value"] == 0 and ema.loc[WIDE, "value"] == pytest.approx(BENEFIT, abs=0.01)
    assert ema.loc["difference", "ci_high"] < 0 and ema.loc["difference", "value"] == pytest.approx(BENEFIT, abs=0.01)
    assert ema.loc["all widths", "trials"] == ema.loc["difference", "trials"] == ema.loc[[NARROW, WIDE], "trials"].sum()
    attention = rows.loc[("dropout attention", "inside", "illegal_mass")]
    assert attention.loc[NARROW, "value"] == pytest.approx(EFFECT, abs=0.03)
    assert attention.loc[WIDE, "value"] == pytest.approx(-EFFECT, abs=0.03)
    assert attention.loc["difference", "value"] == pytest.approx(-2 * EFFECT, abs=0.05)
    assert attention.loc["difference", "ci_high"] < -EFFECT
    assert (rows.drop("difference", level="width")["trials"] > 1).all()


def test_verdicts_by_width_are_those_of_its_trials_alone(tables):
    rows = claims_by_width(tables)
    verdicts = rows.drop_duplicates(["statement", "width"]).set_index(["statement", "width"])["verdict"]
    statement = "EMA predicts better than the raw weights beyond the training length (sampled targets)"
    assert verdicts[statement, NARROW] == "not supported" and verdicts[statement, WIDE] == "supported"
    alone = claim_table(claims(by_width(tables)[WIDE]))
    pd.testing.assert_frame_equal(rows[rows["width"] == WIDE].drop(columns="width").reset_index(drop=True), alone)


def test_a_search_that_has_trained_one_width_alone_has_no_difference(tables):
    rows = width_table(by_width(tables)[WIDE])
    assert set(rows["width"]) == {"all widths", WIDE}


def test_medians_and_shares_by_shape_have_intervals(tables):
    rows = averaging_by_shape(tables).set_index(["contrast", "train_length", "width", "region", "outcome"]).sort_index()
    assert set(rows.index.unique("train_length")) == set(SPACE.train_lengths)
    wide = rows.loc[("ema − raw", SPACE.train_lengths[0], WIDE, "beyond", "illegal_mass")]
    narrow = rows.loc[("ema − raw", SPACE.train_lengths[0], NARROW, "beyond", "illegal_mass")]
    assert wide["better"] == wide["better_high"] == 1 and wide["better_low"] < 1
    assert wide["median_low"] < wide["median"] < wide["median_high"] < 0
    assert narrow["better"] == 0.5 and narrow["better_low"] < 0.5 < narrow["better_high"] and narrow["median"] == 0
