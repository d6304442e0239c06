import re
from inspect import unwrap

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from models.config import ModelConfig
from workbench.ablation import ablate
from workbench.path_patching import path_patch

from ..gpt_shape import GPT
from .random_weights import random_hooked, random_tokens

CLEAN, CORRUPT = random_tokens(5, seed=3), random_tokens(5, seed=4)
BRANCH = ModelConfig(
    vocab=11, context=9, layers=3, heads=2, width=12, head_width=6, mlp_width=24, norm="branch", final_norm=True
)
ATTENTION_ONLY = ModelConfig(vocab=11, context=9, layers=3, heads=2, width=12, head_width=5)
CONFIGS = {"GPT": GPT, "branch": BRANCH, "attention-only": ATTENTION_ONLY}


def last_logit(logits):
    return logits[:, -1, 2] - logits[:, -1, 7]


@pytest.fixture(params=CONFIGS)
def model(request):
    return random_hooked(CONFIGS[request.param])


def by_freezing(model, sender, receiver, letters) -> Tensor:
    """Four passes, as the method is told: everything but sender and receiver is frozen by hooks."""
    _, clean = model.run_with_cache(CLEAN)
    _, corrupt = model.run_with_cache(CORRUPT)

    def freeze(value, hook):
        return clean[hook.name]

    def speak(value, hook):
        value = clean[hook.name].clone()
        value[:, :, sender[1]] = corrupt[hook.name][:, :, sender[1]]
        return value

    spoken = f"blocks.{sender[0]}.attn.hook_z"
    frozen = [name for name in clean if name.endswith(("hook_z", "hook_mlp_out")) and name != spoken]
    hooks = [(spoken, speak), *((name, freeze) for name in frozen)]
    with model.hooks(fwd_hooks=hooks):
        logits, heard = model.run_with_cache(CLEAN)
    if receiver == "logits":
        return last_logit(logits)

    def hear(value, hook):
        value = value.clone()
        value[:, :, receiver[1]] = heard[hook.name][:, :, receiver[1]]
        return value

    return last_logit(
        model.run_with_hooks(CLEAN, fwd_hooks=[(f"blocks.{receiver[0]}.attn.hook_{letter}", hear) for letter in letters])
    )


@pytest.mark.parametrize(
    ("receiver", "into"),
    [((2, 1), ("query", "key", "value")), ((2, 0), ("value",)), ((1, 1), ("query", "key")), ("logits", ("value",))],
)
@torch.no_grad()
def test_a_path_is_what_freezing_all_else_leaves(model, receiver, into):
    frame = path_patch(model, CLEAN, CORRUPT, receiver, last_logit, into)
    layers = 3 if receiver == "logits" else receiver[0]
    assert list(zip(frame["layer"], frame["head"], strict=True)) == [(at, head) for at in range(layers) for head in range(2)]
    before = last_logit(model(CLEAN))
    for row in frame.itertuples():
        value = by_freezing(model, (row.layer, row.head), receiver, [name[0] for name in into])
        difference = value - before
        assert row.value == pytest.approx(float(value.mean()), rel=1e-8)
        assert row.difference == pytest.approx(float(difference.mean()), rel=1e-6, abs=1e-10)
        half = 1.959964 * float(difference.std()) / 5**0.5
        assert row.difference_high - row.difference_low == pytest.approx(2 * half, rel=1e-4, abs=1e-10)
    assert frame["clean"].iloc[0] == pytest.approx(float(before.mean()))
    assert frame["corrupt"].iloc[0] == pytest.approx(float(last_logit(model(CORRUPT)).mean()))
    np.testing.assert_allclose(frame["share"], frame["difference"] / (frame["corrupt"] - frame["clean"]))


def test_a_head_that_says_the_same_changes_nothing(model):
    frame = path_patch(model, CLEAN, CLEAN, (2, 1), last_logit)
    np.testing.assert_allclose(frame["difference"], 0, atol=1e-9)


def test_a_receiver_out_of_a_table_is_taken(model):
    found = unwrap(path_patch)(model, CLEAN, CORRUPT, np.array([2, 1]), last_logit)
    pd.testing.assert_frame_equal(found, path_patch(model, CLEAN, CORRUPT, (2, 1), last_logit))


def test_receivers_and_inputs_that_do_not_exist_are_refused():
    model = random_hooked(GPT)
    expected = "cannot hear a head: expected (layer, head) in layers 1 .. 2 and heads 0 .. 1; give one of these, or 'logits'"
    for receiver in ((0, 0), (3, 0), (1, 2), 2, (2,), (2, 1, 0), (2.0, 1.0), "unembed"):
        with pytest.raises(ValueError, match=re.escape(f"receiver {receiver!r} {expected}")):
            unwrap(path_patch)(model, CLEAN, CORRUPT, receiver, last_logit)
    with pytest.raises(ValueError, match="input '' is unknown; choose from query, key, value"):
        path_patch(model, CLEAN, CORRUPT, (1, 0), last_logit, into=())
    with pytest.raises(ValueError, match="give as many sequences, at least one, as long"):
        unwrap(path_patch)(model, CLEAN, CORRUPT[:3], (1, 0), last_logit)
    assert not any(point.fwd_hooks for point in model.hook_dict.values())


def test_a_model_with_a_hook_is_refused_and_one_that_was_run_is_not():
    model = random_hooked(GPT)
    with ablate(model, "blocks.0.attn"), pytest.raises(ValueError, match="the model has hooks"):
        path_patch(model, CLEAN, CLEAN, "logits", last_logit)
    handle = model.hook_dict["blocks.1.hook_resid_post"].register_forward_hook(lambda module, inputs, output: None)
    with pytest.raises(ValueError, match=r"the model has hooks, at blocks\.1\.hook_resid_post, which"):
        path_patch(model, CLEAN, CLEAN, "logits", last_logit)
    handle.remove()
    model(CLEAN)
    np.testing.assert_allclose(path_patch(model, CLEAN, CLEAN, "logits", last_logit)["difference"], 0, atol=1e-6)
