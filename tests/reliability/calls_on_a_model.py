"""A call of every public function that runs a hooked model, on models small enough to be called hundreds of times."""

from collections.abc import Callable
from pathlib import Path

import torch
from tqdm.auto import tqdm

from models.checkpoint import Card
from models.config import ModelConfig, TaskConfig
from models.hooked import HookedTransformer, hook, plain, plain_state
from models.hooked.own_hooks import keeping, own_hooks
from models.othello.labels import STATES
from models.set_complement.task import SetComplementTask
from models.transformer import Transformer
from probes.attention_pattern import reading_patterns
from probes.balance import balance
from probes.board_fit import fit_probes
from probes.board_probe import BoardProbe, ProbeCard
from probes.board_state import board_state
from probes.bracket_depth import bracket_depth
from probes.certificate import certify
from probes.dispersion import dispersion
from probes.displacement_structure import displacement_structure
from probes.entropy_at_initialisation import entropy_at_initialisation
from probes.exchangeability import exchangeability
from probes.harvest import Games, Target, harvest
from probes.intervention import editing, intervene
from probes.intervention_score import board_interventions
from probes.linear_probe import LinearProbe
from probes.logit_displacement import added_token, displacement, token_displacement
from probes.logit_tables import head_tables, logit_tables
from probes.minimal_model import float64_copy, logits_at_all_positions
from probes.rank_collapse import rank_collapse
from probes.residual_stream import read_streams, visiting
from probes.row_entropy import logits_and_entropy
from probes.subject import othello_subject, subject, untrained
from probes.two_token_identity import two_token_identity
from probes.vanishing_variance import vanishing_variance
from workbench.ablation import ablate
from workbench.ablation_map import ablation_map
from workbench.ablation_methods import read_replacement
from workbench.components import Site, find_sites, replacing
from workbench.evaluation import evaluate, evaluate_together
from workbench.logit_attribution import attribute, logit_attribution
from workbench.patching import metric_at, patch
from workbench.path_patching import path_patch
from workbench.probe_reports import dispersion_report, displacement_report
from workbench.rerun_from import CleanRun, cells_of, plain_form
from workbench.widgets.displacement_explorer import read_mechanism
from workbench.widgets.example import read_example
from workbench.widgets.othello_explorer.effects import Question, effects, one_position
from workbench.widgets.othello_explorer.game import Edit
from workbench.widgets.othello_explorer.lens import Changes, Lens, at_strength

from ..probes.othello_models import SMALL, SMALL_BOARD

Call = Callable[[HookedTransformer], object]

TASK = SetComplementTask(8)
TOKENS, OTHERS = TASK.sequences(0, 0, 4)[:, :5], TASK.sequences(0, 4, 4)[:, :5]
MINIMAL = ModelConfig(vocab=8, context=7, width=12, head_width=12)
DEEP = ModelConfig(vocab=8, context=7, layers=2, heads=2, width=12, head_width=6, mlp_width=24, positions="learned", norm="pre")
SHAPES = {
    "minimal": (MINIMAL, TaskConfig(name="set-complement", vocab=8)),
    "deep": (DEEP, TaskConfig(name="set-complement", vocab=8)),
    "othello": (SMALL, SMALL_BOARD),
    "brackets": (ModelConfig(vocab=4, context=8, width=12, head_width=12), TaskConfig(name="brackets")),
}


def made(name: str) -> HookedTransformer:
    """A hooked model of random weights with a card, after its first pass: then TransformerLens 4 has put on its own hooks."""
    config, task = SHAPES[name]
    model = hook(config, Transformer(config, seed=1).state_dict())
    model.card = Card(name=name, model=config, task=task, seed=1, step=0)
    model(torch.zeros(1, 2, dtype=torch.int64))
    return model


def nothing(*_: object, **__: object) -> None:
    pass


def probe() -> LinearProbe:
    shape = (SMALL.layers + 1, SMALL.width, 36, 3)
    draw = torch.Generator().manual_seed(0)
    weight, pattern = torch.randn(shape, generator=draw), torch.randn(shape, generator=draw)
    return LinearProbe(weight, torch.zeros(shape[0], 36, 3), pattern)


