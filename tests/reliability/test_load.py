"""A comparison of many checkpoints at many lengths stays within bounded memory, and its explorer draws a bounded picture.

How quick the explorer is in a browser is in tests/browser/test_many_checkpoints.py.
"""

import os
import subprocess
import sys

import numpy as np
import pytest

from models.config import DropoutRates
from workbench.comparison import compare
from workbench.figures.curves import curves
from workbench.figures.many_curves import MOST_CURVES, curves_together, number_of_curves
from workbench.widgets.length_explorer import LengthExplorer
from workbench.widgets.metric_panels import metric_curves

from ..workbench.saved_runs import save_run

COMPARE = """
import sys, time
from pathlib import Path
from workbench.comparison import compare
from workbench.comparison_table import write_table
since = time.monotonic()
frame = compare([sys.argv[1]], sequences=64, progress=True)
csv, _ = write_table(frame, Path(sys.argv[1]) / "out")
peak = next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
print(len(frame), frame["length"].max(), int(peak) // 1024, round(time.monotonic() - since), csv.stat().st_size >> 20)
"""


@pytest.mark.slow  # that few at once give the same frame is in tests/workbench/test_comparison.py
def test_200_checkpoints_at_61_lengths_in_two_gigabytes(tmp_path):
    """Each with raw, ema and bema; seeds differ, so that all of them are in one spread over seeds."""
    checkpoints = 200
    for seed in range(checkpoints):
        save_run(tmp_path / "runs", f"run{seed:03d}", vocab=62, layers=2, train_length=15, seed=seed)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", COMPARE, str(tmp_path / "runs")]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    rows, longest, peak, seconds, size = map(int, done.stdout.split())
    assert rows == checkpoints * 3 * 61 * 9 and longest == 61
    assert peak <= 2048
    assert f"{checkpoints * 3 * 64}/{checkpoints * 3 * 64}" in done.stderr  # the progress bar
    print(f"{checkpoints} checkpoints: {peak} MB at the peak, {seconds} s, table of {size} MB")  # noqa: T201


RATES = MOST_CURVES // 3 + 1
"""With raw, ema and bema one rate more than are drawn apart."""


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Runs of so many dropout rates with two seeds each, and their table."""
    folder = tmp_path_factory.mktemp("many")
    for number in range(2 * RATES):
        rate = DropoutRates(residual=number // 2 / 100)
        save_run(folder, f"run{number:02d}", dropout=rate, seed=number % 2)
    return folder, compare([folder], sequences=10)


def test_curves_too_many_to_tell_apart_are_drawn_as_their_mean_and_range(many):
    folder, table = many
    explorer = LengthExplorer([folder], table)
    assert len(explorer.pictures[0].data) == 5 * 2 * 3  # five panels; a line and a band each of raw, ema and bema
    assert f"mean of {2 * RATES} checkpoints, band: all" in explorer.pictures[0].layout.title.text
    for metric, three in metric_curves(table, "length", curves_together).items():
        assert [curve.name for curve in three] == [f"{2 * RATES} checkpoints, {weights}" for weights in ("raw", "ema", "bema")]
        for curve in three:
            for point in curve.points.itertuples():
                chosen = (table["metric"] == metric) & (table["weights"] == curve.weights) & (table["length"] == point.x)
                values = table.loc[chosen, "value"].to_numpy()
                assert len(values) == 2 * RATES
                assert np.isclose(point.value, values.mean(), rtol=1e-12)
                assert (point.seed_low, point.seed_high) == (values.min(), values.max())

    explorer.controls["dropout"].boxes["none"].value = False
    shown = [trace for trace in explorer.pictures[0].data if trace.visible is not False]
    assert len(shown) == 5 * 2 * MOST_CURVES and "mean over seeds" in explorer.pictures[0].layout.title.text


def test_curves_are_counted_as_they_are_drawn(many):
    _, table = many
    rows = table[table["metric"] == "margin"]
    ema = rows[rows["weights"] == "ema"]
    one_seed_twice = rows.assign(seed=0)
    unknown = rows.assign(seed=rows["seed"].where(rows["seed"] == 0), step=rows["step"].where(rows["dropout"] != "none"))
    for frame in (rows, ema, rows[rows["seed"] == 1], rows.assign(shape=rows["checkpoint"]), one_seed_twice, unknown):
        assert number_of_curves(frame) == len(curves(frame))
