"""Bad arguments to what `models/` offers: each public function is tried, or left out by name and with a reason."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import models
from models.brackets import BracketTask
from models.checkpoint import find_checkpoint, read_card, read_trainer, read_weights
from models.device import usable_device
from models.float_type import require_float
from models.hooked import TRANSFORMER_LENS, hook, load, plain_state
from models.importers import import_checkpoint
from models.lengths import chosen_lengths
from models.othello.board import board_of_size
from models.othello.games import generate
from models.othello.labels import board_state
from models.othello.notation import parse_square, square_text
from models.othello.task import OthelloTask
from models.othello.transcripts import read_transcripts, write_transcripts
from models.othello.wthor import read_wthor
from models.plain_file import as_path
from models.set_complement import theory
from models.set_complement.closed_form import closed_form
from models.set_complement.task import SetComplementTask
from models.streams import Draw, require_seed
from models.tasks import make_task
from models.transformer import with_weights
from models.whole_numbers import MOST_COUNTED, require_whole

from .test_bad_arguments import BAD_SEEDS, CASES, NAME, NO_COUNT, NOT_WHOLE, WORDS, as_a_user, require_one_sentence

__all__ = ["as_a_user"]  # a fixture that uses itself

BOARD, TASK = board_of_size(6), SetComplementTask(16)
NO_DEVICE = WORDS.filter(lambda word: "cpu" not in word) | st.sampled_from(["cuda:99", "meta", None, 2.5])
NOWHERE = st.text("abcxyz-0189é", min_size=1).map(lambda word: f"nowhere/{word}")
NO_LENGTH = st.integers(max_value=0) | st.integers(16, 10**9)
NO_SHARE = st.floats(max_value=0) | st.floats(min_value=1) | st.just(float("nan"))


def renamed(value: str) -> dict[str, torch.Tensor]:
    """Weights of which one has another name."""
    state = plain_state(load(NAME))
    return {key if key != "embed.W_E" else value: tensor for key, tensor in state.items()}


TRIED: dict[str, tuple[Callable[[Path, Any], object], st.SearchStrategy]] = {
    "find_checkpoint": (lambda _, value: find_checkpoint(value), NOWHERE),
    "read_card": (lambda _, value: read_card(value), NOWHERE),
    "read_trainer": (lambda _, value: read_trainer(Path(value)), NOWHERE),
    "read_weights": (lambda _, value: read_weights(find_checkpoint(NAME), value), WORDS),
    "import_checkpoint address": (lambda folder, value: import_checkpoint(value, folder / "out"), NOWHERE),
    "import_checkpoint heads": (lambda folder, value: import_checkpoint("x.pth", folder / "out", value), st.integers(-9, 0)),
    "chosen_lengths": (lambda _, value: chosen_lengths(range(1, 16), [1, value]), NO_LENGTH),
    "usable_device": (lambda _, value: usable_device(value), NO_DEVICE),
    "require_float": (lambda _, value: require_float(value), st.sampled_from(["float32", None, torch.int64, torch.bool])),
    "as_path": (lambda _, value: as_path(value), st.sampled_from(["", None, 3, 2.5])),
    "require_seed": (lambda _, value: require_seed(value), BAD_SEEDS),
    "Draw.stream": (lambda _, value: Draw.TRAINING.stream(value), BAD_SEEDS),
    "require_whole": (lambda _, value: require_whole("games", value), NO_COUNT | st.integers(MOST_COUNTED + 1)),
    "hook": (lambda _, value: hook(load(NAME).card.model, renamed(value)), WORDS),
    "with_weights": (lambda _, value: with_weights(load(NAME).card.model, renamed(value)), WORDS),
    "closed_form vocab": (lambda _, value: closed_form(value), st.integers(max_value=2)),
    "closed_form width": (lambda _, value: closed_form(8, value), st.integers(max_value=6)),
    "closed_form gap": (lambda _, value: closed_form(8, gap=value), st.floats(max_value=0) | st.just(float("nan"))),
    "context_displacement": (lambda _, value: theory.context_displacement(1.0, value), st.integers(max_value=0)),
    "query_displacement": (lambda _, value: theory.query_displacement(1.0, 1.0, value), st.integers(max_value=0)),
    "illegal_mass": (lambda _, value: theory.illegal_mass(1.0, value, 15), NO_LENGTH),
    "needed_gap length": (lambda _, value: theory.needed_gap(0.1, value, 15), NO_LENGTH),
    "needed_gap illegal_mass": (lambda _, value: theory.needed_gap(value, 3, 15), NO_SHARE),
    "SetComplementTask": (lambda _, value: SetComplementTask(value), NOT_WHOLE | st.integers(max_value=2)),
    "SetComplementTask.sequences start": (
        lambda _, value: TASK.sequences(0, value, 2),
        NOT_WHOLE | st.integers(-(10**6), -1) | st.integers((1 << 62) + 1, 1 << 80),
    ),
    "SetComplementTask.sequences device": (lambda _, value: TASK.sequences(0, 0, 2, value), NO_DEVICE),
    "BracketTask kinds": (lambda _, value: BracketTask(value, 8), NOT_WHOLE | st.integers(max_value=1)),
    "BracketTask depth": (lambda _, value: BracketTask(2, value), NOT_WHOLE | st.integers(max_value=0)),
    "BracketTask.sequences": (lambda _, value: BracketTask(2, 8).sequences(0, 0, 2, value), NO_DEVICE),
    "OthelloTask.sequences": (lambda _, value: OthelloTask(6).sequences(0, 0, 2, value), NO_DEVICE),
    "board_of_size": (lambda _, value: board_of_size(value), st.integers(9) | WORDS | st.none()),
    "generate device": (lambda _, value: generate(BOARD, 0, 0, 2, value), NO_DEVICE),
    "generate count": (lambda _, value: generate(BOARD, 0, 0, value), st.integers(max_value=-1) | NOT_WHOLE),
    "board_state": (
        lambda _, value: board_state(OthelloTask(6).replay(OthelloTask(6).sequences(0, 0, 2)[:, :5]), value),
        WORDS,
    ),
    "square_text square": (lambda _, value: square_text(value, BOARD), st.integers(36) | st.integers(max_value=-1)),
    "square_text notation": (lambda _, value: square_text(1, BOARD, value), WORDS),
    "parse_square": (lambda _, value: parse_square(value, BOARD), WORDS.filter(lambda word: len(word) > 2)),
    "read_transcripts notation": (lambda _, value: read_transcripts("c2", BOARD, value), WORDS),
    "write_transcripts": (lambda _, value: write_transcripts(OthelloTask(6).sequences(0, 0, 2), BOARD, value), WORDS),
}
UNNAMED = {
    "read_wthor": lambda: read_wthor(b"no archive"),
    "make_task": lambda: make_task("othello"),  # type: ignore[arg-type]
}
"""Where there is no value to name."""

MODULES_LEFT_OUT = {
    "models.hooked.": "steps inside hook, load and those who hook models (tests/models, test_hooks.py)",
    "models.othello.rules": "the rules on words of bits, which games.py hands them",
    "models.othello.dense": "unpacks words of bits of a replay",
    "models.othello.faults": "tells what is wrong with games, see test_bad_games.py",
    "models.random_stream": "arithmetic of the streams, which tasks ask for by number",
    **dict.fromkeys(
        ("models.durable", "models.temporary_siblings"), "write bytes that a caller made, see tests/models/test_durable.py"
    ),
    "models.native_keys": "renames keys of a model that was made",
    "models.table_labels": "tells what a card says",
    "models.token_input": "checks themselves, tried through every function that takes tokens",
    "models.default_models": "takes a configuration, which checks itself",
}
LEFT_OUT = {
    **dict.fromkeys(("bundled_names", "bundled_tables", "bundled_studies", "run_checkpoints"), "lists what is there"),
    **dict.fromkeys(("save_checkpoint", "plain", "plain_state"), "takes what other functions made"),
    **dict.fromkeys(
        ("read_safetensors", "read_plain", "require_plain", "read_content"), "reads files: test_bad_checkpoints.py"
    ),
    **dict.fromkeys(("from_mingpt", "from_transformer_lens"), "steps of import_checkpoint: see tests/models/test_importers.py"),
    "cannot_look": "the error for a path that may not be read, see tests/workbench/test_found_checkpoints.py",
    **dict.fromkeys(("possible_lengths", "require_fit"), "a step inside functions that are tried, which check first"),
    **dict.fromkeys(("replay", "legal_squares", "legal_tokens", "flipped", "game_phase"), "steps of OthelloTask"),
}


@pytest.mark.parametrize("name", TRIED)
def test_a_bad_argument_is_refused_in_one_sentence(name, tmp_path):
    act, values = TRIED[name]

    @settings(max_examples=8)
    @given(values)
    def one(value):
        require_one_sentence(lambda: act(tmp_path, value), value)

    one()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", UNNAMED)
def test_something_else_is_refused_in_one_sentence(name):
    require_one_sentence(UNNAMED[name])


def public_functions() -> set[str]:
    """Of every module of `models/` that is not left out."""
    other_line = "hooked_transformer" if TRANSFORMER_LENS.startswith("4.") else "native"
    found = set()
    for info in pkgutil.walk_packages(models.__path__, "models."):
        if info.name.startswith(tuple(MODULES_LEFT_OUT)) or other_line in info.name:
            continue
        for name, function in inspect.getmembers(importlib.import_module(info.name), inspect.isfunction):
            if function.__module__ == info.name and not name.startswith("_"):
                found.add(name)
    return found


def test_every_public_function_of_models_is_tried_or_left_out_by_name():
    tried = {name.split()[0].split(".")[0] for name in (*TRIED, *CASES)} | set(UNNAMED)
    assert public_functions() - tried == set(LEFT_OUT)
