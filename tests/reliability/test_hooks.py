"""Every public call leaves a model's hooks as it found them, also one that a hook interrupts: ours gone, the user's own there.

That a test leaves none behind is what the fixture in tests/conftest.py holds against the whole suite; a Ctrl-C that comes at
any moment, not in a hook alone, is in `test_interrupts.py`.
"""

import pytest
import torch

from workbench.patching import patch
from workbench.path_patching import path_patch

from .calls_on_a_model import CALLS, OTHERS, REFUSING, TOKENS, made, metric
from .functions_of_a_hooked_model import functions_of_a_hooked_model
from .hooks_of import hooks_of

ASKS = "tells what a model is, or refuses it, and runs nothing"
HOLDS = "holds a model and runs nothing"
DRAWS = "shows or keeps what `Lens.read`, `effects` and `one_position` find, which are tried"
LEFT_OUT = {
    **dict.fromkeys(("context_of", "device_of", "heads_of", "layers_of", "vocab_of", "width_of", "middle_layers"), ASKS),
    **dict.fromkeys(("users_hooks", "stream_points", "component_names", "find_sites", "cells_of"), ASKS),
    **dict.fromkeys(("require_eval", "require_layers", "require_input", "require_pairs"), ASKS),
    **dict.fromkeys(("is_minimal", "require_minimal", "require_set_complement"), ASKS),
    **dict.fromkeys(("Subject", "OthelloSubject", "SetComplementSubject", "Lenses"), HOLDS),
    **dict.fromkeys(("subject", "othello_subject", "set_complement_subject"), HOLDS),
    "drawn_sequences": "draws sequences as long as a model takes, and does not run it",
    "at_points": "says what `temporary_hooks` is to put on: see own_hooks and visiting",
    **dict.fromkeys(("Look", "Measuring", "act", "pictures", "scan", "standalone", "start", "still", "tables"), DRAWS),
}


def test_every_public_function_that_takes_a_hooked_model_is_tried_or_left_out_by_name():
    found = functions_of_a_hooked_model()
    assert {"bracket_depth", "intervene", "path_patch", "fit_probes", "untrained", "Lens", "scan"} <= found  # of every kind
    assert found == {*CALLS, *REFUSING, *LEFT_OUT}
    assert len(found) == len(CALLS) + len(REFUSING) + len(LEFT_OUT)


@pytest.mark.parametrize("interruption", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("name", CALLS)
def test_hooks_are_as_they_were(name, interruption):
    shape, call = CALLS[name]
    model, calls, raise_at = made(shape), 0, None
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
    assert sum(map(len, before.values())) == sum(map(len, of_transformer_lens.values())) + 4  # by torch and by TransformerLens
    call(model)
    assert hooks_of(model) == before
    print(f"{name}: {calls} calls of the user's hooks")  # noqa: T201
    for raise_at in sorted({1, (calls + 1) // 2, calls}) if calls else ():  # what only reads weights calls no hook
        calls = 0
        with pytest.raises(interruption, match="of the user's own hook"):
            call(model)
        assert hooks_of(model) == before, f"after an interruption at call {raise_at}"
    calls, raise_at = 0, None
    call(model)  # and the model is none the worse
    assert hooks_of(model) == before
    model.reset_hooks(including_permanent=True)


@pytest.mark.parametrize("name", REFUSING)
def test_what_reads_the_weights_refuses_a_model_with_a_hook_and_leaves_it(name):
    shape, call = REFUSING[name]
    model = made(shape)
    clean = hooks_of(model)
    call(model)
    assert hooks_of(model) == clean
    model.add_hook("hook_embed", lambda value, hook: None)
    before = hooks_of(model)
    with pytest.raises(
        ValueError, match=r"the model (carries a hook at hook_embed, which its|has hooks, at hook_embed, which)"
    ):
        call(model)
    assert hooks_of(model) == before
    model.reset_hooks()


@pytest.mark.parametrize("interruption", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("patching", [lambda *a: patch(*a[:3], "heads", a[3]), lambda *a: path_patch(*a[:3], (1, 0), a[3])])
def test_hooks_are_as_they_were_after_an_interruption_by_the_users_metric(patching, interruption):
    model = made("deep")
    before = hooks_of(model)
    for call in (1, 2, 3):
        with pytest.raises(interruption, match="of the user's own metric"):
            patching(model, TOKENS, OTHERS, metric(call, interruption))
        assert hooks_of(model) == before
