"""Every public function of probes and workbench is tried with bad arguments, or left out by name and with a reason.

What all functions of a checkpoint share (seed, weights, device, ...) is tried on each of them, found by its signature; what one
function has alone is in the table here or in that of `test_bad_arguments.py`.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any

import plotly.graph_objects as go
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

import probes
import workbench
from models.checkpoint import ZOO, Card
from models.config import AveragingConfig, DropoutRates, TaskConfig
from models.default_models import default_model
from models.hooked import HookedTransformer, hook, load
from models.transformer import Transformer
from probes.board_fit import fit_probes
from probes.entropy_at_initialisation import entropy_at_initialisation
from probes.harvest import Games, Target
from probes.intervention import intervene
from probes.linear_probe import LinearProbe
from probes.residual_stream import Model
from probes.subject import Address, OthelloSubject, SetComplementSubject, Subject, othello_subject
from workbench.bundling import bundle
from workbench.comparison import compare
from workbench.comparison_table import read_table
from workbench.config_options import config_from_options
from workbench.error_sentence import sentence
from workbench.figures.export import save_figures
from workbench.fleet import Fleet
from workbench.report import write_comparison, write_figures
from workbench.search import search
from workbench.search_ledger import Ledger
from workbench.search_space import SearchSpace
from workbench.study import read_studies
from workbench.training import train
from workbench.training_config import TrainingConfig
from workbench.width_bound import sweep

from .test_bad_arguments import (
    BAD_SEEDS,
    CASES,
    NAME,
    NO_COUNT,
    NOT_WHOLE,
    USES,
    WORDS,
    as_a_user,
    model,
    othello,
    require_one_sentence,
)

__all__ = ["as_a_user"]  # a fixture that uses itself

NOT_OURS = ("workbench.widgets", "workbench.commands", "workbench.__main__")
"""Widgets take what their own controls offer; commands are tried by `test_bad_options.py`."""
MODELS = (Address, Model, HookedTransformer, Subject, OthelloSubject, SetComplementSubject)

CHECKED_BY_CALLER = "a step inside functions that are tried, which check first"
ASKS = "tells what a model is and takes nothing else"
LEFT_OUT = {
    "TaskConfig": "a configuration, which checks itself",
    "make_task": "takes a configuration, which checks itself: see test_rates_and_sizes_outside_their_range_are_one_sentence",
    **dict.fromkeys(
        ("context_of", "device_of", "heads_of", "layers_of", "vocab_of", "width_of", "middle_layers", "component_names"), ASKS
    ),
    **dict.fromkeys(("is_minimal", "require_minimal", "require_set_complement", "require_eval", "float64_copy"), ASKS),
    **dict.fromkeys(("require_input", "require_layers", "require_pairs", "find_sites"), CHECKED_BY_CALLER),
    **dict.fromkeys(("visiting", "editing", "replacing", "read_replacement", "cells_of", "plain_form"), CHECKED_BY_CALLER),
    **dict.fromkeys(
        ("logits_and_entropy", "logits_at_all_positions", "drawn_sequences", "harvest", "reading_patterns"), CHECKED_BY_CALLER
    ),
    **dict.fromkeys(("logit_tables", "head_tables"), ASKS),
    **dict.fromkeys(("displacement_report", "dispersion_report"), "calls functions that are tried with what it is given"),
}


@cache
def functions_of_a_model() -> dict[str, FunctionType]:
    """The public functions of probes and workbench whose first argument is a model, in whatever form."""
    found = {}
    for package in (probes, workbench):
        for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if info.name.startswith(NOT_OURS):
                continue
            for name, function in inspect.getmembers(importlib.import_module(info.name), inspect.isfunction):
                arguments = list(inspect.signature(function).parameters.values())
                own = function.__module__ == info.name and not name.startswith("_")
                if own and arguments and arguments[0].annotation in MODELS:
                    found[name] = function
    return found


@cache
def brackets() -> HookedTransformer:
    task = TaskConfig(name="brackets")
    config = default_model(task)
    made = hook(config, Transformer(config).state_dict())
    made.card = Card(name="test", model=config, task=task, train_length=8, seed=0, step=0)
    return made


NO_DEVICE = WORDS.filter(lambda word: "cpu" not in word) | st.sampled_from(["cuda:99", "meta", "cpu:x", "xla", "gpu"])
SHARED: dict[str, st.SearchStrategy] = {
    "model": WORDS.map(lambda word: f"nowhere/{word}"),
    "weights": WORDS,
    "device": NO_DEVICE,
    "seed": BAD_SEEDS,
    "sequences": NO_COUNT,
    "batch": NO_COUNT,
    "ridge": st.floats(max_value=0, allow_infinity=True),
    "strength": st.floats(max_value=0),
    "fit_games": NO_COUNT | st.just(1),
    "test_games": NO_COUNT | st.just(1),
    "fit_sequences": NO_COUNT | st.just(1),
    "test_sequences": NO_COUNT | st.just(1),
}
LOADED = {"board_state": othello, "board_interventions": othello, "bracket_depth": brackets}
ON_DISK = dict.fromkeys(("board_state", "board_interventions", "othello_subject"), "othello-mini-none")
SMALL = {"fit_games": 4, "test_games": 2, "fit_sequences": 4, "test_sequences": 2, "cases": 2, "sequences": 20, "seeds": 2}


def shared() -> list[tuple[str, str]]:
    return [
        (name, argument)
        for name, function in functions_of_a_model().items()
        if "weights" in (arguments := inspect.signature(function).parameters)
        for argument in SHARED
        if argument in arguments
    ]


@pytest.mark.parametrize("name,argument", shared())
def test_what_functions_of_a_checkpoint_share_is_refused_by_each_in_one_sentence(name, argument):
    function = functions_of_a_model()[name]
    few = {key: value for key, value in SMALL.items() if key in inspect.signature(function).parameters}

    @settings(max_examples=5)
    @given(SHARED[argument])
    def one(value):
        subject = ON_DISK.get(name, NAME) if argument in ("weights", "device") else LOADED.get(name, model)()
        require_one_sentence(lambda: function(**({"model": subject} | few | {argument: value})), value)

    one()


def fit(targets=("to_move",), kinds=("closed-form",), **options: Any) -> object:
    return fit_probes(othello_subject(othello()), Games(0, 0, 2), [Target(frame) for frame in targets], kinds, **options)


def intervention(method: Any = "flip", square: Any = 0, state: Any = 0, layers: Any = (1,), **options: Any) -> object:
    shape = (len(othello().blocks) + 1, othello().cfg.d_model, 36, 3)
    probe = LinearProbe(torch.ones(shape), torch.ones(shape[0], 36, 3), torch.ones(shape))
    return intervene(othello(), probe, method, square, state, layers=layers, **options).__enter__()


def searching(tmp_path: Path, trials: Any = 1, **options: Any) -> object:
    space = SearchSpace(vocab=8, steps=1)
    return search(space, trials, Ledger(f"sqlite:///{tmp_path}/search.db", space, {"sequences": 2}), **options)


TINY = config_from_options("set-complement", {"vocab": 8, "width": 8, "head_width": 8, "batch": 2, "steps": 1})


def fleet(**options: Any) -> Fleet:
    return Fleet([TINY], **options)


def training(folder: Any, **options: Any) -> object:
    return train(TINY, folder / "run" if isinstance(folder, Path) else folder, **options)


NO_FLOAT = st.sampled_from(["float32", None, 3, torch.int64, torch.bool, torch.complex64])
FIGURE = {"figure": go.Figure()}
NO_FORMAT = WORDS.filter(lambda word: word not in ("html", "pdf", "svg", "png"))
NO_FILE_NAME = st.sampled_from(["../up", "a/b", "/etc/x", ""])
OUTSIDE_BOARD = st.integers(36, 10**6) | st.integers(-(10**6), -1)
OWN: dict[str, tuple[Callable[[Path, Any], object], st.SearchStrategy]] = {
    "compare device": (lambda _, value: compare([NAME], [1], 2, device=value), NO_DEVICE),
    "compare path": (lambda _, value: compare([f"nowhere/{value}"]), WORDS),
    "load dtype": (lambda _, value: load(NAME, dtype=value), NO_FLOAT),
    "bundle dtype": (lambda folder, value: bundle(NAME, folder / "out", dtype=value), NO_FLOAT),
    "bundle run": (lambda folder, value: bundle(f"nowhere/{value}", folder / "out"), WORDS),
    "bundle steps": (lambda folder, value: bundle(ZOO / NAME, folder / "out", [value]), st.integers(-9, -1)),
    "sweep vocab": (lambda folder, value: sweep(value, folder), st.integers(max_value=3) | NOT_WHOLE),
    "sweep steps": (lambda folder, value: sweep(5, folder, steps=value), NO_COUNT),
    "sweep seeds": (lambda folder, value: sweep(5, folder, seeds=value), NO_COUNT),
    "read_table path": (lambda _, value: read_table(f"nowhere/{value}"), WORDS),
    "read_table kind": (lambda _, value: read_table(value), st.sampled_from([None, 3, 2.5, ""])),
    "Fleet configs": (lambda _, value: Fleet([value]), WORDS | st.none()),
    "Fleet device": (lambda _, value: fleet(device=value), NO_DEVICE),
    "Fleet.run steps": (
        lambda _, value: fleet().run(value),
        NOT_WHOLE.filter(lambda value: value is not None) | st.integers(max_value=-1) | st.integers(2, 10**6),
    ),
    "Fleet.state member": (lambda _, value: fleet().state(value), st.integers(1, 10**6) | st.integers(max_value=-1) | WORDS),
    "Fleet.save_member member": (lambda folder, value: fleet().save_member(value, folder / "m", "m"), st.integers(1, 9)),
    "Fleet.state weights": (lambda _, value: fleet().state(0, value), WORDS),
    "train config": (lambda folder, value: train(value, folder / "run"), WORDS | st.none()),
    "train out": (lambda _, value: training(value), st.sampled_from([None, 3, ""])),
    "load device": (lambda _, value: load(NAME, device=value), NO_DEVICE),
    "train loggers": (lambda folder, value: training(folder, loggers=[value]), WORDS),
    "search trials": (lambda folder, value: searching(folder, value), NO_COUNT),
    "search sequences": (lambda folder, value: searching(folder, sequences=value), NO_COUNT),
    "search fleet_size": (lambda folder, value: searching(folder, fleet_size=value), NO_COUNT),
    "search device": (lambda folder, value: searching(folder, device=value), NO_DEVICE),
    "read_studies storage": (lambda _, value: read_studies(f"storage-{value}"), st.integers().map(str)),
    "entropy_at_initialisation scales": (
        lambda _, value: entropy_at_initialisation(model(), scales=[1.0, value], sequences=2),
        st.floats(max_value=0) | st.just(float("nan")),
    ),
    "entropy_at_initialisation seeds": (
        lambda _, value: entropy_at_initialisation(model(), seeds=value),
        st.integers(max_value=1),
    ),
    "fit_probes frames": (lambda _, value: fit(targets=[value]), WORDS),
    "fit_probes kinds": (lambda _, value: fit(kinds=[value]), WORDS),
    "fit_probes ridge": (lambda _, value: fit(ridge=value), st.floats(max_value=0)),
    "fit_probes batch": (lambda _, value: fit(batch=value), NO_COUNT),
    "intervene method": (lambda _, value: intervention(value), WORDS),
    "intervene square": (lambda _, value: intervention(square=value), OUTSIDE_BOARD),
    "intervene state": (lambda _, value: intervention(state=value), st.integers(2, 10**6) | st.integers(-(10**6), -1)),
    "intervene layers": (lambda _, value: intervention(layers=[value]), st.integers(5, 10**6)),
    "intervene position": (lambda _, value: intervention(position=value), st.integers(60, 10**6)),
    "intervene strength": (lambda _, value: intervention(strength=value), st.floats(max_value=0) | st.just(float("nan"))),
    "save_figures formats": (lambda folder, value: save_figures(FIGURE, folder, [value]), NO_FORMAT),
    "save_figures width": (lambda folder, value: save_figures(FIGURE, folder, ["html"], value), WORDS),
    "save_figures names": (lambda folder, value: save_figures({value: go.Figure()}, folder, ["html"]), NO_FILE_NAME),
    "write_comparison formats": (lambda folder, value: write_comparison([NAME], folder, formats=[value]), NO_FORMAT),
    "write_comparison steps": (lambda folder, value: write_comparison([NAME], folder, steps=value, formats=["html"]), WORDS),
    "write_figures table": (lambda folder, value: write_figures(f"nowhere/{value}", folder), WORDS),
}


@pytest.mark.parametrize("name", OWN)
def test_what_a_function_has_alone_is_refused_in_one_sentence(name, tmp_path):
    act, values = OWN[name]

    @settings(max_examples=8)
    @given(values)
    def one(value):
        require_one_sentence(lambda: act(tmp_path, value), value)

    one()


def test_every_public_function_is_tried_or_left_out_by_name():
    tried = {name for name, _ in shared()} | {case.split()[0] for case in (*CASES, *OWN)} | set(USES)
    public = set(functions_of_a_model()) | set(workbench.__all__)
    assert {"bracket_depth", "intervene", "fit_probes", "ablate", "train"} <= public
    assert public - tried == set(LEFT_OUT)


NO_RATE = st.floats(min_value=1) | st.floats(max_value=-1e-300) | st.just(float("nan"))
NOT_FINITE = st.sampled_from([float("nan"), float("inf")])
FIELDS: dict[str, tuple[Callable[[Any], object], st.SearchStrategy]] = {
    **{site: (lambda value, site=site: DropoutRates(**{site: value}), NO_RATE) for site in DropoutRates.model_fields},
    "vocab": (lambda value: TaskConfig(name="set-complement", vocab=value), st.integers(max_value=2)),
    "name": (lambda value: TaskConfig(name=value), WORDS),
    **{
        field: (lambda value, field=field: AveragingConfig(**{field: value}), NOT_FINITE)
        for field in ("decay", "kappa", "eta", "lag")
    },
    **{
        field: (lambda value, field=field: configured(**{field: value}), values)
        for field, values in {
            "device": NO_DEVICE,
            "beta1": NO_RATE,
            "beta2": NO_RATE,
            "learning_rate": st.floats(max_value=0) | NOT_FINITE,
            "weight_decay": NOT_FINITE,
            "gradient_clip": st.floats(max_value=0) | NOT_FINITE,
            "seed": BAD_SEEDS,
            "steps": NO_COUNT,
            "batch": NO_COUNT,
            "optimizer": WORDS,
        }.items()
    },
}


def configured(**fields: Any) -> TrainingConfig:
    task = TaskConfig(name="set-complement", vocab=8)
    return TrainingConfig(task=task, model=default_model(task), train_length=2, **fields)


@pytest.mark.parametrize("field", FIELDS)
def test_rates_and_sizes_outside_their_range_are_one_sentence(field):
    """As `sentence` tells a user: the field, the value, and what is allowed."""
    act, values = FIELDS[field]

    @settings(max_examples=15)
    @given(values)
    def one(value):
        with pytest.raises(ValidationError) as raised:
            act(value)
        text = sentence(raised.value)
        assert text.startswith(f"{field} {value}: Input should be") and "\n" not in text, text

    one()