def games(model: HookedTransformer) -> torch.Tensor:
    return othello_subject(model).task.sequences(0, 0, 2)[:, :5]


def lens(model: HookedTransformer) -> Lens:
    squares = {"states": STATES["to_move"], "layers": tuple(range(SMALL.layers + 1)), "width": SMALL.width, "squares": 36}
    card = ProbeCard(kind="closed-form", frame="to_move", **squares, seed=0, games=2, checkpoint="m", weights="raw")
    return Lens("m", Path("m"), "raw", model, othello_subject(model), probe=BoardProbe(card, probe()))


CHANGES = Changes(strengths=(((0, 1), 0.5),), edits=(Edit("flip", 3, 0), Edit("add", 4, 1)), edit_layers=(1, 2))


def in_ablation(model: HookedTransformer) -> None:
    of_a_head = ablate(model, "blocks.1.attn", head=0, method="mean", reference=TOKENS)
    with of_a_head, ablate(model, "blocks.0.mlp", method="resample", reference=TOKENS):
        model(OTHERS)


def in_edit(model: HookedTransformer) -> None:
    with editing(model, lambda layer, stream: stream + 1, layers=[0, 2]):
        model(TOKENS)


def in_intervention(model: HookedTransformer) -> None:
    with intervene(model, probe(), "flip", 3, 0, layers=[1]), intervene(model, probe(), "erase", 4, 1, layers=[1, 2]):
        model(games(model))


def in_visit(model: HookedTransformer) -> None:
    with visiting(model, nothing):
        model(TOKENS)


def in_reading_of_patterns(model: HookedTransformer) -> None:
    with reading_patterns(model, nothing):
        model(TOKENS)


def in_own_hooks(model: HookedTransformer) -> None:
    with own_hooks(model, [("hook_embed", nothing), ("hook_embed", nothing), ("blocks.1.attn.hook_pattern", nothing)]):
        model(TOKENS)


def in_keeping(model: HookedTransformer) -> None:
    with keeping(model, model.hook_dict):
        model(TOKENS)


def in_replacement(model: HookedTransformer) -> None:
    sites: tuple[Site, ...] = find_sites(model, "blocks.0")
    with replacing(model, sites, lambda point, value: 0 * value):
        model(TOKENS)


def at_half_strength(model: HookedTransformer) -> None:
    with torch.no_grad(), at_strength(model, (0, 1), 0.5):
        model(TOKENS)


def rerun(model: HookedTransformer) -> None:
    for what in ("heads", "mlp", "stream"):
        run = CleanRun(model, plain_form(model, TOKENS), TOKENS, what)
        for _ in run.with_replaced(cells_of(model, what), lambda point, value: 0 * value):
            pass


def evaluated_together(model: HookedTransformer) -> None:
    evaluate_together([model, model], [[2, 3], [2, 3]], TASK, [(0, 1)], 4, 0, 2, tqdm(disable=True))


def effects_of(model: HookedTransformer) -> None:
    tokens, one = games(model), lens(model)
    legal = one.subject.task.legal(tokens)
    effects(one, tokens, legal, legal, torch.ones_like(tokens, dtype=torch.bool))


def effects_at_one_position(model: HookedTransformer) -> None:
    tokens, one = games(model), lens(model)
    legal = one.subject.task.legal(tokens)[0, -1].nonzero()[:, 0].tolist()
    one_position(one, Question(tuple(tokens[0].tolist()), CHANGES, tuple(legal), tuple(legal)))


def metric(calls_until_error: int = -1, error: type[BaseException] = ValueError) -> Callable[[torch.Tensor], torch.Tensor]:
    measure = metric_at(TASK, TOKENS, "illegal_mass")

    def counted(logits: torch.Tensor) -> torch.Tensor:
        nonlocal calls_until_error
        calls_until_error -= 1
        if calls_until_error == 0:
            raise error("of the user's own metric")
        return measure(logits)

    return counted


