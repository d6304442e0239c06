"""Bad arguments to the public functions, by the hundred: one sentence that names the value and says what to do.

Run as a user runs them, without the checks of shapes and types that the tests otherwise have.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import jaxtyping
import plotly.graph_objects as go
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.brackets import BracketTask
from models.checkpoint import bundled_names
from models.hooked import HookedTransformer, hook, load, plain, plain_state
from models.othello.board import SIZES, board_of_size
from models.othello.notation import parse_square
from models.othello.task import OthelloTask
from models.othello.transcripts import read_transcripts
from models.set_complement.task import SetComplementTask
from models.tasks import make_task
from models.transformer import with_weights
from models.whole_numbers import MOST_COUNTED
from probes.board_state import board_state
from probes.certificate import certify
from probes.dispersion import dispersion
from probes.exchangeability import exchangeability
from probes.intervention_score import board_interventions
from probes.logit_displacement import added_token, displacement, token_displacement
from probes.rank_collapse import rank_collapse
from probes.residual_stream import read_streams, visiting
from probes.vanishing_variance import vanishing_variance
from workbench.ablation import ablate
from workbench.ablation_map import ablation_map
from workbench.comparison import compare
from workbench.evaluation import evaluate
from workbench.figures.export import possible_formats, save_figures
from workbench.logit_attribution import attribute, logit_attribution
from workbench.metrics import POSITION_METRICS, dispersion_metrics, position_metrics
from workbench.patching import metric_at, patch
from workbench.path_patching import path_patch
from workbench.study import read_studies
from workbench.widgets.othello_explorer.lens import Lens
from workbench.widgets.othello_explorer.lenses import open_lenses
from workbench.widgets.othello_explorer.pool import SPANS, random_pool, scan

NAME = "set-complement-v16-none-seed0"
TASK = SetComplementTask(16)
TOKENS, OTHERS = TASK.sequences(0, 0, 3)[:, :5], TASK.sequences(0, 3, 3)[:, :5]
TASKS = {"set-complement": TASK, "othello": OthelloTask(6), "brackets": BracketTask(2, 8)}


@pytest.fixture(autouse=True, scope="module")
def as_a_user():
    """Shapes and types unchecked, as outside of the tests."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@cache
def model() -> HookedTransformer:
    return load(NAME)


@cache
def othello() -> HookedTransformer:
    return load("othello-mini-none")


@cache
def lens() -> Lens:
    return open_lenses(["othello-mini-none"]).lens("othello-mini-none, raw")


def require_one_sentence(act: Callable[[], object], *named: object) -> None:
    """Asserts that the act fails in one sentence with a remedy that names what was given."""
    with pytest.raises(ValueError) as raised:
        act()
    text = str(raised.value)
    assert "; " in text and "\n" not in text and len(text) < 500, text
    for value in named:
        assert str(value) in text or repr(value) in text, (value, text)


WORDS = st.text(st.characters(exclude_categories=["C", "Z"]), max_size=12).filter(
    lambda word: word not in ("raw", "ema", "bema", "last", "all")
)
NOT_WHOLE = st.sampled_from([2.5, math.nan, "five", None])
BAD_SEEDS = st.one_of(st.integers(max_value=-1), st.integers(min_value=2**32), NOT_WHOLE)
NO_COUNT = st.integers(max_value=0) | st.integers(MOST_COUNTED + 1, 10**30) | NOT_WHOLE
NO_LENGTH = st.one_of(st.integers(max_value=0), st.integers(16, 10**12))

