"""Comparison: what is compared with what, paired differences, the spread over seeds, and what must not change the numbers."""

import fcntl
import os

import numpy as np
import pandas as pd
import pytest
import torch

from models import checkpoint
from models.checkpoint import CheckpointError
from models.config import AveragingConfig, DropoutRates
from models.hooked import load
from models.streams import Draw
from models.temporary_siblings import new_name
from workbench import comparison
from workbench.comparison import compare
from workbench.comparison_table import (
    CERTIFIED,
    COLUMNS,
    DIFFERENCE_COLUMNS,
    SEED_COLUMNS,
    read_table,
    with_seed_spread,
    write_table,
)
from workbench.evaluation import evaluate
from workbench.found_checkpoints import card_table, find_checkpoints
from workbench.intervals import BootstrapMeans, paired_rate_interval, percentile_interval, poisson_weights
from workbench.metrics import METRICS, position_metrics

from .saved_runs import save_run

ATTENTION = DropoutRates(attention=0.1)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two seeds with and without dropout, with two steps each."""
    root = tmp_path_factory.mktemp("runs")
    for seed in (0, 1):
        save_run(root, f"none-{seed}", seed=seed, steps=(10, 100))
        save_run(root, f"attention-{seed}", seed=seed, dropout=ATTENTION, steps=(10, 100))
    return root


@pytest.fixture(scope="module")
def frame(runs):
    return compare([runs], sequences=60)


def rows_of(frame, checkpoint, weights, metric="illegal_mass"):
    rows = frame[(frame["checkpoint"] == checkpoint) & (frame["weights"] == weights) & (frame["metric"] == metric)]
    return rows.set_index("length")


def test_columns_and_rows(frame):
    assert tuple(frame.columns) == (*COLUMNS, *DIFFERENCE_COLUMNS, CERTIFIED, *SEED_COLUMNS)
    assert len(frame) == 4 * 3 * 7 * len(METRICS)
    assert not frame.duplicated(["checkpoint", "weights", "step", "length", "metric"]).any()
    assert set(frame["step"]) == {100}


def test_values_are_those_of_evaluate(runs, frame):
    alone = evaluate(runs / "attention-1", sequences=60, weights="ema")
    both = frame[(frame["checkpoint"] == "attention-1") & (frame["weights"] == "ema")].reset_index(drop=True)
    pd.testing.assert_frame_equal(both[list(COLUMNS)], alone)


def test_certified_lengths_are_those_of_the_certificate_and_missing_where_it_is_not_exact():
    frame = compare(["set-complement-v16-none-seed0"], lengths=[4], sequences=10, weights=["raw", "ema"])
    assert frame.groupby("weights")[CERTIFIED].agg(set).to_dict() == {"raw": {15}, "ema": {15}}
    assert compare(["othello-mini-none"], lengths=[4], sequences=10, weights=["raw"])[CERTIFIED].isna().all()


def test_references(frame):
    found = frame.drop_duplicates(["checkpoint", "weights"]).set_index(["checkpoint", "weights"])["reference"]
    assert found["none-0", "raw"] is pd.NA
    assert found["none-1", "ema"] == found["none-1", "bema"] == "none-1, raw"
    assert found["attention-1", "ema"] == "attention-1, raw"
    assert found["attention-1", "raw"] == "none-1, raw"


@pytest.mark.parametrize(("weights", "reference"), [("bema", ("attention-0", "raw")), ("raw", ("none-0", "raw"))])
def test_paired_differences_against_explicit_replicates(runs, frame, weights, reference):
    def measured(name, weights):
        model = load(runs / name, weights)
        tokens = torch.from_numpy(task_tokens)
        return position_metrics(model(tokens).detach(), task.legal(tokens))

    task = comparison.make_task(load(runs / "none-0").card.task)
    task_tokens = task.sequences(Draw.EVALUATION.stream(0), 0, 60)[:, :7].numpy()
    first, second = measured("attention-0", weights), measured(*reference)
    bootstrap_weights = poisson_weights(0, torch.arange(60), 1000)
    present = torch.ones(60, 7, dtype=torch.bool)
    for metric in ("illegal_mass", "margin"):
        replicates = []
        for values in (first, second):
            sums = BootstrapMeans(1, 7)
            sums.add(values[metric][:, None], present, bootstrap_weights)
            replicates.append(sums.replicate_means()[:, 0])
        low, high = percentile_interval(replicates[0] - replicates[1])
        rows = rows_of(frame, "attention-0", weights, metric)
        np.testing.assert_allclose(rows["difference"], (first[metric] - second[metric]).mean(dim=0), atol=1e-6)
        np.testing.assert_allclose(rows["difference_low"], low, atol=1e-5)
        np.testing.assert_allclose(rows["difference_high"], high, atol=1e-5)
    one, other = first["illegal_top1"].numpy(), second["illegal_top1"].numpy()
    low, high = paired_rate_interval((one > other).sum(axis=0), (one < other).sum(axis=0), 60)
    rows = rows_of(frame, "attention-0", weights, "illegal_top1")
    np.testing.assert_allclose(rows["difference"], (one - other).mean(axis=0))
    np.testing.assert_allclose(rows[["difference_low", "difference_high"]].T, [low, high])


def test_difference_is_the_difference_of_values(frame):
    own = rows_of(frame, "none-0", "ema")["value"] - rows_of(frame, "none-0", "raw")["value"]
    np.testing.assert_allclose(rows_of(frame, "none-0", "ema")["difference"], own, atol=1e-12)
    has = frame["difference"].notna()
    assert (frame["difference_low"][has] <= frame["difference"][has] + 1e-9).all()
    assert (frame["difference"][has] <= frame["difference_high"][has] + 1e-9).all()


def test_spread_over_seeds(frame):
    first, second = rows_of(frame, "none-0", "ema"), rows_of(frame, "none-1", "ema")
    values = np.stack([first["value"], second["value"]])
    for rows in (first, second):
        assert (rows["seeds"] == 2).all()
        np.testing.assert_allclose(rows["seed_mean"], values.mean(axis=0))
        np.testing.assert_allclose(rows["seed_sd"], values.std(axis=0, ddof=1))
        np.testing.assert_allclose(rows["seed_low"], values.min(axis=0))
        np.testing.assert_allclose(rows["seed_high"], values.max(axis=0))


def test_small_bags_give_the_same_frame(runs, frame, monkeypatch):
    monkeypatch.setattr(comparison, "MODELS_AT_ONCE", 2)
    pd.testing.assert_frame_equal(compare([runs], sequences=60), frame, check_exact=True)


def test_an_interrupted_comparison_goes_on_with_what_is_done(runs, frame, tmp_path, monkeypatch):
    monkeypatch.setattr(comparison, "MODELS_AT_ONCE", 2)
    measure, measured = comparison._compare_bag, []

    def until_ctrl_c(bag, *rest):
        if len(measured) == 2:
            raise KeyboardInterrupt
        measured.append(bag.rows)
        return measure(bag, *rest)

    def to_the_end(bag, *rest):
        measured.append(bag.rows)
        return measure(bag, *rest)

    monkeypatch.setattr(comparison, "_compare_bag", until_ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        compare([runs], sequences=60, keep=tmp_path)
    monkeypatch.setattr(comparison, "_compare_bag", to_the_end)
    pd.testing.assert_frame_equal(compare([runs], sequences=60, keep=tmp_path), frame, check_exact=True)
    bags = len(measured)
    assert bags == len(list(tmp_path.glob("*.parquet"))) > 3  # none was measured twice
    compare([runs], sequences=60, seed=1, keep=tmp_path)
    assert len(measured) == len(list(tmp_path.glob("*.parquet"))) == 2 * bags  # other sequences are measured anew
    damaged, foreign, *_, pipe = tmp_path.glob("*.parquet")
    damaged.write_bytes(b"PAR1 and no more")
    foreign.write_bytes(pd.DataFrame({"mine": [1]}).to_parquet())
    for seed in (0, 1):
        compare([runs], sequences=60, seed=seed, keep=tmp_path)
    assert len(measured) == 2 * bags + 2  # what cannot be read is
    pipe.unlink()
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="cannot write .*: it is no plain file"):
        for seed in (0, 1):
            compare([runs], sequences=60, seed=seed, keep=tmp_path)
    assert pipe.is_fifo()


def test_a_kept_part_that_is_anothers_is_made_again(runs, frame, tmp_path, monkeypatch):
    monkeypatch.setattr(comparison, "MODELS_AT_ONCE", 2)
    compare([runs], sequences=60, keep=tmp_path)
    one, other, *_ = tmp_path.glob("*.parquet")
    one.write_bytes(other.read_bytes())
    pd.testing.assert_frame_equal(compare([runs], sequences=60, keep=tmp_path), frame, check_exact=True)


def test_what_a_killed_write_of_a_part_left_goes_and_what_another_is_writing_stays(runs, tmp_path):
    half, living = tmp_path / new_name(), tmp_path / new_name()
    half.write_bytes(b"PAR1")
    with living.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        compare([runs / "none-0"], sequences=4, keep=tmp_path)
    assert sorted(file.suffix or file.name for file in tmp_path.iterdir()) == [".parquet", living.name]


def test_same_command_same_bytes(runs, frame, tmp_path):
    again = compare([runs], sequences=60)
    for path, other in zip(write_table(frame, tmp_path / "a"), write_table(again, tmp_path / "b"), strict=True):
        assert path.read_bytes() == other.read_bytes()
    assert sorted(file.name for file in (tmp_path / "a").iterdir()) == ["comparison.csv", "comparison.parquet"]


def test_tables_come_back_as_they_were(frame, tmp_path):
    csv, parquet = write_table(frame, tmp_path)
    for path in (csv, parquet, tmp_path):
        pd.testing.assert_frame_equal(read_table(path), frame)


def test_a_foreign_table_is_refused(tmp_path):
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"no table of `workbench compare`: it has no column checkpoint"):
        read_table(tmp_path / "x.csv")
    with pytest.raises(ValueError, match="cannot read"):
        read_table(tmp_path / "absent.csv")


def test_only_averaged_weights_still_have_their_reference(runs):
    some = compare([runs / "none-0"], sequences=60, weights=["ema"])
    assert set(some["weights"]) == {"ema"}
    assert some["difference"].notna().all()


def test_several_tasks_and_lengths(runs, tmp_path):
    save_run(tmp_path, "other", vocab=5, train_length=2)
    both = compare([runs / "none-0", tmp_path / "other"], lengths=[2, 6], sequences=10)
    lengths = both.groupby("vocab")["length"].unique()
    assert (list(lengths[5]), list(lengths[8])) == ([2], [2, 6])
    with pytest.raises(ValueError, match="none of the lengths asked for can be given to checkpoint other"):
        compare([runs / "none-0", tmp_path / "other"], lengths=[6], sequences=10)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"lengths": [1.0, 2.5]}, "length 2.5: expected whole numbers in 1 .. 1048576; "),
        ({"lengths": [2, 0]}, "length 0: expected whole numbers in 1 .. 1048576; "),
        ({"lengths": ["2"]}, "length '2': expected whole numbers in 1 .. 1048576; "),
        ({"lengths": 5}, "lengths 5 are no list; "),
        ({"lengths": "12"}, "lengths '12' are no list; "),
        ({"weights": ["raw", "bogus"]}, "weights 'bogus': expected any of raw, ema, bema; "),
        ({"weights": "rawema"}, "weights 'rawema' are no list; "),
        ({"weights": 5}, "weights 5 are no list; "),
        ({"weights": []}, r"weights \(\): expected any of raw, ema, bema; "),
    ],
    ids=str,
)
@pytest.mark.usefixtures("as_a_user")
def test_lengths_and_weights_that_are_none_are_named_before_any_work(asked, message):
    with pytest.raises(ValueError, match=message):
        compare(["absent"], **asked)


def test_lengths_and_weights_may_come_one_by_one(runs, frame):
    some = compare([runs], iter([2, 3]), 60, weights=iter(["raw", "ema"]))
    asked = frame[frame["length"].isin([2, 3]) & frame["weights"].isin(["raw", "ema"])].reset_index(drop=True)
    labels = ["checkpoint", "weights", "length", "metric"]
    pd.testing.assert_frame_equal(some[labels], asked[labels])


def test_other_shapes_are_neither_reference_nor_seed(runs, tmp_path):
    save_run(tmp_path, "wide", width=20, seed=2)
    save_run(tmp_path, "wide-dropout", width=20, seed=0, dropout=ATTENTION)
    both = compare([runs / "none-0", tmp_path], sequences=10)
    assert (both["seeds"] == 1).all()
    assert both.loc[(both["checkpoint"] == "wide-dropout") & (both["weights"] == "raw"), "reference"].isna().all()


def test_a_repeated_seed_is_no_seed(runs, tmp_path, caplog):
    save_run(tmp_path, "another", seed=0)
    both = compare([runs / "none-0", tmp_path], sequences=10)
    assert (both["seeds"] == 1).all() and both["seed_sd"].isna().all()
    np.testing.assert_array_equal(both["seed_mean"], both["value"])
    assert "their seeds are unknown or occur twice" in caplog.text


def test_other_averaging_is_no_other_seed(frame):
    rows = frame[frame["weights"] == "ema"].copy()
    rows.loc[rows["checkpoint"] == "none-1", "averaging"] = "power 0.5, eta 0.2"
    spread = with_seed_spread(rows[list(COLUMNS)])
    assert (spread.loc[spread["dropout"] == "none", "seeds"] == 1).all()
    assert (spread.loc[spread["dropout"] != "none", "seeds"] == 2).all()
    assert AveragingConfig().schedule == "constant"


def test_paths(runs, monkeypatch):
    def steps(*paths, **options):
        return [(found.name, found.card.step) for found in find_checkpoints(paths, **options)]

    assert steps(runs / "none-0") == [("none-0", 100)]
    assert steps(runs / "none-0", steps="all") == [("none-0", 10), ("none-0", 100)]
    assert steps(runs / "none-0" / "checkpoints") == [("none-0", 10), ("none-0", 100)]
    assert steps(runs / "none-0" / "checkpoints" / "step_00000010") == [("none-0", 10)]
    assert steps(runs / "none-0", runs, str(runs / "none-0" / "checkpoints" / "step_00000100")) == steps(runs)
    assert steps(runs) == [("none-0", 100), ("attention-0", 100), ("none-1", 100), ("attention-1", 100)]
    monkeypatch.setattr(checkpoint, "ZOO", runs)
    assert steps("none-1") == [("none-1", 100)]


def test_equal_names_are_told_apart(runs, tmp_path):
    save_run(tmp_path, "none-0", seed=5)
    names = [found.name for found in find_checkpoints([runs / "none-0", tmp_path / "none-0"])]
    assert len(set(names)) == 2 and all(name.startswith("none-0 (") for name in names)


def test_errors(runs, tmp_path):
    for paths, message in [([], "no checkpoint was given"), ([tmp_path], "no checkpoint at"), (["absent"], "no checkpoint at")]:
        with pytest.raises(CheckpointError, match=message):
            compare(paths)
    save_run(tmp_path, "raw-only", weights=("raw",))
    with pytest.raises(CheckpointError, match="has no ema weights, it has raw; ask for those"):
        compare([tmp_path / "raw-only"], weights=["ema"])
    assert set(compare([tmp_path / "raw-only"], sequences=5)["weights"]) == {"raw"}
    with pytest.raises(ValueError, match="0 sequences are too few"):
        compare([runs], sequences=0)


def test_card_table(runs):
    table = card_table(find_checkpoints([runs]))
    assert list(table["checkpoint"]) == ["none-0", "attention-0", "none-1", "attention-1"]
    assert table["command"][0] == "workbench train --out none-0"
    assert table["averaging"][0] == "constant 0.999, eta 0.2"


def test_one_path_is_not_taken_for_a_list_of_letters():
    with pytest.raises(CheckpointError, match=r"give \['othello-mini-none'\]"):
        compare("othello-mini-none")
