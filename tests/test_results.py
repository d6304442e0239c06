"""Committed results are what their scripts measure."""

import io
import runpy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from workbench.study import read_studies
from workbench.study_intervals import mean
from workbench.study_report import MAKERS

DOCS = Path(__file__).parents[1] / "docs"
RESULTS = DOCS / "results"
SLOW_TABLES = ("claims", "claims-by-width", "by-width", "averaging", "dropout", "importances", "partial-dependence")


def test_a_row_of_the_displacement_table_is_what_its_script_measures():
    script = runpy.run_path(str(RESULTS / "displacement.py"))
    table = pd.read_csv(RESULTS / "displacement.csv").set_index(["checkpoint", "weights"])
    name = "set-complement-v32-residual-0.1-seed0", "bema"
    found = pd.Series(script["row"](*name)).drop(["checkpoint", "weights", "identity_residual"])  # that one is rounding alone
    pd.testing.assert_series_equal(
        found.astype(float), table.loc[name, found.index].astype(float), check_names=False, rtol=1e-6
    )


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW_TABLES else name for name in MAKERS]
)
def test_a_table_of_the_bundled_study_is_what_the_study_command_makes(name):
    (tables,) = read_studies("set-complement-v16")
    made = pd.read_csv(io.StringIO(MAKERS[name](tables).to_csv(index=False)))
    pd.testing.assert_frame_equal(made, pd.read_csv(DOCS / "studies" / tables.name / f"{name}.csv"), rtol=1e-6)


def test_the_coverage_that_is_drawn_is_that_of_the_studys_own_intervals():
    script = runpy.run_path(str(RESULTS / "interval_coverage.py"))
    samples = np.random.default_rng(1).normal(size=(40, 3)) ** 3
    drawn = script["replicates"](samples)
    for sample, replicates in zip(samples.T, drawn.T, strict=True):
        np.testing.assert_allclose(replicates, mean(sample, np.arange(40)).replicates, rtol=1e-9)
    assert 0.03 < script["misses"](np.random.default_rng(2).normal(size=200), 0.999)["missed"] < 0.08  # 5 % of normal ones
