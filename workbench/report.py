"""A comparison as a folder: table, figures and report, written in one call.

OUT/comparison.csv, comparison.parquet    the tidy table
OUT/training.csv, training.parquet        the same for every step, where asked for
OUT/figures/NAME.{html,pdf,svg,png}       with one plotly.min.js for the HTML files, and the data in NAME.csv
OUT/report.html                           one page that holds it all
"""

import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
import torch
from tqdm.auto import tqdm

from models.config import WEIGHTS, WeightsName
from models.durable import write_file
from workbench.comparison import compare, lengths_asked_for, weights_asked_for
from workbench.comparison_table import read_any_table, read_table, write_table
from workbench.evaluation import SEQUENCES
from workbench.figures.ablation import ablation_figures
from workbench.figures.export import FORMATS, possible_formats, save_figures
from workbench.figures.gallery import comparison_figures, training_figures
from workbench.figures.print_layout import Width
from workbench.folder_lock import held_alone
from workbench.found_checkpoints import Checkpoint, Steps, card_table, find_checkpoints
from workbench.kept_parts import remove_parts
from workbench.report_page import report_page

PathLike = str | os.PathLike[str]


@dataclass(frozen=True)
class Written:
    """What was written, for whoever wants to open it or say so."""

    tables: tuple[Path, ...]
    figures: tuple[Path, ...]
    report: Path
    frame: pd.DataFrame = field(compare=False, repr=False)
    """the comparison as it was written, which another call may have replaced since"""

    def __str__(self) -> str:
        """One line for people."""
        return ", ".join([*map(str, self.tables), f"{len(self.figures)} figure files", str(self.report)])


def write_comparison(
    paths: Sequence[PathLike],
    out: PathLike,
    *,
    sequences: int = SEQUENCES,
    lengths: Iterable[int] | None = None,
    seed: int = 0,
    weights: Iterable[WeightsName] = WEIGHTS,
    steps: Steps = "last",
    device: torch.device | str = "cpu",
    formats: Sequence[str] = FORMATS,
    progress: bool = False,
) -> Written:
    """Compares checkpoints (`compare`) and writes table, figures and report into a folder; existing files are replaced.

    Where it is interrupted, what is done stays in `out/parts`, and the same call goes on with it.

    Raises as `compare`, `save_figures` and, where another process writes there, `held_alone`.
    """
    formats = possible_formats(formats)
    lengths, weights = lengths_asked_for(lengths), weights_asked_for(weights)
    parts = Path(out) / "parts"
    words = ["workbench", "compare", *map(str, paths), "--sequences", str(sequences), "--seed", str(seed)]
    words += ["--lengths", ",".join(map(str, lengths))] if lengths is not None else []
    words += ["--weights", ",".join(weights)] if weights != WEIGHTS else []
    words += ["--steps", steps] if steps != "last" else []
    words += ["--device", str(device)] if str(device) != "cpu" else []
    settings = {"sequences": sequences, "seed": seed}
    title, command = "Comparison over length", shlex.join(words)
    with held_alone(Path(out)):
        frame = compare(paths, lengths, sequences, seed, weights, steps=steps, device=device, keep=parts, progress=progress)
        written = write_results(frame, find_checkpoints(paths, steps), out, title, command, settings, None, formats, progress)
        remove_parts(parts)
    return written


def write_results(
    frame: pd.DataFrame,
    checkpoints: Sequence[Checkpoint],
    out: PathLike,
    title: str,
    command: str,
    settings: Mapping[str, object],
    training: pd.DataFrame | None = None,
    formats: Sequence[str] = FORMATS,
    progress: bool = False,
) -> Written:
    """Writes table, figures and report of a frame that is at hand; `training` is a frame of every step, for the timelines."""
    folder = Path(out)
    with tqdm(total=4, desc="tables, figures, report", unit=" steps", disable=not progress) as bar:
        tables: tuple[Path, ...] = write_table(frame, folder)
        tables += write_table(training, folder, "training") if training is not None else ()
        bar.update()
        figures = comparison_figures(frame)
        figures |= training_figures(training) if training is not None else {}
        bar.update()
        files = save_figures(figures, folder / "figures", formats)
        bar.update()
        page = report_page(frame, card_table(checkpoints), figures, title, command, settings)
        write_file(folder / "report.html", page.encode())
        bar.update()
    return Written(tables, tuple(files), folder / "report.html", frame)


def write_figures(table: PathLike, out: PathLike, formats: Sequence[str] = FORMATS, width: Width | None = None) -> list[Path]:
    """Draws the figures of a table that `compare` or `ablate` wrote, laid out for print where a width is given.

    `table` may be the folder of a comparison or of ablations, all of which are drawn. Raises ValueError for another file or an
    unknown format.
    """
    folder = Path(table)
    of_ablations = [] if (folder / "comparison.parquet").exists() else sorted(folder.glob("*.parquet"))
    figures = {name: figure for file in of_ablations or [folder] for name, figure in _figures_of(file).items()}
    return save_figures(figures, out, formats, width)


def _figures_of(table: PathLike) -> Mapping[str, go.Figure]:
    frame = read_any_table(table)
    if {"what", "method", "difference_low"} <= set(frame.columns):
        return ablation_figures(frame)
    return comparison_figures(read_table(table))