CALLS: dict[str, tuple[str, Call]] = {
    "balance": ("minimal", balance),
    "displacement": ("deep", lambda model: displacement(model, 4)),
    "token_displacement": ("deep", lambda model: token_displacement(model, 4)),
    "added_token": ("deep", lambda model: added_token(model, [2, 3], 4)),
    "dispersion": ("deep", lambda model: dispersion(model, sequences=4)),
    "rank_collapse": ("deep", lambda model: rank_collapse(model, sequences=4)),
    "vanishing_variance": ("deep", lambda model: vanishing_variance(model, sequences=20)),
    "exchangeability": ("deep", lambda model: exchangeability(model, sequences=4)),
    "entropy_at_initialisation": (
        "deep",
        lambda model: entropy_at_initialisation(model, scales=[1.0], seeds=2, sequences=4),
    ),
    "bracket_depth": ("brackets", lambda model: bracket_depth(model, fit_sequences=4, test_sequences=4)),
    "visiting": ("deep", in_visit),
    "read_streams": ("deep", lambda model: read_streams(model, TOKENS, nothing)),
    "reading_patterns": ("deep", in_reading_of_patterns),
    "logits_and_entropy": ("deep", lambda model: logits_and_entropy(model, TOKENS)),
    "logits_at_all_positions": ("deep", lambda model: logits_at_all_positions(model, TOKENS.numpy())),
    "own_hooks": ("deep", in_own_hooks),
    "keeping": ("deep", in_keeping),
    "evaluate": ("deep", lambda model: evaluate(model, sequences=4)),
    "evaluate_together": ("deep", evaluated_together),
    "displacement_report": ("deep", lambda model: displacement_report(model, 4)),
    "dispersion_report": ("deep", lambda model: dispersion_report(model, 4)),
    "ablate": ("deep", in_ablation),
    "ablation_map": ("deep", lambda model: ablation_map(model, lengths=[2, 3], sequences=4)),
    "read_replacement": ("deep", lambda model: read_replacement(model, ["blocks.0.attn.hook_z"], "resample", TOKENS)),
    "replacing": ("deep", in_replacement),
    "CleanRun": ("deep", rerun),
    "plain_form": ("deep", lambda model: plain_form(model, TOKENS)),
    "patch": ("deep", lambda model: patch(model, TOKENS, OTHERS, "heads", metric())),
    "logit_attribution": ("deep", lambda model: logit_attribution(model, sequences=4)),
    "attribute": ("deep", lambda model: attribute(model, TOKENS, TASK.legal(TOKENS))),
    "editing": ("deep", in_edit),
    "intervene": ("othello", in_intervention),
    "plain": ("deep", plain),
    "plain_state": ("deep", plain_state),
    "float64_copy": ("deep", float64_copy),
    "untrained": ("deep", lambda model: untrained(subject(model), 0)),
    "harvest": ("othello", lambda model: harvest(othello_subject(model), Games(0, 0, 4), [Target("colour")], nothing, batch=2)),
    "fit_probes": (
        "othello",
        lambda model: fit_probes(othello_subject(model), Games(0, 0, 4), [Target("to_move")], ["logistic"], batch=2),
    ),
    "board_state": ("othello", lambda model: board_state(model, fit_games=4, test_games=4, batch=2)),
    "board_interventions": ("othello", lambda model: board_interventions(model, cases=4, fit_games=8)),
    "read_example": ("deep", lambda model: read_example(model, TASK, 0)),
    "Lens": ("othello", lambda model: lens(model).read(games(model)[0].tolist(), CHANGES)),
    "at_strength": ("deep", at_half_strength),
    "effects": ("othello", effects_of),
    "one_position": ("othello", effects_at_one_position),
}
"""By name: which of `SHAPES`, and the call."""

REFUSING: dict[str, tuple[str, Call]] = {
    "certify": ("minimal", certify),
    "displacement_structure": ("minimal", displacement_structure),
    "two_token_identity": ("minimal", lambda model: two_token_identity(model, 4)),
    "head_tables": ("minimal", head_tables),
    "logit_tables": ("minimal", logit_tables),
    "read_mechanism": ("minimal", read_mechanism),
    "path_patch": ("deep", lambda model: path_patch(model, TOKENS, OTHERS, (1, 0), metric())),
}
"""What reads the weights, which do not show a hook, and so refuses a model with one."""
