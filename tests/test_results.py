"""Committed results are what their scripts measure."""

import runpy
from pathlib import Path

import pandas as pd

RESULTS = Path(__file__).parents[1] / "docs" / "results"


def test_a_row_of_the_displacement_table_is_what_its_script_measures():
    script = runpy.run_path(str(RESULTS / "displacement.py"))
    table = pd.read_csv(RESULTS / "displacement.csv").set_index(["checkpoint", "weights"])
    name = "set-complement-v32-residual-0.1-seed0", "bema"
    found = pd.Series(script["row"](*name)).drop(["checkpoint", "weights", "identity_residual"])  # that one is rounding alone
    pd.testing.assert_series_equal(
        found.astype(float), table.loc[name, found.index].astype(float), check_names=False, rtol=1e-6
    )