CASES: dict[str, tuple[Callable[[Any], object], st.SearchStrategy]] = {
    "evaluate sequences": (lambda value: evaluate(model(), sequences=value), NO_COUNT),
    "evaluate seed": (lambda value: evaluate(model(), sequences=2, seed=value), BAD_SEEDS),
    "evaluate batch": (lambda value: evaluate(model(), sequences=2, batch=value), NO_COUNT),
    "evaluate lengths": (lambda value: evaluate(model(), sequences=2, lengths=[1, value]), NO_LENGTH),
    "evaluate lengths without a list": (lambda value: evaluate(model(), sequences=2, lengths=value), st.integers(1, 15)),
    "evaluate weights": (lambda value: evaluate(NAME, weights=value), WORDS),
    "evaluate path": (lambda value: evaluate(f"nowhere/{value}"), WORDS),
    "evaluate device": (lambda value: evaluate(NAME, device=value), WORDS.filter(lambda word: "cpu" not in word)),
    "compare sequences": (lambda value: compare([NAME], sequences=value), NO_COUNT),
    "compare seed": (lambda value: compare([NAME], sequences=2, seed=value), BAD_SEEDS),
    "compare batch": (lambda value: compare([NAME], sequences=2, batch=value), NO_COUNT),
    "compare weights": (lambda value: compare([NAME], sequences=2, weights=[value]), WORDS),
    "compare weights, some known": (
        lambda value: compare([NAME], sequences=2, weights=["raw", value, "ema"]),
        WORDS | st.none(),
    ),
    "compare weights without a list": (lambda value: compare([NAME], sequences=2, weights=value), WORDS | st.integers()),
    "compare lengths": (lambda value: compare([NAME], [1, value], 2), st.integers(max_value=0) | NOT_WHOLE),
    "compare lengths beyond the context": (lambda value: compare([NAME], [value], 2), st.integers(16, 1 << 20)),
    "compare lengths without a list": (lambda value: compare([NAME], value, 2), st.integers() | WORDS),
    "compare paths": (lambda value: compare([NAME, value], [1], 2), st.integers() | st.none()),
    "evaluate task": (lambda value: evaluate(model(), value), WORDS),
    "patch model": (lambda value: patch(value, TOKENS, OTHERS, "heads", metric_at(TASK, TOKENS, "margin")), WORDS),
    "patch metric": (lambda value: patch(model(), TOKENS, OTHERS, "heads", value), WORDS | st.none()),
    "path_patch model": (lambda value: path_patch(value, TOKENS, OTHERS, "logits", metric_at(TASK, TOKENS, "margin")), WORDS),
    "ablate model": (lambda value: ablate(value, "blocks.0.attn").__enter__(), WORDS),
    "attribute model": (lambda value: attribute(value, TOKENS, TASK.legal(TOKENS)), WORDS),
    "read_streams model": (lambda value: read_streams(value, TOKENS, lambda layer, stream: None), WORDS),
    "compare steps": (lambda value: compare([NAME], [1], sequences=2, steps=value), WORDS),
    "load weights": (lambda value: load(NAME, value), WORDS),
    "certify weights": (lambda value: certify(NAME, weights=value), WORDS),
    "displacement sequences": (lambda value: displacement(model(), value), st.integers(max_value=1)),
    "displacement seed": (lambda value: displacement(model(), 2, value), BAD_SEEDS),
    "token_displacement seed": (lambda value: token_displacement(model(), 2, value), BAD_SEEDS),
    "added_token lengths": (lambda value: added_token(model(), [value], 2), NO_LENGTH),
    "dispersion sequences": (lambda value: dispersion(model(), sequences=value), st.integers(max_value=1)),
    "dispersion batch": (lambda value: dispersion(model(), sequences=2, batch=value), NO_COUNT),
    "dispersion controls": (lambda value: dispersion(model(), sequences=2, controls=[value]), WORDS),
    "rank_collapse seed": (lambda value: rank_collapse(model(), sequences=2, seed=value), BAD_SEEDS),
    "rank_collapse batch": (lambda value: rank_collapse(model(), sequences=2, batch=value), NO_COUNT),
    "vanishing_variance sequences": (lambda value: vanishing_variance(model(), sequences=value), st.integers(max_value=19)),
    "exchangeability lengths": (lambda value: exchangeability(model(), sequences=2, lengths=[value]), NO_LENGTH),
    "ablate component": (lambda value: ablate(model(), value).__enter__(), WORDS),
    "ablate head": (lambda value: ablate(model(), "blocks.0.attn", head=value).__enter__(), st.integers(min_value=1)),
    "ablate method": (lambda value: ablate(model(), "blocks.0.attn", method=value).__enter__(), WORDS),
    "ablation_map what": (lambda value: ablation_map(model(), what=value), WORDS),
    "ablation_map method": (lambda value: ablation_map(model(), method=value), WORDS),
    "ablation_map lengths": (lambda value: ablation_map(model(), lengths=[value]), NO_LENGTH),
    "ablation_map seed": (lambda value: ablation_map(model(), sequences=2, seed=value), BAD_SEEDS),
    "ablation_map positions": (
        lambda value: ablation_map(model(), sequences=2, positions=[value]),
        st.integers(15, 10**12),
    ),
    "metric_at metric": (lambda value: metric_at(TASK, TOKENS, value), WORDS.filter(lambda word: word not in POSITION_METRICS)),
    "metric_at length": (
        lambda value: metric_at(TASK, TOKENS, "margin", value),
        st.integers(6, 10**12) | st.integers(max_value=0) | st.sampled_from([2.5, math.nan, "five"]),
    ),
    "patch what": (lambda value: patch(model(), TOKENS, OTHERS, value, metric_at(TASK, TOKENS, "margin")), WORDS),
    "patch positions": (
        lambda value: patch(model(), TOKENS, OTHERS, "heads", metric_at(TASK, TOKENS, "margin"), [value]),
        st.integers(5, 10**12),
    ),
    "path_patch receiver": (
        lambda value: path_patch(model(), TOKENS, OTHERS, (value, 0), metric_at(TASK, TOKENS, "margin")),
        st.integers(1, 10**6) | st.integers(max_value=-1),
    ),
    "logit_attribution lengths": (lambda value: logit_attribution(model(), lengths=[value], sequences=2), NO_LENGTH),
    "board_state fit_games": (lambda value: board_state(othello(), fit_games=value, test_games=2), st.integers(max_value=1)),
    "board_state probes": (lambda value: board_state(othello(), [value], fit_games=2, test_games=2), WORDS),
    "board_state frames": (lambda value: board_state(othello(), frames=[value], fit_games=2, test_games=2), WORDS),
    "board_interventions methods": (lambda value: board_interventions(othello(), methods=[value], cases=2, fit_games=4), WORDS),
    "board_interventions layers": (
        lambda value: board_interventions(othello(), layers=[value], cases=2, fit_games=4),
        st.integers(5, 10**6),
    ),
    "board_interventions cases": (lambda value: board_interventions(othello(), cases=value, fit_games=4), NO_COUNT),
    "scan span": (
        lambda value: scan(lens(), random_pool(lens().subject.task.board, 2), span=value),
        WORDS.filter(lambda word: word not in SPANS),
    ),
    "SetComplementTask vocab": (SetComplementTask, st.integers(max_value=2)),
    "OthelloTask board": (OthelloTask, st.integers().filter(lambda size: size not in SIZES)),
    "SetComplementTask sequences": (lambda value: TASK.sequences(0, 0, value), st.integers(max_value=-1)),
    "OthelloTask sequences": (lambda value: TASKS["othello"].sequences(0, 0, value), st.integers(max_value=-1)),
}


