"""Studies of searches with planted effects: tables, verdicts and the report tell what was planted, and nothing that was not."""

import html.parser
import os
import sqlite3
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest

from workbench.commands.study import study as study_command
from workbench.figures.study import NORM_LABELS, averaging_by_length, averaging_by_setting_figure, displacement_decay
from workbench.search_result import EMA_TO_BEMA, RAW_TO_BEMA
from workbench.search_space import SITES
from workbench.search_storage import open_storage
from workbench.study import REGIONS, read_studies, region_outcomes, study_tables
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
from workbench.study_intervals import Estimate
from workbench.study_report import commands, trial_table, write_study

from .planted_study import BENEFIT, EFFECT, SPACE, planted_result, planted_study

TRIALS = 128


@pytest.fixture(scope="module")
def tables():
    return study_tables(planted_study(TRIALS))


@pytest.fixture(scope="module")
def table(tables):
    return claim_table(claims(tables))


def test_tables_hold_every_trial_by_number_and_outcomes_are_means_over_the_regions_lengths(tables):
    assert tables.trials["number"].tolist() == list(range(TRIALS))
    assert tables.trials.index[tables.trials["diverged"].notna()].tolist() == [3]
    assert tables.sequences == 64
    for number in (0, 5, 17):
        result, drawn = planted_result(number), SPACE.parameters(number)
        assert tables.trials.loc[number, "learning_rate"] == drawn["learning_rate"]
        mass = np.array(result["metrics"]["ema"]["illegal_mass"])
        dispersion = result["metrics"]["raw"]["normalised_dispersion"]
        length = drawn["train_length"]
        assert tables.outcome("illegal_mass", "beyond", "ema")[number] == pytest.approx(np.log10(mass[length:].mean()))
        assert tables.outcome("normalised_dispersion", "inside")[number] == pytest.approx(np.mean(dispersion[1:length]))
        assert (number in tables.outcome("certified", "inside")) == (drawn["norm"] == "none")
    assert 3 not in tables.outcome("illegal_mass", "beyond")


def test_a_value_that_does_not_exist_makes_no_outcome():
    curves = pd.DataFrame(
        [(0, "raw", length, "displacement", value) for length, value in enumerate((1.0, np.nan, -5.0, 2.0), start=1)],
        columns=["number", "weights", "length", "metric", "value"],
    )
    outcomes = region_outcomes(curves, pd.Series({0: 2})).set_index("region")["value"]
    assert outcomes.index.tolist() == list(REGIONS)
    assert outcomes.isna().all()  # NaN inside; a mean of -1.5, which has no logarithm, beyond


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
    assert of("residual site lowers the normalised") == "not supported"
    assert of("Without a norm displacement decays") == "supported"
    assert of("attention's output flattens") == "supported"
    assert of("attention's output makes displacement") == "supported"
    assert of("before the unembedding flattens") == "not supported"


def test_the_opposite_of_a_claim_is_told_from_the_absence_of_an_effect(table):
    residual = table[table["statement"].str.contains("residual site improves prediction beyond")]
    embedding = table[table["statement"].str.contains("embedding site improves prediction beyond")]
    assert (residual["passes"] == "opposed").all()
    assert (embedding["passes"] == "open").all()


def test_every_number_has_both_intervals_and_the_simultaneous_one_is_wider(table):
    assert table[["value", "ci_low", "ci_high", "wide_low", "wide_high"]].notna().all(axis=None)
    assert (table["wide_low"] <= table["ci_low"]).all()
    assert (table["wide_high"] >= table["ci_high"]).all()
    assert (table["ci_low"] <= table["value"]).all()
    assert (table["value"] <= table["ci_high"]).all()


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


def test_averages_by_setting_are_drawn_but_for_what_scaling_leaves_as_it_is(tables):
    traces = averaging_by_setting_figure(averaging_by_setting(tables)).data
    by_name = {name: [trace for trace in traces if trace.name == name] for name in {trace.name for trace in traces}}
    assert {name: len(drawn) for name, drawn in by_name.items()} == {
        "ema − raw": 2,
        "bema − raw": 2,
        "bema − ema": 2,
        f"bema − {RAW_TO_BEMA}": 1,
        f"bema − {EMA_TO_BEMA}": 1,
    }
    assert all(drawn[0].showlegend for drawn in by_name.values())
    assert np.mean(by_name[f"bema − {EMA_TO_BEMA}"][0].y) == pytest.approx(BENEFIT / 2, abs=0.01)


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


def test_figures_leave_out_groups_of_one_trial():
    few = study_tables(planted_study(8))
    groups = few.finished.groupby(["train_length", "targets"]).size()
    lines = [trace for trace in averaging_by_length(few).data if trace.fill is None]
    assert (groups == 1).any() and len(lines) == 2 * (groups > 1).sum()
    assert len([trace for trace in lines if trace.xaxis == "x"]) == 2 * (groups[4] > 1).sum()
    norms = few.finished["norm"].value_counts()
    laws = ["1 / s", "1 / sqrt(σ (1 − σ)), σ = s / v"]
    curves = [trace.name for trace in displacement_decay(few).data if trace.name not in (None, *laws)]
    assert norms["branch"] == 1
    assert curves == [f"{NORM_LABELS[name]} ({norms[name]} trials)" for name in ("none", "final")]


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


