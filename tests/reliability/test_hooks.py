"""Every public call leaves a model's hooks as it found them, also one that a hook interrupts: ours gone, the user's own there.

That a test leaves none behind is what the fixture in tests/conftest.py holds against the whole suite.
"""

from collections.abc import Callable

import pytest
import torch

from models.checkpoint import Card
from models.config import ModelConfig, TaskConfig
from models.hooked import HookedTransformer, hook, load, plain
from models.set_complement.task import SetComplementTask
from models.transformer import Transformer
from probes.balance import balance
from probes.board_state import board_state
from probes.certificate import certify
from probes.dispersion import dispersion
from probes.displacement_structure import displacement_structure
from probes.entropy_at_initialisation import entropy_at_initialisation
from probes.exchangeability import exchangeability
from probes.intervention import editing
from probes.intervention_score import board_interventions
from probes.logit_displacement import added_token, displacement, token_displacement
from probes.rank_collapse import rank_collapse
from probes.residual_stream import read_streams
from probes.two_token_identity import two_token_identity
from probes.vanishing_variance import vanishing_variance
from workbench.ablation import ablate
from workbench.ablation_map import ablation_map
from workbench.evaluation import evaluate
from workbench.logit_attribution import attribute, logit_attribution
from workbench.patching import metric_at, patch

from ..probes.othello_models import small_checkpoint

TASK = SetComplementTask(8)
TOKENS, OTHERS = TASK.sequences(0, 0, 4)[:, :5], TASK.sequences(0, 4, 4)[:, :5]
MINIMAL = ModelConfig(vocab=8, context=7, width=12, head_width=12)
DEEP = ModelConfig(vocab=8, context=7, layers=2, heads=2, width=12, head_width=6, mlp_width=24, positions="learned", norm="pre")


def set_complement(config: ModelConfig) -> HookedTransformer:
    model = hook(config, Transformer(config, seed=1).state_dict())
    model.card = Card(name="m", model=config, task=TaskConfig(name="set-complement", vocab=8), seed=1, step=0)
    return model


@pytest.fixture
def minimal() -> HookedTransformer:
    return set_complement(MINIMAL)


@pytest.fixture
def deep() -> HookedTransformer:
    return set_complement(DEEP)


@pytest.fixture
def othello(tmp_path) -> HookedTransformer:
    return load(small_checkpoint(tmp_path / "small"))


def in_ablation(model: HookedTransformer) -> None:
    of_a_head = ablate(model, "blocks.1.attn", head=0, method="mean", reference=TOKENS)
    with of_a_head, ablate(model, "blocks.0.mlp", method="resample", reference=TOKENS):
        model(OTHERS)


def in_edit(model: HookedTransformer) -> None:
    with editing(model, lambda layer, stream: stream + 1, layers=[0, 2]):
        model(TOKENS)


CALLS: dict[str, tuple[str, Callable[[HookedTransformer], object]]] = {
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
    "read_streams": ("deep", lambda model: read_streams(model, TOKENS, lambda layer, stream: None)),
    "evaluate": ("deep", lambda model: evaluate(model, sequences=4)),
    "ablate": ("deep", in_ablation),
    "ablation_map": ("deep", lambda model: ablation_map(model, lengths=[2, 3], sequences=4)),
    "patch": ("deep", lambda model: patch(model, TOKENS, OTHERS, "heads", metric_at(TASK, TOKENS, "illegal_mass"))),
    "logit_attribution": ("deep", lambda model: logit_attribution(model, sequences=4)),
    "attribute": ("deep", lambda model: attribute(model, TOKENS, TASK.legal(TOKENS))),
    "editing": ("deep", in_edit),
    "plain": ("deep", plain),
    "board_state": ("othello", lambda model: board_state(model, fit_games=4, test_games=4, batch=2)),
    "board_interventions": ("othello", lambda model: board_interventions(model, cases=4, fit_games=8)),
}


OF_THE_WEIGHTS_ALONE = {
    "certify": certify,
    "displacement_structure": displacement_structure,
    "two_token_identity": lambda model: two_token_identity(model, 4),
}


def run_once(model: HookedTransformer) -> HookedTransformer:
    """The model as it is after its first pass, at which TransformerLens 4 puts hooks of its own on it, to stay."""
    model(TOKENS)
    return model


def hooks_of(model: HookedTransformer) -> dict[str, list[int]]:
    """What hangs on every module, ours, the user's, torch's and TransformerLens's alike, by identity and in order."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return {
        f"{name} {kind}": [id(one) for one in getattr(module, kind).values()]
        for name, module in model.named_modules()
        for kind in kinds
        if getattr(module, kind)
    }


@pytest.mark.parametrize("interruption", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("name", CALLS)
def test_hooks_are_as_they_were(request, name, interruption):
    fixture, call = CALLS[name]
    model, calls, raise_at = run_once(request.getfixturevalue(fixture)), 0, None
    of_transformer_lens = hooks_of(model)

    def users(value: torch.Tensor, hook: object) -> None:
        nonlocal calls
        calls += 1
        if calls == raise_at:
            raise interruption("of the user's own hook")

    permanent = f"blocks.{model.cfg.n_layers - 1}.hook_resid_post"
    model.add_hook("hook_embed", users)
    model.add_hook(permanent, users, is_permanent=True)
    before = hooks_of(model)
    assert sum(map(len, before.values())) == sum(map(len, of_transformer_lens.values())) + 2
    call(model)
    assert hooks_of(model) == before
    for raise_at in sorted({1, (calls + 1) // 2, calls}) if calls else ():  # what only reads weights calls no hook
        calls = 0
        with pytest.raises(interruption, match="of the user's own hook"):
            call(model)
        assert hooks_of(model) == before, f"after an interruption at call {raise_at}"
    calls, raise_at = 0, None
    call(model)  # and the model is none the worse
    assert hooks_of(model) == before
    model.reset_hooks(including_permanent=True)


@pytest.mark.parametrize("call", OF_THE_WEIGHTS_ALONE.values(), ids=OF_THE_WEIGHTS_ALONE.keys())
def test_what_reads_the_weights_alone_refuses_a_model_with_a_hook_and_leaves_it(minimal, call):
    run_once(minimal)
    clean = hooks_of(minimal)
    call(minimal)
    assert hooks_of(minimal) == clean
    minimal.add_hook("hook_embed", lambda value, hook: None)
    before = hooks_of(minimal)
    with pytest.raises(ValueError, match="the model carries a hook at hook_embed, which its weights do not show; leave"):
        call(minimal)
    assert hooks_of(minimal) == before
    minimal.reset_hooks()
