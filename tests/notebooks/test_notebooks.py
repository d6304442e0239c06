"""Every notebook runs from top to bottom, without a warning, and is stored without outputs."""

from pathlib import Path

import nbclient
import nbformat
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
CHECKS = {
    "01_compare_dropout_and_ema": "assert set(table['weights']) == {'raw', 'ema', 'bema'} and table['length'].max() == 31\n"
    "assert len(overview.data) > 9 and len(differences.data) > 3\n"
    "assert certified['set-complement-v32-residual-0.1-seed0', 'ema'] == 31",
}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_notebook_runs(path):
    notebook = nbformat.read(path, as_version=4)
    assert all(not cell.outputs for cell in notebook.cells if cell.cell_type == "code")
    strict = nbformat.v4.new_code_cell("import warnings; warnings.simplefilter('error'); import torch; torch.set_num_threads(1)")
    notebook.cells = [strict, *notebook.cells, nbformat.v4.new_code_cell(CHECKS[path.stem])]
    nbclient.NotebookClient(notebook, timeout=300).execute()
    plots = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs if "data" in output]
    assert any("application/vnd.plotly.v1+json" in output["data"] for output in plots)


def test_there_are_notebooks():
    assert {path.stem for path in NOTEBOOKS} == CHECKS.keys()
