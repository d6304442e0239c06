"""A small command line that is sound for every command, and the files it reads, so that one bad value is all that is wrong."""

import json
import shlex
from pathlib import Path

import torch
import typer
from safetensors.torch import save_file

from models.checkpoint import Card, save_checkpoint
from models.config import ModelConfig, TaskConfig
from models.transformer import Transformer
from workbench.cli import app
from workbench.comparison_table import write_table
from workbench.search_storage import open_storage

from ..models.othello.test_transcripts import move_bytes, wthor_bytes
from ..models.test_importers import mingpt_state
from ..probes.othello_models import small_checkpoint
from ..workbench.made_up_tables import made_up
from ..workbench.planted_study import planted_study
from ..workbench.saved_runs import save_run

FEW = "--sequences 2 --format html"
FEW_GAMES = "--fit-games 4 --format html"
LINES = {
    "demo": "",
    "train": "set-complement --vocab 8 --width 8 --head-width 8 --batch 2 --steps 2 --out made",
    "evaluate": "run --sequences 2",
    "compare": f"run {FEW}",
    "certify": "run --out made",
    "probe displacement": f"run {FEW}",
    "probe dispersion": f"run {FEW}",
    "probe board-state": f"othello --test-games 2 {FEW_GAMES}",
    "probe interventions": f"othello --cases 2 {FEW_GAMES}",
    "probe bracket-depth": f"brackets --fit-sequences 4 {FEW}",
    "probe vanishing-variance": "run --sequences 20 --format html",
    "probe rank-collapse": f"run {FEW}",
    "probe exchangeability": f"run {FEW}",
    "probe entropy-at-initialisation": f"run {FEW}",
    "ablate": f"run {FEW}",
    "search": "set-complement --vocab 8 --steps 2 --trials 1 --sequences 2",
    "study": "sqlite:///{inputs}/study.db --format html",
    "bound": "--vocab 5 --steps 1 --seeds 1 --format html",
    "figures": "comparison.csv --format html",
    "games": "games.txt",
    "import": "foreign.safetensors --out made",
    "bundle": "run --out made",
    "zoo": "",
    "info": "",
    "lab": "notebooks --no-browser",
    "app": "notebook.ipynb --no-browser",
}
"""By command; the first word, where there is an argument, is in the folder of `write_inputs`."""
ARGUMENTS_ELSEWHERE = {"train", "search", "study"}
"""Their argument is no path."""


def words(command: str, inputs: Path) -> list[str]:
    """The sound command line as words."""
    arguments = shlex.split(LINES[command].format(inputs=inputs))
    if arguments and not arguments[0].startswith("-") and command not in ARGUMENTS_ELSEWHERE:
        arguments[0] = str(inputs / arguments[0])
    return [*command.split(), *arguments]


def commands(group=None, before: tuple[str, ...] = ()) -> dict[str, typer.core.TyperCommand]:
    """Every command by its name, such as `probe displacement`."""
    found = {}
    for name, command in (group or typer.main.get_command(app)).commands.items():
        named = (*before, name)
        found |= commands(command, named) if hasattr(command, "commands") else {" ".join(named): command}
    return found


def write_inputs(folder: Path) -> Path:
    """What the sound command lines read; returns the folder."""
    save_run(folder, "run")
    (folder / "run" / "run.json").write_text("{}")
    small_checkpoint(folder / "othello")
    _brackets(folder / "brackets")
    planted_study(40, open_storage(f"sqlite:///{folder}/study.db"))
    write_table(made_up(dropouts=("none",), seeds=(0,)).assign(certified_lengths=7), folder)
    (folder / "games.txt").write_text("e6f6c4c5c6d6g6e3e2\n")
    (folder / "games.wtb").write_bytes(wthor_bytes([move_bytes("f5d6c3")]))
    save_file(mingpt_state(), folder / "foreign.safetensors")
    (folder / "notebooks").mkdir()
    (folder / "notebook.ipynb").write_text(json.dumps({"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    return folder


def _brackets(folder: Path) -> None:
    task = TaskConfig(name="brackets")
    shape = ModelConfig(vocab=4, context=63, layers=1, heads=2, width=8, head_width=4, positions="learned")
    torch.manual_seed(0)
    save_checkpoint(
        folder, Card(name="brackets", model=shape, task=task, seed=0, step=0), {"raw": Transformer(shape).state_dict()}
    )
