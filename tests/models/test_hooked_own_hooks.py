"""A context of ours takes off its own hooks and no others, whatever closes first."""

import itertools

import pytest
import torch

from models.hooked import hook
from models.hooked.own_hooks import own_hooks
from models.hooked.users_hooks import users_hooks

from ..gpt_shape import GPT
from .random_models import random_model

TOKENS = torch.arange(GPT.context)[None]
POINT = "blocks.1.hook_resid_pre"


@pytest.fixture
def model():
    return hook(GPT, random_model(GPT).state_dict())


@pytest.mark.parametrize("closing", list(itertools.permutations(range(3))))
def test_contexts_close_in_any_order(model, closing):
    seen = []
    model.add_hook(POINT, lambda value, hook: seen.append("user"))
    contexts = [own_hooks(model, [(POINT, lambda value, hook, at=at: seen.append(at))]) for at in range(3)]
    for context in contexts:
        context.__enter__()
    left: list = ["user", 0, 1, 2]
    for at in closing:
        contexts[at].__exit__(None, None, None)
        left.remove(at)
        seen.clear()
        model(TOKENS)
        assert seen == left
    model.reset_hooks()
    assert users_hooks(model) == []


def test_a_users_context_closes_before_ours_or_after(model):
    seen = []
    ours = own_hooks(model, [(POINT, lambda value, hook: seen.append("ours"))])
    with model.hooks(fwd_hooks=[(POINT, lambda value, hook: seen.append("user"))]):
        ours.__enter__()
        model(TOKENS)
    model(TOKENS)
    assert seen == ["user", "ours", "ours"]
    with model.hooks(fwd_hooks=[(POINT, lambda value, hook: seen.append("user"))]):
        ours.__exit__(None, None, None)
        model(TOKENS)
    assert seen == ["user", "ours", "ours", "user"] and users_hooks(model) == []


def test_hooks_that_the_user_reset_are_no_error(model):
    with own_hooks(model, [("hook_embed", lambda value, hook: 0 * value), (POINT, lambda value, hook: None)]):
        model.reset_hooks()
        assert users_hooks(model) == []
    with pytest.raises(KeyError), own_hooks(model, [("hook_embed", lambda value, hook: None), ("blocks.9", print)]):
        pass
    assert users_hooks(model) == []
