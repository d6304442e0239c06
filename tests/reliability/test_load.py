"""A comparison of many checkpoints at many lengths stays within bounded memory."""

import os
import subprocess
import sys

import pytest

from ..workbench.saved_runs import save_run

COMPARE = """
import sys, time
from pathlib import Path
from workbench.comparison import compare
from workbench.table import write_table
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
