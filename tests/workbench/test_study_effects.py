"""Tables of effects of a study: dropout, averages, importances and dependence are those planted."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from workbench.search_result import EMA_TO_BEMA, RAW_TO_BEMA
from workbench.search_space import SITES
from workbench.study import study_tables
from workbench.study_effects import (
    averaging_by_setting,
    averaging_table,
    best_table,
    design,
    dropout_effects,
    importance_table,
    partial_dependence,
    rank_table,
)

from .planted_study import BENEFIT, EFFECT, SPACE, TRIALS, planted_study


@pytest.fixture(scope="module")
def tables():
    return study_tables(planted_study(TRIALS))


def test_dropout_effects_are_those_planted(tables):
    effects = dropout_effects(tables)
    for outcome in ("illegal_mass", "total_variation"):
        assert effects["residual", outcome, "beyond"].value == pytest.approx(EFFECT, abs=0.03)
        assert effects["attention", outcome, "inside"].value == pytest.approx(-EFFECT, abs=0.03)
        low, high = effects["embedding", outcome, "beyond"].interval(0.999)
        assert low < 0 < high
    terms = design(tables.finished)
    assert np.linalg.matrix_rank(terms.to_numpy()) == terms.shape[1]
    assert (
        terms.drop(columns=[name for name in terms if name.startswith("dropout") or name == "constant"]).mean().abs().max()
        < 1e-9
    )


def test_the_regression_holds_equal_everything_that_was_drawn(tables):
    """An outcome without noise that depends on all of it: the sites' effects come out to the last digits or not at all."""
    drawn = tables.finished
    rate = np.log10(drawn["learning_rate"])
    value = EFFECT * (drawn["dropout_residual"] > 0) + 3 * (drawn["targets"] == "soft") + 2 * (rate + 2.5) ** 2 - rate
    value += np.log10(drawn["weight_decay"]) + (drawn["norm"] == "branch") - 2.0 * (drawn["norm"] == "final")
    for name in ("width", "batch", "train_length"):
        value += 0.01 * drawn[name].astype(float)
    outcomes = pd.DataFrame(
        {"number": drawn.index, "weights": "raw", "region": "beyond", "outcome": "misordered", "value": value}
    )
    effects = dropout_effects(replace(tables, outcomes=outcomes))
    found = {site: effects[site, "misordered", "beyond"].value for site in SITES}
    assert found == pytest.approx({"embedding": 0, "attention": 0, "residual": EFFECT}, abs=1e-9)


def test_averaging_table_gives_the_paired_benefit_by_targets(tables):
    rows = averaging_table(tables).set_index(["contrast", "targets", "region", "outcome"])
    hard, soft = (rows.loc[("ema − raw", targets, "beyond", "illegal_mass")] for targets in ("hard", "soft"))
    assert hard["value"] == pytest.approx(BENEFIT, abs=0.01)
    assert hard["better"] == 1
    assert soft["value"] == 0
    assert soft["better"] == 0.5
    assert hard["trials"] + soft["trials"] == TRIALS - 1


def test_averages_by_how_they_were_set_are_told_by_what_they_were_at_the_end(tables):
    rows = averaging_by_setting(tables)
    hard = tables.finished[tables.finished["targets"] == "hard"]
    horizon = np.sort([1 / SPACE.config(number).averaging.beta(SPACE.steps) for number in hard.index])
    ema = rows[(rows["contrast"] == "ema − raw") & (rows["region"] == "beyond") & (rows["outcome"] == "illegal_mass")]
    assert ema["trials"].sum() == len(hard)
    assert ema["at"].tolist() == [pytest.approx(np.median(part)) for part in np.split(horizon, ema["trials"].cumsum()[:-1])]
    assert ema["value"].to_numpy() == pytest.approx(BENEFIT, abs=0.01) and (ema["better"] == 1).all()
    alpha = rows[rows["setting"] == "alpha"]
    assert set(alpha["contrast"]) == {f"bema − {second}" for second in ("raw", "ema", RAW_TO_BEMA, EMA_TO_BEMA)}
    assert alpha["at"].between(0, 1).all()


def test_rank_correlations_and_best_trials_point_the_planted_way(tables):
    ranks = rank_table(tables).set_index(["site", "among", "region", "outcome"])
    assert ranks.loc[("residual", "all trials", "beyond", "illegal_mass"), "ci_low"] > 0
    assert ranks.loc[("attention", "all trials", "beyond", "illegal_mass"), "ci_high"] < 0
    equal = ranks.xs(("all trials, all else held equal", "beyond", "illegal_mass"), level=("among", "region", "outcome"))
    assert equal.loc["residual", "ci_low"] > 0 > equal.loc["attention", "ci_high"]
    assert equal.loc["embedding", "ci_low"] < 0 < equal.loc["embedding", "ci_high"]
    best = best_table(tables).set_index("remedy")
    assert best.loc["ema", "difference_high"] < 0
    assert best.loc["dropout attention", "difference_high"] < 0
    assert best.loc["dropout residual", "difference_low"] > 0
    assert best.loc["ema", "of"] == TRIALS - 1
    assert best.loc["norm branch", "of"] <= 33


def test_importances_sum_to_one_and_name_the_planted_parameters(tables):
    importances = importance_table(tables)
    assert importances["value"].sum() == pytest.approx(1)
    assert set(importances["parameter"]) == set(SPACE.distributions())
    assert ((importances["p_value"] < 0.05) <= (importances["value"] > importances["chance"])).all()
    planted = importances.set_index("parameter")["p_value"]
    assert planted["dropout_attention"] < 0.05 < planted["dropout_embedding"]


def test_dropout_that_does_nothing_is_not_important(tables):
    """Half of its rates are 0, for which PED-ANOVA takes the rate itself for the most important parameter."""
    random, outcomes = np.random.default_rng(0), tables.outcomes.copy()
    soft = tables.trials.loc[outcomes["number"], "targets"].to_numpy() == "soft"
    outcomes["value"] = random.normal(size=len(outcomes)) - 2 * soft
    importances = importance_table(replace(tables, outcomes=outcomes)).set_index("parameter")
    assert importances.index[0] == "targets" and importances.loc["targets", "p_value"] < 0.05
    assert (importances.loc[[f"dropout_{site}" for site in SITES], "p_value"] > 0.05).all()


def test_partial_dependence_is_the_mean_by_level(tables):
    rows = partial_dependence(tables, "illegal_mass", "beyond").set_index(["parameter", "weights", "bin"]).sort_index()
    values = tables.outcome("illegal_mass", "beyond", "ema")
    drawn = tables.trials.loc[values.index]
    assert rows.loc[("norm", "ema", 0), "value"] == pytest.approx(values[drawn["norm"] == "branch"].mean())
    assert rows.loc[("dropout_residual", "ema", 0), "value"] == pytest.approx(values[drawn["dropout_residual"] == 0].mean())
    counts = rows.loc[("learning_rate", "raw"), "trials"]
    assert counts.sum() == TRIALS - 1
    assert counts.max() - counts.min() <= 1
    horizon = rows.loc[("averaging_horizon", "raw"), "trials"]
    assert horizon.sum() == (drawn["averaging_schedule"] == "constant").sum()


def test_a_parameter_that_no_trial_drew_has_no_dependence():
    two = study_tables(planted_study(2))
    rows = partial_dependence(two, "illegal_mass", "beyond")
    assert set(SPACE.distributions()) - set(rows["parameter"]) == {"averaging_horizon"}
    assert "averaging_horizon" not in two.trials and set(two.trials["averaging_schedule"]) == {"power"}