@pytest.mark.parametrize("name", CASES)
def test_values_out_of_range_and_unknown_names_are_one_sentence(name):
    act, values = CASES[name]

    @settings(max_examples=15)
    @given(values)
    def one(value):
        require_one_sentence(lambda: act(value), value)

    one()


USES: dict[str, Callable[[torch.Tensor], object]] = {
    "legal": TASK.legal,
    "read_streams": lambda tokens: read_streams(model(), tokens, lambda layer, stream: None),
    "attribute": lambda tokens: attribute(model(), tokens, TASK.legal(TOKENS)),
    "patch": lambda tokens: patch(model(), tokens, tokens, "heads", metric_at(TASK, TOKENS, "margin")),
    "path_patch": lambda tokens: path_patch(model(), tokens, tokens, "logits", metric_at(TASK, TOKENS, "margin")),
    "ablate": lambda tokens: ablate(model(), "blocks.0.attn", method="mean", reference=tokens).__enter__(),
    "metric_at": lambda tokens: metric_at(TASK, tokens, "margin"),
}


@pytest.mark.parametrize("use", USES)
@given(st.data())
def test_tokens_that_are_no_input_are_one_sentence(use, data):
    """Out of range, too many, none at all, of another type or number of axes; repeated ones where there is a task."""
    tokens = TOKENS.clone()
    kind = data.draw(st.sampled_from(["outside", "too long", "empty", "float", "one axis", "three axes", "bool", "no values"]))
    named: list[object] = []
    match kind:
        case "outside":
            value = data.draw(st.integers(-(2**62), -1) | st.integers(16, 2**62))
            tokens[data.draw(st.integers(0, 2)), data.draw(st.integers(0, 4))] = value
            named = [value]
        case "too long":
            tokens = torch.arange(data.draw(st.integers(17, 40)))[None] % 16
            named = [tokens.shape[1]]
        case "empty":
            tokens = tokens[:, :0]
        case "float":
            tokens, named = tokens.to(data.draw(st.sampled_from([torch.float32, torch.float16]))), ["float"]
        case "bool":
            tokens, named = tokens > 3, ["bool"]
        case "no values":
            tokens, named = tokens.to("meta"), ["meta"]
        case "one axis":
            tokens, named = tokens[0], [(5,)]
        case "three axes":
            tokens, named = tokens[None], [(1, 3, 5)]
    require_one_sentence(lambda: USES[use](tokens), *named)


@pytest.mark.parametrize("name", TASKS)
@given(st.data())
def test_tasks_judge_any_tokens_or_refuse_them_in_one_sentence(name, data):
    """Mostly illegal moves, repeats and brackets that close nothing; a prefix that is legal has a legal mask of its shape."""
    task = TASKS[name]
    row = data.draw(st.lists(st.integers(-2, task.vocab + 1), max_size=task.longest + 2))
    tokens = torch.tensor([row], dtype=torch.long).reshape(1, len(row))
    try:
        legal = task.legal(tokens)
    except ValueError as error:
        text = str(error)
        assert "; " in text and "\n" not in text, text
    else:
        assert legal.shape == (1, len(row), task.vocab)
        sequence = [token for token in row if token != task.pad]
        for position, token in enumerate(sequence[1:]):
            assert legal[0, position, token]


