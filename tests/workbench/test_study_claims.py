"""Claims of a study with planted effects: verdicts tell what was planted, and nothing that was not."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from workbench.study import study_tables
from workbench.study_claims import (
    ABOVE_ZERO,
    BELOW_ZERO,
    Check,
    Claim,
    claim_table,
    claims,
    displacement_slope,
    post_norm_slope,
    segments,
    simultaneous_confidence,
    verdict,
)
from workbench.study_intervals import Estimate

from .planted_study import SPACE, TRIALS, planted_study


@pytest.fixture(scope="module")
def tables():
    return study_tables(planted_study(TRIALS))


@pytest.fixture(scope="module")
def table(tables):
    return claim_table(claims(tables))


def test_verdicts_tell_what_was_planted(table):
    found = table.drop_duplicates("statement").set_index("statement")["verdict"]

    def of(words: str) -> str:
        (one,) = [found[statement] for statement in found.index if words in f"-{statement}"]
        return one

    assert of("-EMA predicts better than the raw weights beyond") == "supported"
    assert of("-BEMA predicts better than the raw weights inside") == "supported"
    assert of("bias correction helps") == "not supported"
    assert of("bias correction is more than scaling") == "supported"
    assert of("-EMA raises the share") == "not supported"
    assert of("BEMA raises the share") == "mixed"  # planted beyond the training length alone
    assert of("more than scaling: it beats") == "supported"
    assert of("(uniform targets) EMA helps less beyond") == "supported"
    assert of("(uniform targets) EMA helps less inside") == "supported"
    assert of("attention site improves prediction beyond") == "supported"
    assert of("residual site improves prediction beyond") == "not supported"
    assert of("embedding site improves prediction beyond") == "not supported"
    assert of("attention site improves prediction at matched displacement") == "not supported"  # planted as trained alone
    assert of("residual site lowers the normalised") == "not supported"
    assert of("Without a norm displacement decays") == "supported"
    assert of("attention's output flattens") == "supported"
    assert of("attention's output makes displacement") == "supported"
    assert of("before the unembedding flattens") == "not supported"
    assert of("before the unembedding makes displacement") == "not supported"


def test_the_opposite_of_a_claim_is_told_from_the_absence_of_an_effect(table):
    residual = table[table["statement"].str.contains("residual site improves prediction beyond")]
    embedding = table[table["statement"].str.contains("embedding site improves prediction beyond")]
    assert (residual["passes"] == "opposed").all()
    assert (embedding["passes"] == "open").all()


def test_every_number_has_both_intervals_and_the_simultaneous_one_is_wider(table):
    assert table[["value", "ci_low", "ci_high", "wide_low", "wide_high"]].notna().all(axis=None)
    spread = table["ci_low"] < table["ci_high"]
    assert spread.mean() > 0.9
    assert (table["wide_low"] < table["ci_low"])[spread].all()
    assert (table["wide_high"] > table["ci_high"])[spread].all()
    assert (table["ci_low"] <= table["value"]).all()
    assert (table["value"] <= table["ci_high"]).all()


def test_an_effect_is_judged_by_the_interval_that_is_wide_enough_for_all_checks():
    estimate = Estimate(-2.5, stats.norm.ppf((np.arange(2000) + 0.5) / 2000, loc=-2.5), 30)
    check = Check("it", estimate, BELOW_ZERO)
    alone, among_many = claim_table([Claim("", "", [check])]), claim_table([Claim("", "", [check] * 80)])
    assert (alone["passes"] == "passes").all() and (alone["verdict"] == "supported").all()
    assert (among_many["ci_high"] < 0).all() and (among_many["wide_high"] > 0).all()
    assert (among_many["passes"] == "open").all() and (among_many["verdict"] == "not supported").all()


def test_displacements_without_a_logarithm_have_no_slope(tables):
    norms = tables.finished["norm"].value_counts()
    slope = displacement_slope(tables, "none", range(2, 9))
    assert slope.trials == norms["none"] and slope.value == pytest.approx(-1, abs=0.02)
    by_training = [displacement_slope(tables, "none", range(2, 9), trained).trials for trained in SPACE.train_lengths]
    drawn = tables.finished[tables.finished["norm"] == "none"]["train_length"]
    assert by_training == [(drawn == trained).sum() for trained in SPACE.train_lengths] and 0 not in by_training
    curves = tables.curves.copy()
    first = tables.finished.index[tables.finished["norm"] == "none"][0]
    curves.loc[
        (curves["number"] == first) & (curves["metric"] == "context_displacement") & (curves["length"] == 5), "value"
    ] = 0
    assert displacement_slope(replace(tables, curves=curves), "none", range(2, 9)).trials == norms["none"] - 1
    for lengths in (range(1, 9), range(16, 20)):  # at length 1 there is no context, and none is longer than 15
        none = displacement_slope(tables, "none", lengths)
        assert none.trials == 0 and np.isnan([none.value, *none.interval()]).all()


def test_a_claim_is_supported_only_where_all_of_it_is():
    def check(low: float, high: float, predicted=BELOW_ZERO) -> Check:
        return Check("it", Estimate((low + high) / 2, np.linspace(low, high, 10001), 9), predicted)

    passing, opposed, open_ = check(-2, -1), check(1, 2), check(-1, 1)
    assert [one.passed(0.95) for one in (passing, opposed, open_)] == ["passes", "opposed", "open"]
    assert check(1, 2, ABOVE_ZERO).passed(0.95) == "passes"
    assert check(1, 2, (0.9, 1.5)).passed(0.95) == "open"
    assert check(-0.01, 1, ABOVE_ZERO).passed(0.95) == "passes"  # 95 % of it
    assert check(-0.01, 1, ABOVE_ZERO).passed(0.999) == "open"
    assert verdict(Claim("", "", [passing, passing]), 0.95) == "supported"
    assert verdict(Claim("", "", [passing, open_]), 0.95) == "mixed"
    assert verdict(Claim("", "", [opposed, open_]), 0.95) == "not supported"
    assert simultaneous_confidence([Claim("", "", [passing] * 4), Claim("", "", [open_])]) == pytest.approx(0.99)


def test_slopes_predicted_after_a_norm_are_minus_half_nothing_and_rising():
    assert post_norm_slope(10_000, range(2, 12)) == pytest.approx(-0.5, abs=1e-3)
    assert post_norm_slope(1000, range(499, 502)) == pytest.approx(0, abs=1e-3)
    ranges = segments(32)
    assert [(lengths[0], lengths[-1]) for lengths in ranges.values()] == [(2, 8), (12, 20), (24, 31)]
    assert post_norm_slope(32, ranges["long"]) > 0.5
