"""The report, the folder of a comparison, and the demo."""

import logging
import re

import numpy as np
import pandas as pd
import pytest

from models import checkpoint
from models.checkpoint import CheckpointError
from models.config import DropoutRates
from workbench import report
from workbench.cli import run
from workbench.comparison import compare
from workbench.comparison_table import read_table
from workbench.demo import Sequences, demo
from workbench.figures.gallery import comparison_figures
from workbench.found_checkpoints import card_table, find_checkpoints
from workbench.headline import certified, contrasts, headline, headline_lengths, summary
from workbench.html_page import number
from workbench.report import write_comparison, write_figures
from workbench.report_page import report_page

from .saved_runs import save_run


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("zoo")
    for seed in (0, 1):
        save_run(root, f"none-{seed}", seed=seed)
        save_run(root, f"attention-{seed}", seed=seed, dropout=DropoutRates(attention=0.1), steps=(10, 100))
    save_run(root, "mini", vocab=61, train_length=30)
    return root


@pytest.fixture(scope="module")
def frame(runs):
    return compare([runs], sequences=20)


def page_of(frame, runs, **changes):
    given = {"title": "A <b>", "command": "workbench compare x", "settings": {"sequences": 20}}
    return report_page(frame, card_table(find_checkpoints([runs])), comparison_figures(frame), **(given | changes))


def test_headline(frame):
    rows = frame[frame["vocab"] == 8]
    assert headline_lengths(rows) == [3, 6, 7]
    assert headline_lengths(rows.assign(train_length=pd.NA)) == [7]
    assert headline_lengths(frame[frame["vocab"] == 61]) == [30, 59]
    table = headline(rows, [3, 6], ["illegal_mass"])
    assert len(table) == 2 * 2 * 3
    one = rows.query("dropout == 'none' and weights == 'ema' and length == 6 and metric == 'illegal_mass'")
    got = table.query("dropout == 'none' and weights == 'ema' and length == 6").iloc[0]
    assert (got["seeds"], got["value"], got["seed_high"]) == (2, pytest.approx(one["value"].mean()), one["value"].max())


def test_contrasts(frame):
    rows = frame[frame["vocab"] == 8]
    table = contrasts(rows, [6], ["margin"])
    assert list(table["contrast"].value_counts().sort_index().items()) == [
        ("bema − raw", 2),
        ("dropout − none", 1),
        ("ema − raw", 2),
    ]
    one = rows.query("dropout == 'none' and weights == 'bema' and length == 6 and metric == 'margin'")
    got = table.query("contrast == 'bema − raw' and dropout == 'none'").iloc[0]
    assert got["difference"] == pytest.approx(one["difference"].mean())
    assert (got["pairs"], got["below"]) == (2, (one["difference_high"] < 0).sum())
    assert contrasts(rows.assign(difference=np.nan), [6]).empty


def test_summary_shows_the_headline_of_each_organism(frame):
    rows = frame[frame["vocab"] == 8]
    title, *lines = summary(rows).split("\n\n")[0].splitlines()
    assert title == "set-complement, 8 tokens, mean over seeds"
    table = headline(rows, headline_lengths(rows))
    shown = [line.split() for line in lines[3:]]
    assert len(shown) == len(table.groupby(["dropout", "weights"]))
    assert sorted(float(word) for words in shown for word in words[-len(table) // len(shown) :]) == pytest.approx(
        sorted(float(f"{value:.3g}") for value in table["value"])
    )
    assert summary(frame).count("mean over seeds") == 2


def test_report_is_self_contained_escaped_and_reproducible(frame, runs):
    page = page_of(frame, runs)
    assert page == page_of(frame, runs)
    assert "<h1>A &lt;b&gt;</h1>" in page
    assert not re.search(r"<(script|link|img)[^>]*(src|href)=", page)
    assert page.count("Plotly.newPlot(") >= 6
    assert not re.search(r"\bnan\b|&lt;NA", re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL))


def test_report_shows_the_numbers_and_the_provenance(frame, runs):
    page = page_of(frame, runs)
    value = frame.query("checkpoint == 'mini' and weights == 'bema' and length == 59 and metric == 'total_variation'").iloc[0]
    assert f"{number(value['value'])}<small>[{number(value['ci_low'])}, {number(value['ci_high'])}]" in page
    assert "workbench train --out attention-1" in page
    assert "<h2>Othello</h2>" in page and "<h2>Set complement, v = 8</h2>" in page
    assert "phase of the game" in page and "learned positions" not in page


