"""The sweep of widths: what it trains, that it goes on where it stopped, and that it never certifies what no weights can do."""

import os
import signal
import threading
import time

import pandas as pd
import pytest

from models.set_complement.closed_form import closed_form
from probes.certificate import certify
from workbench.cli import run
from workbench.figures.width_bound import bound_maps
from workbench.width_bound import bound_config, bound_table, shapes, sweep, swept, wide

VOCAB = 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("bound")


@pytest.fixture(scope="module")
def rows(folder):
    return sweep(VOCAB, folder, steps=60, seeds=2)


def test_every_pair_of_widths_is_trained_and_certified(rows, folder):
    assert list(swept(VOCAB)) == [2, 3, 4, 5, 6] and wide(VOCAB) == (7, 9, 10, 20)
    assert len(rows) == (25 + 4) * 2 * 3
    assert set(zip(rows["width"], rows["head_width"], strict=True)) == set(shapes(VOCAB))
    assert rows.groupby(["width", "head_width", "seed", "weights"]).size().eq(1).all()
    assert rows["certified_lengths"].between(0, 4).all()
    pd.testing.assert_frame_equal(pd.read_csv(folder / "bound-v5.csv"), rows)


def test_no_model_narrower_than_the_bound_is_certified_at_every_length(rows):
    """Radon's theorem, not training, forbids it; a certificate that said otherwise would be wrong."""
    narrow = rows[rows["width"] < VOCAB - 1]
    assert (narrow["certified_lengths"] < VOCAB - 1).all()
    assert (narrow["worst_gap"] <= 0).all()
    assert certify(closed_form(VOCAB, VOCAB - 1)).certified_lengths == VOCAB - 1  # at the bound weights exist


def test_a_stopped_sweep_goes_on_with_what_is_missing(rows, folder, tmp_path):
    part = rows[(rows["width"] < 6) | (rows["head_width"] < 6)]
    part.to_csv(tmp_path / "bound-v5.csv", index=False)
    stop = threading.Event()
    stop.set()
    assert len(sweep(VOCAB, tmp_path, steps=60, seeds=2, stop=stop)) == len(part)
    whole = sweep(VOCAB, tmp_path, steps=60, seeds=2)
    pd.testing.assert_frame_equal(whole, rows)
    with pytest.raises(ValueError, match="60 steps and 2 seeds, not 61 and 2"):
        sweep(VOCAB, tmp_path, steps=61, seeds=2)


def test_ctrl_c_leaves_a_sweep_that_the_same_command_goes_on_with(rows, tmp_path, capsys):
    path = tmp_path / "bound-v5.csv"

    def interrupt():
        until = time.monotonic() + 60
        while not path.exists():
            assert time.monotonic() < until
            time.sleep(0.005)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    words = ["bound", "--vocab", "5", "--steps", "60", "--seeds", "2", "--out", str(tmp_path), "--format", "html"]
    assert run(words) == 1
    thread.join()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert capsys.readouterr().out == "stopped; the same command goes on\n"
    assert list(tmp_path.iterdir()) == [path]
    part = pd.read_csv(path)
    assert 0 < len(part) < len(rows)
    pd.testing.assert_frame_equal(part, rows[: len(part)])


def test_the_models_are_minimal_without_label_noise_and_see_every_length():
    config = bound_config(16, 13, 17, seed=3)
    assert (config.model.width, config.model.head_width, config.model.norm, config.model.final_norm) == (13, 17, "none", False)
    assert (config.targets, config.train_length, config.seed, config.model.dropout.label) == ("soft", 15, 3, "none")


def test_the_map_shows_the_best_seed_of_each_pair(rows):
    best = bound_table(rows).set_index(["width", "head_width"])
    one = rows[(rows["weights"] == "raw") & (rows["width"] == 4) & (rows["head_width"] == 6)]
    assert best.loc[(4, 6), "certified_lengths"] == one["certified_lengths"].max()
    assert best.loc[(4, 6), "total_variation"] == one["total_variation"].min()
    figure = bound_maps(rows)
    x, y = list(figure.data[0].x).index("4"), list(figure.data[0].y).index("6")
    assert figure.data[0].z[y][x] == best.loc[(4, 6), "certified_lengths"]


def test_the_figures_data_does_not_replace_the_sweeps(rows, folder, tmp_path):
    rows.to_csv(tmp_path / "bound-v5.csv", index=False)
    assert run(["bound", "--vocab", "5", "--steps", "60", "--seeds", "2", "--out", str(tmp_path), "--format", "html"]) == 0
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "bound-v5.csv"), rows)
    assert (tmp_path / "figures" / "bound-v5.html").exists()


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (lambda rows: rows.drop(columns=["steps", "worst_gap"]), "missing or of another type: steps, worst_gap"),
        (lambda rows: rows.assign(width="x"), "missing or of another type: width"),
        (lambda rows: rows.assign(misordered="x"), "missing or of another type: misordered"),
        (lambda rows: rows.assign(weights=None), "missing or of another type: weights"),
        (lambda rows: rows.assign(vocab=6), "no row, or ones of another vocabulary"),
        (lambda rows: rows[:0].astype("int64").astype({"weights": str}), "missing or of another type|no row"),
        (lambda rows: pd.DataFrame({"a": [1]}), "missing or of another type: vocab, width"),
    ],
)
def test_a_damaged_table_is_refused_and_kept(rows, tmp_path, spoil, found):
    path = tmp_path / "bound-v5.csv"
    spoil(rows[rows["weights"] == "raw"]).to_csv(path, index=False)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=f"bound-v5.csv is no sweep of 5 tokens .*({found}).*; restore it from a copy"):
        sweep(VOCAB, tmp_path, steps=60, seeds=2)
    assert path.read_bytes() == before


def test_a_sweep_whose_first_models_all_diverged_goes_on(monkeypatch, tmp_path):
    monkeypatch.setattr("workbench.width_bound.LEARNING_RATE", 1e30)
    monkeypatch.setattr("workbench.width_bound.wide", lambda vocab: ())
    monkeypatch.setattr("workbench.width_bound.swept", lambda vocab: [2])
    first = sweep(VOCAB, tmp_path, steps=20, seeds=1)
    assert len(first) == 3 and first["worst_gap"].isna().all()
    monkeypatch.undo()
    monkeypatch.setattr("workbench.width_bound.wide", lambda vocab: ())
    monkeypatch.setattr("workbench.width_bound.swept", lambda vocab: [2, 3])
    both = sweep(VOCAB, tmp_path, steps=20, seeds=1)
    assert both["worst_gap"].isna().sum() == 3 and len(both) == 12
