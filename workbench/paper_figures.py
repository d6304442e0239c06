"""The main figures of the workbench from the bundled checkpoints in one go, laid out for print, with a manifest.

OUT/NAME.{pdf,svg,png}    the figures
OUT/NAME.csv              the data of each
OUT/manifest.json         for each figure: its files, the command that measures the same, the sha256 of the weights measured
"""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

import plotly.graph_objects as go
from tqdm.auto import tqdm

from models.checkpoint import bundled_names, bundled_studies, bundled_tables
from models.config import WEIGHTS as ALL_WEIGHTS
from models.config import WeightsName
from models.durable import write_file
from workbench.figures.export import FORMATS, possible_formats, save_figures
from workbench.figures.print_layout import INCHES, Width
from workbench.found_checkpoints import Steps, find_checkpoints

SET_COMPLEMENT = "set-complement-v32-residual-0.1-seed0"
OTHELLO = "othello-mini-none"
STUDY = "set-complement-v16"
WEIGHTS: WeightsName = "raw"
ABLATED_SEQUENCES = 200
PACKAGES = ("legal-tokens-workbench", "torch", "plotly", "kaleido")

Figures = dict[str, go.Figure]


@dataclass(frozen=True)
class Part:
    """Figures that are measured together."""

    command: str
    """the command that measures the same and writes the tables"""
    checkpoints: tuple[str, ...]
    """bundled names"""
    draw: Callable[[], Figures]
    weights: tuple[WeightsName, ...] = (WEIGHTS,)
    steps: Steps = "last"
    files: tuple[Path, ...] = ()
    """bundled tables and studies that are drawn too"""


def write_paper_figures(
    out: str | os.PathLike[str], formats: Sequence[str] = FORMATS, width: Width = "page", progress: bool = False
) -> Path:
    """Measures the bundled checkpoints, draws every figure at a width in print and returns the path of the manifest.

    Raises as `save_figures`; CheckpointError where the bundled checkpoints are missing.
    """
    formats = possible_formats(formats)
    made = {part: part.draw() for part in tqdm(_parts(), unit=" parts", desc="figures", disable=not progress)}
    figures = {name: figure for drawn in made.values() for name, figure in drawn.items()}
    written = save_figures(figures, out, formats, width)
    entries = [_entry(name, part, written) for part, drawn in made.items() for name in drawn]
    manifest = {
        "figures": entries,
        "width": {"name": width, "inches": INCHES[width]},
        "versions": {package: version(package) for package in PACKAGES},
    }
    path = Path(out) / "manifest.json"
    write_file(path, (json.dumps(manifest, indent=1) + "\n").encode())
    return path


def _parts() -> list[Part]:
    return [
        Part("workbench demo", tuple(bundled_names()), _comparison, ALL_WEIGHTS, "all", tuple(bundled_tables())),
        Part(f"workbench probe displacement {SET_COMPLEMENT}", (SET_COMPLEMENT,), _displacement),
        Part(f"workbench certify {SET_COMPLEMENT}", (SET_COMPLEMENT,), _certificate),
        *(
            Part(f"workbench probe dispersion {name}", (name,), partial(_dispersion, name))
            for name in (SET_COMPLEMENT, OTHELLO)
        ),
        Part(f"workbench probe board-state {OTHELLO}", (OTHELLO,), _board_state),
        Part(
            f"workbench ablate {OTHELLO} --what heads --method mean --sequences {ABLATED_SEQUENCES}", (OTHELLO,), _ablation_map
        ),
        Part(f"workbench study {STUDY}", (), partial(_study, STUDY), files=tuple(bundled_studies())),
    ]


def _comparison() -> Figures:
    from workbench.demo import measure_bundled
    from workbench.figures.gallery import comparison_figures, training_figures

    measured = measure_bundled(progress=False)
    over_training = {} if measured.training is None else training_figures(measured.training)
    return comparison_figures(measured.frame) | over_training


def _displacement() -> Figures:
    from models.hooked import load
    from workbench.probe_reports import displacement_report

    figures = displacement_report(load(SET_COMPLEMENT, WEIGHTS)).figures
    return {name: figure for name, figure in figures.items() if name not in ("added-token", "balance")}


def _certificate() -> Figures:
    from probes.certificate import certify
    from workbench.figures.certificate import worst_gap_by_length

    return {"worst-gap-by-length": worst_gap_by_length(certify(SET_COMPLEMENT, weights=WEIGHTS).frame())}


def _dispersion(name: str) -> Figures:
    from models.hooked import load
    from workbench.probe_reports import dispersion_report

    tables, figures = dispersion_report(load(name, WEIGHTS))
    frame = tables["dispersion"]
    task, several_heads = frame["task"].iloc[0], frame["head"].nunique() > 1
    return {f"{task}-{kind}": figure for kind, figure in figures.items() if several_heads or kind != "dispersion-by-head"}


def _board_state() -> Figures:
    from probes.board_state import board_state
    from workbench.probe_reports import board_figures

    return board_figures(board_state(OTHELLO, weights=WEIGHTS))


def _ablation_map() -> Figures:
    from workbench.ablation_map import ablation_map
    from workbench.figures.ablation import ablation_by_head, ablation_by_length

    frame = ablation_map(OTHELLO, method="mean", sequences=ABLATED_SEQUENCES, weights=WEIGHTS)
    trained = int(frame["train_length"].iloc[0])
    return {"ablation-by-head": ablation_by_head(frame, trained), "ablation-by-length": ablation_by_length(frame)}


def _study(name: str) -> Figures:
    from workbench.figures.study import study_figures
    from workbench.study import read_studies
    from workbench.study_report import DRAWN, MAKERS

    (tables,) = read_studies(name)
    made = study_figures(tables, *(MAKERS[table](tables) for table in DRAWN))
    return {f"study-{kind}": figure for kind, figure in made.items()}


def _entry(name: str, part: Part, written: Sequence[Path]) -> dict[str, object]:
    files = [path.name for path in written if path.stem == name]
    found = find_checkpoints(part.checkpoints, part.steps) if part.checkpoints else []
    sums = {
        f"{checkpoint.name}, step {checkpoint.card.step}": {
            weights: checkpoint.card.sha256[f"{weights}.safetensors"] for weights in part.weights
        }
        for checkpoint in found
    }
    files_drawn = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in part.files}
    entry: dict[str, object] = {
        "figure": name,
        "files": files,
        "data": f"{name}.csv",
        "command": part.command,
        "checkpoints": sums,
    }
    return {**entry, **({"tables": files_drawn} if files_drawn else {})}
