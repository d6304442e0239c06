"""Reruns give what full passes under hooks give, in both ways they can be done."""

import pytest
import torch

from models.hooked import HookedTransformer, hook, load, plain
from models.transformer import Transformer
from workbench.components import WHATS, component_name, find_sites, replacing
from workbench.rerun_from import CleanRun, cells_of, plain_form

from ..gpt_shape import GPT
from .random_weights import random_hooked, random_tokens

TOKENS = random_tokens(3)


def put(point, value):
    """Something that differs by point, sequence and place."""
    return torch.linspace(-1, 1, value.numel(), dtype=value.dtype).reshape(value.shape) + len(point) % 3


def by_full_passes(model, what, cells):
    for cell in cells:
        with replacing(model, find_sites(model, component_name(what, cell.layer), cell.head, None, cell.position), put):
            yield model(TOKENS)


def cases(config):
    return [what for what in WHATS if what != "mlp" or config.mlp_width]


@pytest.mark.parametrize("positions", [None, [0, 4]])
@pytest.mark.parametrize("through", ["plain", "hooked"])
def test_reruns_are_full_passes(model_config, positions, through):
    model = random_hooked(model_config)
    stand_in = plain_form(model, TOKENS) if through == "plain" else None
    assert (stand_in is not None) == (through == "plain")
    for what in cases(model_config):
        cells = cells_of(model, what, positions)
        run = CleanRun(model, stand_in, TOKENS, what)
        found = [(cell, logits[at]) for chunk, logits in run.with_replaced(cells, put) for at, cell in enumerate(chunk)]
        assert [cell for cell, _ in found] == cells
        for (_, logits), expected in zip(found, by_full_passes(model, what, cells), strict=True):
            torch.testing.assert_close(logits, expected, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(run.logits, model(TOKENS), rtol=1e-9, atol=1e-9)
    assert not any(point.fwd_hooks for point in model.hook_dict.values())


@pytest.mark.parametrize("point", ["hook_embed", "blocks.0.hook_resid_pre", "blocks.1.hook_resid_pre", "blocks.2.attn.hook_z"])
def test_a_users_hook_acts_once_before_at_and_after_the_component(point):
    model = random_hooked(GPT)
    with model.hooks(fwd_hooks=[(point, lambda value, hook: value * 1.5 + 0.1)]):
        assert plain_form(model, TOKENS) is None
        for what in WHATS:
            cells = cells_of(model, what)
            run = CleanRun(model, None, TOKENS, what)
            logits = [logits[0] for _, logits in run.with_replaced(cells, put)]
            for found, expected in zip(logits, by_full_passes(model, what, cells), strict=True):
                torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_the_plain_model_stands_in_only_where_it_computes_the_same():
    model = random_hooked(GPT)
    assert isinstance(plain_form(model, TOKENS), Transformer)
    model(TOKENS)  # TransformerLens 4 puts hooks of its own at the first pass
    assert isinstance(plain_form(model, TOKENS), Transformer)
    for block in model.blocks:  # its scale of attention, as 3.x or as 4.x calls it
        block.attn.attn_scale = 1.0
        block.attn.scale = 1.0
    assert plain_form(model, TOKENS) is None
    model = random_hooked(GPT)
    with model.hooks(fwd_hooks=[("hook_embed", lambda value, hook: None)]):  # one that only looks has to see the runs too
        assert plain_form(model, TOKENS) is None
    handle = model.blocks[1].register_forward_hook(lambda module, inputs, output: output * 2)
    assert plain_form(model, TOKENS) is None
    handle.remove()


def test_the_plain_form_is_the_inverse_of_hooking_and_shares_weights(model_config):
    model = random_hooked(model_config)
    form = plain(model)
    torch.testing.assert_close(form(TOKENS), model(TOKENS), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(hook(form.config, form.state_dict())(TOKENS), model(TOKENS), rtol=1e-12, atol=1e-12)
    with torch.no_grad():
        model.blocks[0].attn.b_O.add_(1)
    torch.testing.assert_close(form(TOKENS), model(TOKENS), rtol=1e-9, atol=1e-9)


@pytest.mark.lens3  # what 4.x saves is what it was built with
def test_weights_of_no_plain_model_are_refused():
    model = random_hooked(GPT)
    model.blocks[1].ln2 = torch.nn.Identity()
    with pytest.raises(ValueError, match="fit no plain model .*blocks.1.ln2.w"):
        plain(model)
    assert plain_form(model, TOKENS) is None


def test_cells_go_layer_by_layer_and_need_what_they_name():
    model = load("set-complement-v16-none-seed0")
    assert isinstance(model, HookedTransformer)
    assert [(cell.layer, cell.head, cell.position) for cell in cells_of(model, "heads", [1, 3])] == [(0, 0, 1), (0, 0, 3)]
    with pytest.raises(ValueError, match="has no MLPs; choose heads, attention, layers or stream"):
        cells_of(model, "mlp")
