"""Executes the notebooks and writes each as a page with static figures: `docs/gallery/*.md`, SVG and CSV beside it.

For: `make docs`, before mkdocs runs. Not for: live widgets, which need a kernel (`make lab`). Figures are those that plotly
shows and those of the explorers (`workbench/widgets/explorer.py`); the Othello explorer brings a still picture of its own.
"""

import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbclient
import nbformat

from workbench.figures.export import possible_formats

ROOT = Path(__file__).parents[1]
GALLERY = ROOT / "docs" / "gallery"
EXECUTION_SECONDS = 600
WIDTH = 1040
"""In px, of figures that take the width there is."""
BEFORE = """
import plotly.graph_objects as go
from IPython.display import display
from workbench.widgets.explorer import Explorer

shown = {{}}

def show(count, figures):
    names = [f"{name}-{{len(shown) + number}}" for number in range(1, count + 1)]
    shown.update((name, (figures, place)) for place, name in enumerate(names))
    display({{"application/json": names}}, raw=True)

formatter = get_ipython().display_formatter.ipython_display_formatter
formatter.for_type(go.Figure, lambda figure: show(1, lambda: [figure]))
formatter.for_type(Explorer, lambda explorer: show(len(explorer.figures()), explorer.figures))
"""
"""Run before a notebook's own cells: what shows a figure, or an explorer with some, is kept."""
AFTER = """
from pathlib import Path
from workbench.figures.export import save_figures

drawn = {{name: go.Figure(figures()[place]) for name, (figures, place) in shown.items()}}
for figure in drawn.values():
    figure.update_layout(width=figure.layout.width or {width})
written = save_figures(drawn, Path({folder!r}), ["svg"])
assert len(written) == len(drawn), "a figure could not be drawn"
"""
"""Run after them: figures as they are in the end, so that a widget that went on working shows its work."""
PROGRESS = "application/vnd.jupyter.widget-view+json"
"""What is a widget and has no still picture is a progress bar."""
FOOT = "Rendered from `notebooks/{name}.ipynb`; `make lab` opens it with its widgets alive."


def main() -> None:
    """Writes the pages of the notebooks whose names begin as the arguments do, of all without arguments."""
    if possible_formats(["svg"]) != ("svg",):
        sys.exit("the gallery's figures need a Chrome or Chromium: `make system` installs one")
    GALLERY.mkdir(exist_ok=True)
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        if path.stem.startswith(tuple(sys.argv[1:]) or ""):
            write_page(path)


def write_page(path: Path) -> None:
    """Executes one notebook and writes its page."""
    notebook = nbformat.read(path, as_version=4)
    cells, name = notebook.cells, path.stem
    before, after = BEFORE.format(name=name), AFTER.format(folder=str(GALLERY), width=WIDTH)
    notebook.cells = [nbformat.v4.new_code_cell(before), *cells, nbformat.v4.new_code_cell(after)]
    with tempfile.TemporaryDirectory() as folder:
        resources = {"metadata": {"path": folder}}
        nbclient.NotebookClient(notebook, timeout=EXECUTION_SECONDS, resources=resources).execute()
    text = "\n\n".join(map(_cell, cells))
    (GALLERY / f"{name}.md").write_text(f"{text}\n\n*{FOOT.format(name=name)}*\n")


def _cell(cell: Any) -> str:
    """Text as it is, code as a block with its outputs below."""
    if cell.cell_type == "markdown":
        return cell.source
    printed = "".join(output.text for output in cell.outputs if output.get("name") == "stdout")
    shown = (_output(output.data) for output in cell.outputs if "data" in output)
    return "\n\n".join([f"```python\n{cell.source}\n```", *([_text(printed)] if printed else []), *shown])


def _output(data: dict[str, Any]) -> str:
    """The richest static form of one output."""
    if "application/json" in data:
        return "\n\n".join(
            f"![figure {name}]({name}.svg)\n\n[data of this figure]({name}.csv){{.data}}" for name in data["application/json"]
        )
    if "<script" in data.get("text/html", ""):
        return "*(A page of another tool, which loads its code from the network: open the notebook to see it.)*"
    if "text/html" in data:
        return f'<div class="still">{_one_block(data["text/html"])}</div>'
    return "" if PROGRESS in data else _text(data["text/plain"])


def _text(words: str) -> str:
    return f"```text\n{words.rstrip()}\n```"


def _one_block(html: str) -> str:
    """HTML that Markdown leaves as it is, without blank lines, and whose tables look like the site's."""
    html = re.sub(r"<style.*?</style>", "", html, flags=re.DOTALL).replace('border="1" class="dataframe"', "")
    return re.sub(r"\n\s*", "\n", html)


if __name__ == "__main__":
    main()
