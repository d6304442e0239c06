"""The explorer of lengths over 200 checkpoints at 61 lengths, in a real JupyterLab, as quick as over three."""

import nbformat
import pandas as pd
import pytest

from models.config import DropoutRates
from workbench.comparison import compare
from workbench.comparison_table import write_table

from ..workbench.saved_runs import save_run
from .quick import is_quick
from .test_widgets import changes, data, shows

pytestmark = [pytest.mark.browser, pytest.mark.slow]

CHECKPOINTS = 200
SHOW = """
from workbench.comparison_table import read_table
from workbench.widgets.length_explorer import LengthExplorer
LengthExplorer([{runs!r}], read_table({table!r}))
"""


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """The folder of the runs, each of a dropout rate of its own, and their table; few sequences, since its size is the same."""
    folder = tmp_path_factory.mktemp("many")
    for number in range(CHECKPOINTS):
        rate = DropoutRates(residual=number / 1000)
        save_run(folder, f"run{number:03d}", vocab=62, layers=2, train_length=15, dropout=rate)
    return folder, compare([folder], sequences=4)


def as_seven_rates(table: pd.DataFrame) -> pd.DataFrame:
    """The same numbers as if they were of 7 dropout rates with 28 or 29 seeds each: the most curves that are drawn apart."""
    number = table["checkpoint"].str[-3:].astype(int)
    return table.assign(dropout="residual 0." + (number % 7 + 1).astype(str), seed=number // 7)


@pytest.mark.parametrize(("labelled", "curves"), [(lambda table: table, 3), (as_seven_rates, 21)], ids=["gathered", "apart"])
def test_200_checkpoints_are_explored_as_quickly_as_three(lab, page, compared, tmp_path, labelled, curves):
    folder, table = compared
    _, parquet = write_table(labelled(table), tmp_path)
    assert table["checkpoint"].nunique() == CHECKPOINTS and table["length"].nunique() == 61
    cell = nbformat.v4.new_code_cell(SHOW.format(runs=str(folder), table=str(parquet)))
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata=kernel), lab.folder / f"many-{curves}.ipynb")

    notebook = lab.open(page, f"many-{curves}")
    notebook.run_all()
    widget = notebook.widget("workbench-length-explorer")
    above, example = shows(widget, 2)
    before = data(above)
    assert len(before) - 2 == 2 * 5 * curves  # five panels, a line and a band for each curve
    slider = widget.locator(".control-length")
    notebook.slide(slider, example, ["ArrowRight"] * 3)
    assert changes(above, before)[1] != before[1]  # the line at the chosen length has moved
    is_quick(lab, notebook, slider, example)
    page.wait_for_timeout(500)
    widget.screenshot(path=tmp_path / "length-explorer.png")