def test_learned_positions_are_warned_of(tmp_path):
    save_run(tmp_path, "learned", positions="learned")
    frame = compare([tmp_path], sequences=5)
    assert "learned positions" in page_of(frame, tmp_path)
    short = frame[frame["length"] <= 3]
    assert "learned positions" not in page_of(short, tmp_path)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.012345, "0.0123"), (-0.5, "−0.5"), (-4.06e-6, "−4.06·10⁻⁶"), (1.2e12, "1.2·10¹²"), (float("nan"), "–")],
)
def test_numbers(value, text):
    assert number(value) == text


def test_write_comparison(runs, tmp_path):
    written = write_comparison(
        [runs / "none-0", runs / "attention-0"], tmp_path, sequences=10, lengths=[1, 3], formats=["html"]
    )
    assert all(path.is_file() for path in (*written.tables, *written.figures, written.report))
    assert "--sequences 10 --seed 0 --lengths 1,3" in written.report.read_text()
    assert set(read_table(written.tables[0])["length"]) == {1, 3}
    assert str(written).endswith("report.html")
    again = write_figures(tmp_path, tmp_path / "more", ["html"])
    assert [path.name for path in again] == [path.name for path in written.figures]
    with pytest.raises(ValueError, match="unknown format"):
        write_comparison([runs / "none-0"], tmp_path, formats=["gif"])


def test_one_length_is_enough(runs, tmp_path):
    """The first, at which normalised dispersion says nothing of the model."""
    written = write_comparison([runs / "none-0"], tmp_path, sequences=4, lengths=[1], formats=["html"])
    assert set(read_table(written.tables[0])["length"]) == {1} and written.report.is_file()


def test_tables_figures_and_report_show_progress(runs, tmp_path, capsys):
    write_comparison([runs / "none-0"], tmp_path, sequences=4, formats=["html"], progress=True)
    assert re.search(r"tables, figures, report: 100%.* 4/4 ", capsys.readouterr().err)


def test_what_is_told_is_what_was_measured_though_another_writes_there_too(runs, tmp_path, monkeypatch, capsys):
    def overtaken(*arguments, **options):
        written = write_comparison(*arguments, **options)
        write_comparison([runs / "none-0"], tmp_path, sequences=4, lengths=[3], formats=["html"])
        return written

    monkeypatch.setattr(report, "write_comparison", overtaken)
    words = ["compare", str(runs / "none-0"), "--out", str(tmp_path), "--format", "html", "--sequences", "10", "--lengths", "2"]
    assert run(words) == 0
    told = capsys.readouterr().out
    assert set(read_table(tmp_path)["length"]) == {3}
    assert summary(compare([runs / "none-0"], [2], 10)) in told


def test_demo(runs, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(checkpoint, "ZOO", runs)
    monkeypatch.setattr("workbench.demo.SMALL_TASKS", Sequences(20, 10))
    monkeypatch.setattr("workbench.demo.OTHELLO", Sequences(10, 5))
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "absent"))
    with caplog.at_level(logging.WARNING):
        written = demo(tmp_path / "out", progress=False)
    assert "no Chrome or Chromium" in caplog.text
    assert {path.name for path in written.tables} == {
        "comparison.csv",
        "comparison.parquet",
        "training.csv",
        "training.parquet",
    }
    assert written.report.is_file()
    assert any(path.name == "set-complement-v8-over-training.html" for path in written.figures)


def test_demo_without_a_zoo(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "ZOO", tmp_path)
    with pytest.raises(CheckpointError, match="no checkpoints are bundled"):
        demo(tmp_path / "out")


def test_certified_lengths_are_counted_once_a_checkpoint_and_summed_up_over_seeds(frame):
    rows = frame[frame["task"] == "set-complement"]
    rows = rows.assign(certified_lengths=rows["seed"].map({0: 3, 1: 5}).astype("Int64"))
    table = certified(rows)
    counted = rows.drop_duplicates(["checkpoint", "weights"]).groupby(["dropout", "weights"])["certified_lengths"]
    for (dropout, weights), values in counted:
        row = table[(table["dropout"] == dropout) & (table["weights"] == weights)].iloc[0]
        assert (row["mean"], row["low"], row["high"], row["seeds"]) == (values.mean(), values.min(), values.max(), len(values))
    assert certified(frame.assign(certified_lengths=pd.array([pd.NA] * len(frame), dtype="Int64"))).empty
