"""Every notebook runs from top to bottom in time, without a warning, shows pictures, and is stored without outputs."""

import time
from pathlib import Path

import nbclient
import nbformat
import pytest

from models.checkpoint import Card, save_checkpoint
from models.config import ModelConfig, TaskConfig
from models.transformer import Transformer

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
CHECKS = {
    "01_compare_dropout_and_ema": """
        assert set(table['weights']) == {'raw', 'ema', 'bema'} and table['length'].max() == 31
        assert len(overview.data) > 9 and len(differences.data) > 3
        assert certified.loc['set-complement-v32-residual-0.1-seed0', 'ema'] == 31
        explorer.set(length=20)
        assert {line.x0 for line in explorer.pictures[0].layout.shapes} == {8, 20}
        assert {trace.name for trace in timeline.pictures[0].data} == {'no dropout, raw', 'no dropout, ema', 'no dropout, bema'}
    """,
    "02_set_complement_mechanism": """
        import numpy as np
        assert tables.bias.shape == tables.displacement.shape == tables.attention_logits.shape == (32, 32)
        assert (structure['gamma'] > 0).all() and structure['gamma'].median() > 10
        assert law['ci_low'][0] < law['slope'][0] < law['ci_high'][0] and abs(law['slope'][0] + 1) < 0.2
        assert len(certificate.lengths) == 31 and len(law_figure.data) > 4 and len(worst_gaps.data) >= 2
        explorer.set(row=3, column=5, length=12)
        assert 'length 12' in explorer.pictures[1].layout.title.text and not explorer.background.message.value
        attention.set(model='othello-mini-none, ema', layer=2, head=3, length=25)
        assert np.shape(attention.pictures[0].data[1].z) == (25, 25)
    """,
    "03_othello_explorer": """
        assert wrong.shape == (5, 59) and wrong[-1].mean() < wrong[0].mean()
        assert set(edited_errors) == {'unedited', 'edited', 'pushed at random'}
        assert abs(effects.advantage - shares) < 1e-2
        assert trained.effects.positions == 240
        assert beyond.effects.mean('illegal_mass')[-1] > trained.effects.mean('illegal_mass')[-1]
    """,
    "04_ablation": """
        assert set(explorer.view.tables) == {('othello-mini-none, raw', 'zero')}
        assert explorer.view.tables['othello-mini-none, raw', 'zero']['sequences'].max() == 64
        assert set(effects['length']) == {10, 20, 30, 40, 50} and by_head.data[0].z.shape == (4, 4)
        assert len(by_length.data) >= 12
        assert without_mlp['illegal_mass'] > clean['illegal_mass'] + 0.1
        assert (evaluate(model, sequences=32, lengths=[30])['value'].to_numpy() == clean.to_numpy()).all()
    """,
    "05_paper_figures": """
        assert {path.suffix for path in written} <= {'.pdf', '.svg', '.html'} and len(written) >= len(figures)
        assert all(path.stat().st_size > 1000 for path in written)
        assert len(numbers) > 100 and {'curve', 'x', 'y', 'low', 'high'} <= set(numbers.columns)
    """,
    "06_bring_your_own_checkpoint": """
        assert card.task.name == 'othello' and card.model.layers == 4 and difference < 1e-4
        assert table['length'].max() == 59 and len(page.data) > 3
        assert certificate.certified_lengths == 11 and (solved[solved['metric'] == 'misordered']['value'] == 0).all()
        assert explorer.state['model'] == 'imported, raw'
    """,
    "07_train_and_watch": """
        import pandas as pd
        course = pd.concat([moment.table for moment in watch.view.moments])
        mass = course[(course['metric'] == 'illegal_mass') & (course['length'] == 5) & (course['weights'] == 'raw')]
        assert mass['step'].iloc[-1] == 600 and mass['value'].iloc[-1] < 0.5 * mass['value'].iloc[0]
        assert set(timeline.view.table['step']) == set(range(60, 601, 60)) and set(certified) == {'raw', 'ema', 'bema'}
        assert set(explorer.controls['dropout'].value) == {'none', 'attention 0.1'}
    """,
    "08_with_other_tools": """
        assert restored.shape == (model.cfg.n_layers, 12) and abs(float(restored[0, -1])) < 1
        assert 'AttentionPatterns' in str(page) and torch.equal(read.reshape(8, 12, -1), cache[point][:8])
        assert legal_minus_illegal(spliced) < ceiling
    """,
}
SECONDS = {path.stem: 60 if path.stem == "07_train_and_watch" else 20 for path in NOTEBOOKS}
"""On 2 cores, the start of the kernel included; each takes 15 at most while another test runs beside it."""
START_SECONDS = 6
"""What a kernel takes there to start and to import what notebooks need most; on a slower machine the others grow with it."""
START = "import torch, transformer_lens"
STRICT = """
import warnings; warnings.simplefilter('error')
import torch; torch.set_num_threads(1)
"""
PICTURES = {"application/vnd.plotly.v1+json", "application/vnd.jupyter.widget-view+json"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_notebook_runs(path, tmp_path):
    notebook = nbformat.read(path, as_version=4)
    assert all(not cell.outputs for cell in notebook.cells if cell.cell_type == "code")
    checks = "\n".join(line.strip() for line in CHECKS[path.stem].splitlines()) + "\nwarnings.resetwarnings()"  # for the kernel
    notebook.cells = [nbformat.v4.new_code_cell(STRICT), *notebook.cells, nbformat.v4.new_code_cell(checks)]
    took = seconds(notebook, tmp_path)
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs if "data" in output]
    assert any(PICTURES & output["data"].keys() for output in outputs)
    if took > SECONDS[path.stem]:
        start = seconds(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(START)]), tmp_path)
        assert took <= SECONDS[path.stem] * start / START_SECONDS, f"{took:.0f} s where a kernel takes {start:.1f} s to start"


def seconds(notebook: nbformat.NotebookNode, folder: Path) -> float:
    """Runs a notebook in a folder and says how long that takes."""
    started = time.monotonic()
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    return time.monotonic() - started


OTHERS = {
    "01_compare_dropout_and_ema": "checkpoints = ['othello-mini-none']; with_early_checkpoints = 'set-complement-v32-none-seed0'",
    "02_set_complement_mechanism": "checkpoint, beside = 'set-complement-v16-none-seed0', 'set-complement-v32-none-seed0'",
    "03_othello_explorer": "checkpoints = ['six']",
    "04_ablation": "checkpoints = ['six']",
    "05_paper_figures": "checkpoints = ['othello-mini-none']",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_its_first_cell_is_all_there_is_to_change_for_other_checkpoints(name, tmp_path):
    config = ModelConfig(vocab=33, context=31, layers=2, heads=2, width=16, head_width=8, mlp_width=32)
    card = Card(name="six", model=config, task=TaskConfig(name="othello", board=6), train_length=16)
    save_checkpoint(tmp_path / "six", card, {"raw": Transformer(config, seed=1).state_dict()})
    notebook = nbformat.read(NOTEBOOKS[0].parent / f"{name}.ipynb", as_version=4)
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    first.source = OTHERS[name]
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()


def test_there_are_notebooks():
    assert {path.stem for path in NOTEBOOKS} == CHECKS.keys()
