"""Studies of searches with planted effects: the tables hold what was planted, and the figures and the report tell it."""

import html.parser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from workbench.commands.study import study as study_command
from workbench.figures.study import NORM_LABELS, averaging_by_length, averaging_by_setting_figure, displacement_decay
from workbench.search_result import EMA_TO_BEMA, RAW_TO_BEMA
from workbench.search_storage import open_storage
from workbench.study import REGIONS, read_studies, region_outcomes, study_tables
from workbench.study_effects import (
    averaging_by_setting,
)
from workbench.study_page import EXPLORATORY
from workbench.study_report import commands, trial_table, write_study

from .planted_study import BENEFIT, SPACE, TRIALS, planted_result, planted_study


@pytest.fixture(scope="module")
def tables():
    return study_tables(planted_study(TRIALS))


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
    short = body[body.index("In short") : body.index("Verdicts</h2>")]
    assert short.count("<li>") == 5 and "learned the task" in short and "EMA predicts better" in short
    assert "Dropout lowers the normalised dispersion" in short and "attention site" in short
    assert body.count("<details ") == body.count("</details>") == len(EXPLORATORY)
    assert "<details open" not in body and "beforeprint" in body
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


def test_the_bundled_study_is_the_one_reported_in_the_docs():
    (tables,) = read_studies("set-complement-v16")
    reported = pd.read_csv(Path(__file__).parents[2] / "docs" / "studies" / tables.name / "trials.csv")
    ours = trial_table(tables).reset_index(drop=True).astype({"diverged": float})
    pd.testing.assert_frame_equal(ours, reported, check_dtype=False, rtol=1e-6)
    assert commands(tables, "set-complement-v16", "studies").endswith(
        "workbench study sqlite:///set-complement-v16.db --out studies"
    )