def test_the_command_writes_tables_figures_and_a_page_without_a_number_unexplained(tmp_path, capsys):
    url = f"sqlite:///{tmp_path}/search.db"
    planted_study(40, open_storage(url))
    assert [one.name for one in read_studies(url)] == ["set-complement-v16"]
    study_command(url, tmp_path / "out", "html")
    folder = tmp_path / "out" / "set-complement-v16"
    said = capsys.readouterr().out
    written = pd.read_csv(folder / "claims.csv")
    for statement, found in zip(written["statement"], written["verdict"], strict=True):
        assert f"{found:>13}: {statement}" in said
    trials = pd.read_csv(folder / "trials.csv")
    assert trials["number"].tolist() == list(range(40))
    assert trials["raw beyond illegal_mass"].notna().sum() == 39
    page = (folder / "report.html").read_text()
    html.parser.HTMLParser().feed(page)
    body = page[page.index("<body>") :]
    assert body.index("workbench search set-complement --vocab 16 --trials 40 --steps 100") < body.index("<h1>")
    assert all(statement.replace("'", "&#x27;") in body for statement in written["statement"])
    assert f"{len(written)} checks" in body
    assert "1 of them diverged" in body
    assert len(list((folder / "figures").glob("*.html"))) == 6


def test_a_search_drawn_from_other_ranges_is_refused(tmp_path, monkeypatch):
    study, url = planted_study(2), f"sqlite:///{tmp_path}/search.db"
    planted_study(2, open_storage(url))
    monkeypatch.setattr("workbench.search_space.LEARNING_RATE", (1e-4, 1e-2))
    told = "^set-complement-v16 was drawn from other ranges than this workbench's; read it with the one that made it$"
    for read in (lambda: study_tables(study), lambda: read_studies(url)):
        with pytest.raises(ValueError, match=told):
            read()


def test_too_few_trials_are_refused_in_one_sentence(tmp_path):
    url = f"sqlite:///{tmp_path}/search.db"
    planted_study(20, open_storage(url))
    with pytest.raises(ValueError, match="19 completed trials .* expected at least 32; run workbench search with more"):
        write_study(url, tmp_path / "out", ["html"])
    assert not (tmp_path / "out").exists()


def test_a_storage_without_a_search_is_refused_in_one_sentence(tmp_path):
    url = f"sqlite:///{tmp_path}/empty.db"
    optuna.create_study(storage=open_storage(url), study_name="somebody else's")
    with pytest.raises(ValueError, match="holds no search with a completed trial; run workbench search"):
        read_studies(url)


def test_the_bundled_study_is_the_one_reported_in_the_docs():
    (tables,) = read_studies("set-complement-v16")
    reported = pd.read_csv(Path(__file__).parents[2] / "docs" / "studies" / tables.name / "trials.csv")
    ours = trial_table(tables).reset_index(drop=True).astype({"diverged": float})
    pd.testing.assert_frame_equal(ours, reported, check_dtype=False, rtol=1e-6)
    assert commands(tables, "set-complement-v16", "studies").endswith(
        "workbench study sqlite:///set-complement-v16.db --out studies"
    )


def _written(path, script):
    with sqlite3.connect(path) as database:
        database.executescript(script)
    database.close()


def _sqlite_of_somebody(path):
    _written(path, "create table notes(a); insert into notes values (1)")


def _search_that_would_never_end(path):
    """SQLite runs a view when it is read."""
    open_storage(f"sqlite:///{path}").remove_session()
    numbers = "with recursive n(i) as (select 1 union all select i + 1 from n) select i as study_id, '' as study_name from n"
    renamed = "alter table studies rename to old_studies"
    _written(path, f"pragma journal_mode = delete; {renamed}; create view studies as {numbers}")


def _search_with_a_trigger(path):
    open_storage(f"sqlite:///{path}").remove_session()
    _written(path, "create trigger late after insert on trials begin delete from studies; end")


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (_search_that_would_never_end, "holds no search; give that of `workbench search`"),
        (_search_with_a_trigger, "holds no search; give that of `workbench search`"),
        (lambda path: None, "cannot open the storage .*No such file"),
        (lambda path: path.touch(), "holds no search; give that of `workbench search`"),
        (_sqlite_of_somebody, "holds no search; give that of `workbench search`"),
        (os.mkfifo, "cannot open the storage .*it is no plain file"),
    ],
    ids=["view", "trigger", "absent", "empty", "somebody's", "pipe"],
)
def test_what_is_no_search_is_refused_and_left_as_it_was(tmp_path, make, problem):
    path = tmp_path / "some.db"
    make(path)
    before = [(one.name, one.is_file() and one.read_bytes()) for one in tmp_path.iterdir()]
    with pytest.raises(ValueError, match=problem):
        read_studies(f"sqlite:///{path}")
    assert [(one.name, one.is_file() and one.read_bytes()) for one in tmp_path.iterdir()] == before


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "sqlite:///file:x?mode=memory&uri=true"])
def test_a_storage_in_memory_is_refused(url):
    with pytest.raises(ValueError, match="cannot open the storage .* .it names no file.; give sqlite:///FILE"):
        open_storage(url)


@pytest.mark.parametrize("url", ["postgresql://me:secret@host:port/x", "me:secret@host"])
def test_what_is_no_url_is_refused_without_its_password(url):
    with pytest.raises(ValueError, match="cannot open the storage .*; give sqlite:///FILE") as refused:
        read_studies(url)
    assert "secret" not in str(refused.value)