@given(st.text(max_size=40), st.sampled_from(SIZES))
def test_any_text_is_a_game_or_one_sentence(text, size):
    board = board_of_size(size)
    for read in (lambda: read_transcripts(text, board), lambda: parse_square(text, board)):
        try:
            read()
        except ValueError as error:
            assert "; " in str(error) and "\n" not in str(error), str(error)


def test_another_default_type_of_numbers_changes_nothing_for_board_probes():
    few = {"probes": ["closed-form", "nonlinear"], "fit_games": 4, "test_games": 2}
    usual = board_state(othello(), controls=["shuffled labels"], **few)
    torch.set_default_dtype(torch.float64)
    try:
        board_state("othello-mini-none", controls=["random weights"], **few)
        found = board_state(othello(), controls=["shuffled labels"], **few)
    finally:
        torch.set_default_dtype(torch.float32)
    assert found["value"].equals(usual["value"])


def test_there_are_bundled_models_to_try_this_on():
    assert {NAME, "othello-mini-none"} <= set(bundled_names())


LOGITS = torch.zeros(3, 5, 16)
OTHER_THINGS = {
    "a list of tokens": lambda: attribute(model(), [[0, 1]], TASK.legal(TOKENS)),
    "no pair of sequences": lambda: patch(model(), TOKENS[:0], OTHERS[:0], "heads", metric_at(TASK, TOKENS, "margin")),
    "no position": lambda: ablation_map(model(), positions=[], sequences=2),
    "the name of a task": lambda: make_task("othello"),
    "a name longer than any can be": lambda: load("x" * 300),
    "legal tokens as numbers": lambda: position_metrics(torch.zeros(2, 3, 16), torch.ones(2, 3, 16)),
    "legal tokens of other inputs": lambda: attribute(model(), TOKENS, TASK.legal(TOKENS)[:, :2]),
    "a module that is no model of ours": lambda: evaluate(torch.nn.Linear(2, 2)),
    "nothing": lambda: load(None),
    "a port that is no number": lambda: read_studies("postgresql+psycopg://me@host:port/x"),
    "logits on no device": lambda: position_metrics(LOGITS.to("meta"), TASK.legal(TOKENS)),
    "legal tokens on another device": lambda: position_metrics(LOGITS, TASK.legal(TOKENS).to("meta")),
    "both on no device": lambda: position_metrics(LOGITS.to("meta"), TASK.legal(TOKENS).to("meta")),
    "legal tokens on another device than the model": lambda: attribute(model(), TOKENS, TASK.legal(TOKENS).to("meta")),
    "no logits": lambda: position_metrics(None, TASK.legal(TOKENS)),
    "logits of one sequence": lambda: position_metrics(LOGITS[0], TASK.legal(TOKENS)[0]),
    "logits as text": lambda: position_metrics("logits", TASK.legal(TOKENS)),
    "no entropies": lambda: dispersion_metrics(None),
    "entropies of another shape": lambda: dispersion_metrics(LOGITS),
    "nothing to read streams with": lambda: read_streams(model(), TOKENS, None),
    "nothing to visit streams with": lambda: visiting(model(), "visit").__enter__(),
    "layers that are no list": lambda: visiting(model(), lambda layer, stream: None, 0).__enter__(),
    "no configuration to hook": lambda: hook(None, {}),
    "no weights to hook": lambda: hook(model().card.model, None),
    "no tensors to hook": lambda: hook(model().card.model, dict.fromkeys(plain_state(model()))),
    "no configuration of weights": lambda: with_weights(None, {}),
    "no hooked model": lambda: plain(None),
    "a plain model as a hooked one": lambda: plain(plain(model())),
    "the state of no model": lambda: plain_state("model"),
    "no figure": lambda: save_figures({"a": None}, "/dev/null/made", ["html"]),
    "no figures": lambda: save_figures(None, "/dev/null/made", ["html"]),
    "figures without names": lambda: save_figures([go.Figure()], "/dev/null/made", ["html"]),
    "a number as a figure's name": lambda: save_figures({3: go.Figure()}, "/dev/null/made", ["html"]),
    "no folder for figures": lambda: save_figures({"a": go.Figure()}, None, ["html"]),
    "no formats": lambda: save_figures({"a": go.Figure()}, "/dev/null/made", None),
    "one format that is no list": lambda: possible_formats("html"),
}


@pytest.mark.parametrize("thing", OTHER_THINGS)
def test_what_is_something_else_is_one_sentence(thing):
    require_one_sentence(OTHER_THINGS[thing])
