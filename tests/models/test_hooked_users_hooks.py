"""Every hook that somebody else put on a model is found, whatever put it there, and none of TransformerLens's own."""

import pytest
import torch
from torch.nn.modules.module import register_module_forward_hook

from models.hooked import hook
from models.hooked.own_hooks import own_hooks
from models.hooked.users_hooks import users_hooks

from ..gpt_shape import GPT
from .random_models import random_model

TOKENS = torch.arange(GPT.context)[None]


@pytest.fixture
def model():
    model = hook(GPT, random_model(GPT).state_dict())
    model(TOKENS)  # TransformerLens 4 puts hooks of its own at the first pass
    assert users_hooks(model) == []
    return model


def nothing(*arguments, **keywords) -> None:
    return None


@pytest.mark.parametrize("name", ["hook_embed", "blocks.0.hook_resid_post", "blocks.1.attn.hook_z", "blocks.1.hook_mlp_out"])
@pytest.mark.parametrize("register", ["register_forward_hook", "register_forward_pre_hook", "register_full_backward_hook"])
def test_pytorchs_hooks_on_a_hook_point(model, name, register):
    handle = getattr(model.hook_dict[name], register)(nothing)
    assert users_hooks(model) == [name]
    handle.remove()
    assert users_hooks(model) == []


@pytest.mark.parametrize("name", ["blocks.1", "embed", "unembed"])
def test_pytorchs_hooks_on_a_module(model, name):
    handle = model.get_submodule(name).register_forward_hook(nothing)
    assert users_hooks(model) == [name]
    handle.remove()
    assert users_hooks(model) == []


def test_pytorchs_hooks_on_the_model_and_on_every_module(model):
    handles = [model.register_forward_pre_hook(nothing), register_module_forward_hook(nothing)]
    found = users_hooks(model)
    for handle in handles:
        handle.remove()
    assert found == ["the model itself", "every module (PyTorch's global hooks)"]
    assert users_hooks(model) == []


@pytest.mark.parametrize("name", ["blocks.0.hook_resid_post", "blocks.1.attn.hook_z"])
def test_transformer_lenss_hooks(model, name):
    model.add_hook(name, nothing)
    assert users_hooks(model) == [name]
    model.reset_hooks()
    model.add_hook(name, nothing, dir="bwd")
    assert users_hooks(model) == [name]
    model.reset_hooks()
    model.add_hook(name, nothing, is_permanent=True)
    assert users_hooks(model) == [name]
    model.reset_hooks(including_permanent=True)
    with model.hooks(fwd_hooks=[(name, nothing)]):
        assert users_hooks(model) == [name]
    with own_hooks(model, [(name, nothing)]):
        assert users_hooks(model) == [name]
    assert users_hooks(model) == []
