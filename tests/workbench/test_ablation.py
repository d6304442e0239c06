import contextlib
import re
from inspect import unwrap

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.hooked import load
from models.random_stream import draw_scalar
from models.streams import Draw
from workbench.ablation import ablate
from workbench.ablation_methods import read_replacement
from workbench.components import component_names, find_sites

from ..gpt_shape import GPT
from .random_weights import random_hooked, random_tokens

TOKENS, REFERENCE = random_tokens(4), random_tokens(6, seed=1)
CLOSE = dict(rtol=0, atol=1e-9)


@pytest.fixture
def gpt():
    return random_hooked(GPT)


def cached(model, point, tokens=TOKENS):
    return model.run_with_cache(tokens)[1][point]


def hooks_on(model) -> int:
    return sum(len(point.fwd_hooks) for point in set(model.hook_dict.values()))  # 4.x has some under two names


def test_all_heads_zeroed_leave_exactly_the_bias_in_what_attention_writes(model_config):
    model = random_hooked(model_config)
    layer = model_config.layers - 1
    with ablate(model, f"blocks.{layer}.attn", head=range(model_config.heads)):
        written = cached(model, f"blocks.{layer}.hook_attn_out")
    bias = model.b_O[layer]
    if model_config.norm == "branch":
        norm = model.blocks[layer].ln1_post
        bias = torch.nn.functional.layer_norm(bias, bias.shape, norm.w, norm.b, 1e-5)
    torch.testing.assert_close(written, bias.expand_as(written), **CLOSE)


def test_a_component_zeroed_adds_nothing(model_config):
    model = random_hooked(model_config)
    with ablate(model, "blocks.0"):
        _, cache = model.run_with_cache(TOKENS)
    assert torch.equal(cache["blocks.0.hook_resid_post"], cache["blocks.0.hook_resid_pre"])
    with ablate(model, "blocks.0.attn"):
        assert not cached(model, "blocks.0.hook_attn_out").any()


@pytest.mark.parametrize("component", ["blocks.1", "blocks.1.attn", "blocks.1.mlp", "blocks.1.hook_resid_mid"])
@pytest.mark.parametrize("method", ["mean", "resample"])
def test_identical_sequences_give_back_what_was_there(gpt, component, method):
    same = TOKENS[:1].expand(5, -1)
    clean = gpt(same)
    with ablate(gpt, component, method=method, reference=same):
        torch.testing.assert_close(gpt(same), clean, **CLOSE)
    with ablate(gpt, component, method=method, reference=REFERENCE):
        assert not torch.allclose(gpt(same), clean)


def test_the_mean_by_position_and_over_all_are_those_of_the_reference(gpt):
    z = cached(gpt, "blocks.1.attn.hook_z", REFERENCE)[:, :, 1]
    for mean_over, expected in (("position", z.mean(0)[:7]), ("all", z.mean((0, 1)).expand(7, -1))):
        with ablate(gpt, "blocks.1.attn", head=1, method="mean", reference=REFERENCE, mean_over=mean_over):
            found = cached(gpt, "blocks.1.attn.hook_z", TOKENS[:, :7])
        torch.testing.assert_close(found[:, :, 1], expected.expand(4, -1, -1), **CLOSE)
        torch.testing.assert_close(found[:, :, 0], cached(gpt, "blocks.1.attn.hook_z", TOKENS[:, :7])[:, :, 0], **CLOSE)


def test_resample_takes_one_drawn_sequence_for_each_and_depends_on_the_seed(gpt):
    kept = cached(gpt, "blocks.0.hook_mlp_out", REFERENCE)
    for seed in (0, 5):
        drawn = [draw_scalar(Draw.RESAMPLE.stream(seed), number, 0) % (1 << 63) % len(REFERENCE) for number in range(4)]
        with ablate(gpt, "blocks.0.mlp", method="resample", reference=REFERENCE, seed=seed):
            torch.testing.assert_close(cached(gpt, "blocks.0.hook_mlp_out"), kept[drawn], **CLOSE)


@pytest.mark.parametrize("method", ["zero", "mean", "resample"])
def test_an_edge_is_one_weight_and_the_rest_of_the_row_stays(gpt, method):
    clean = cached(gpt, "blocks.0.attn.hook_pattern")
    with ablate(gpt, "blocks.0.attn", head=1, edge=(5, 2), method=method, reference=REFERENCE):
        found = cached(gpt, "blocks.0.attn.hook_pattern")
    changed = found != clean
    assert changed[:, 1, 5, 2].all() and changed.sum() == len(TOKENS)
    reference = cached(gpt, "blocks.0.attn.hook_pattern", REFERENCE)[:, 1, 5, 2]
    weight = found[:, 1, 5, 2]
    if method == "resample":
        assert all(torch.isclose(reference, value).any() for value in weight)
    else:
        expected = {"zero": torch.tensor(0.0).double(), "mean": reference.mean()}[method]
        torch.testing.assert_close(weight, expected.expand(4), **CLOSE)


@pytest.mark.parametrize("close", ["the outer one", "a generator"])
def test_ablations_that_do_not_close_in_reverse_order_take_off_their_own_hooks(gpt, close):
    with ablate(gpt, "blocks.2.mlp"):
        expected = gpt(TOKENS)

    def held():
        with ablate(gpt, "blocks.1.attn"):
            yield

    clean, generator = gpt(TOKENS), held()
    first, second = ablate(gpt, "blocks.1.attn"), ablate(gpt, "blocks.2.mlp")
    next(generator) if close == "a generator" else first.__enter__()
    with second:
        generator.close() if close == "a generator" else first.__exit__(None, None, None)
        assert torch.equal(gpt(TOKENS), expected)
    assert torch.equal(gpt(TOKENS), clean) and hooks_on(gpt) == 0


@pytest.mark.parametrize(
    ("given", "same"),
    [
        (dict(head=np.int64(1)), dict(head=1)),
        (dict(head=torch.tensor(1)), dict(head=1)),
        (dict(head=pd.Series([1], dtype="Int64")[0]), dict(head=1)),
        (dict(head=np.arange(2)), dict(head=[0, 1])),
        (dict(head={0, 1}), dict(head=[0, 1])),
        (dict(position=np.int64(-2)), dict(position=-2)),
        (dict(position=torch.arange(3)), dict(position=[0, 1, 2])),
        (dict(edge=(np.int64(4), np.int64(1))), dict(edge=(4, 1))),
    ],
)
def test_whole_numbers_of_any_kind_are_indices(gpt, given, same):
    with ablate(gpt, "blocks.1.attn", **same):
        expected = gpt(TOKENS)
    with ablate(gpt, "blocks.1.attn", **given):
        assert torch.equal(gpt(TOKENS), expected)


@settings(max_examples=15)
@given(
    positions=st.lists(st.integers(-9, 8), min_size=1, max_size=4), heads=st.lists(st.integers(0, 1), min_size=1, max_size=2)
)
def test_only_the_positions_and_heads_asked_for_change_and_nothing_before_them(positions, heads):
    model = random_hooked(GPT)
    clean, logits = cached(model, "blocks.1.attn.hook_z"), model(TOKENS)
    with ablate(model, "blocks.1.attn", head=heads, position=positions):
        found, ablated = cached(model, "blocks.1.attn.hook_z"), model(TOKENS)
    expected = clean.clone()
    for position in positions:
        for head in heads:
            expected[:, position, head] = 0
    assert torch.equal(found, expected)
    first = min(position % 9 for position in positions)
    assert torch.equal(ablated[:, :first], logits[:, :first])


def test_nested_ablations_do_what_hooks_from_the_clean_reference_do_in_either_order(gpt):
    points = {"blocks.0.attn": "blocks.0.hook_attn_out", "blocks.2.mlp": "blocks.2.hook_mlp_out"}
    _, clean = gpt.run_with_cache(REFERENCE)
    means = [(point, lambda value, hook: clean[hook.name].mean(0, keepdim=True).expand_as(value)) for point in points.values()]
    expected = gpt.run_with_hooks(TOKENS, fwd_hooks=means)
    for order in (list(points), list(points)[::-1]):
        with contextlib.ExitStack() as stack:
            for component in order:
                stack.enter_context(ablate(gpt, component, method="mean", reference=REFERENCE))
            torch.testing.assert_close(gpt(TOKENS), expected, **CLOSE)
    assert hooks_on(gpt) == 0


def test_a_users_hooks_stay_act_and_are_seen_by_the_reference(gpt):
    gpt.add_hook("hook_embed", lambda value, hook: value * 2)
    doubled, reference = gpt(TOKENS), cached(gpt, "blocks.1.hook_mlp_out", REFERENCE).mean(0)
    with ablate(gpt, "blocks.1.mlp", method="mean", reference=REFERENCE):
        torch.testing.assert_close(cached(gpt, "blocks.1.hook_mlp_out")[0], reference, **CLOSE)
    assert hooks_on(gpt) == 1
    assert torch.equal(gpt(TOKENS), doubled)
    gpt.reset_hooks()


def test_nothing_is_left_after_an_exception_inside_or_in_the_pass(gpt):
    clean = gpt(TOKENS)
    with pytest.raises(KeyError), ablate(gpt, "blocks.0.attn", head=0):
        raise KeyError("boom")
    with pytest.raises(ValueError, match="position 8 does not exist, expected 0 .. 4"), ablate(gpt, "blocks.0.mlp", position=8):
        gpt(TOKENS[:, :5])
    assert hooks_on(gpt) == 0
    assert torch.equal(gpt(TOKENS), clean)


def test_what_hooks_are_given_is_not_written_to(gpt):
    seen = []
    gpt.add_hook("blocks.0.attn.hook_z", lambda value, hook: seen.append((value, value.clone())))
    with ablate(gpt, "blocks.0.attn", head=1):
        gpt(TOKENS)
    gpt.reset_hooks()
    assert torch.equal(*seen[0])


def test_the_reference_builds_no_graph_but_gradients_pass_an_ablation(gpt):
    with ablate(gpt, "blocks.1.attn", head=0, method="mean", reference=REFERENCE):
        gpt(TOKENS).square().sum().backward()
    weights = gpt.blocks[1].attn.W_V
    with torch.no_grad():  # on 4.x W_V is a view, whose gradient is that of what it views: a step downhill shows it on both
        before = weights.clone()
        for parameter in gpt.parameters():
            parameter -= parameter.grad
    assert torch.equal(before[0], gpt.blocks[1].attn.W_V[0]) and not torch.equal(before[1], gpt.blocks[1].attn.W_V[1])


def test_names_are_those_of_parts_that_exist():
    attention_only = load("set-complement-v16-none-seed0")
    assert component_names(attention_only) == [
        "blocks.0",
        "blocks.0.attn",
        "blocks.0.hook_resid_pre",
        "blocks.0.hook_resid_post",
    ]
    othello = load("othello-mini-none")
    assert len(component_names(othello)) == 6 * othello.cfg.n_layers
    tokens = torch.arange(4)[None] + 1
    for model in (attention_only, othello):
        clean = model(tokens)
        for name in component_names(model):
            assert all(site.point in model.hook_dict for site in find_sites(model, name))
            with ablate(model, name):
                assert not torch.allclose(model(tokens), clean)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(component="blocks.3.attn"), "no component 'blocks.3.attn'; it has blocks.0, blocks.0.attn, .* up to blocks.2"),
        (dict(component="blocks.0.attn", head=2), "head 2 does not exist, expected 0 .. 1"),
        (dict(component="blocks.0.attn", head=[]), "no head was given"),
        (dict(component="blocks.0.mlp", head=0), "'blocks.0.mlp' has no heads"),
        (dict(component="blocks.0.attn", edge=(1, 2)), "no attention goes from query 1 to key 2"),
        (dict(component="blocks.0.attn", edge=(2, 1), position=2), "leave out position"),
        (dict(component="blocks.0", method="mean"), "needs reference sequences"),
        (dict(component="blocks.0", method="mean", reference=REFERENCE + 5), "the model knows 0 .. 10"),
        (
            dict(component="blocks.0.attn", edge=(2, 1), method="mean", reference=REFERENCE, mean_over="all"),
            "has no mean over all",
        ),
    ],
)
def test_what_does_not_exist_is_refused_in_one_sentence(gpt, arguments, message):
    with pytest.raises(ValueError, match=message), ablate(gpt, **arguments):
        pass
    assert hooks_on(gpt) == 0


@pytest.mark.parametrize(
    "head", [1.0, [0, 1.0], "0", True, [True, False], torch.tensor([True, False]), np.eye(2, dtype=int), pd.NA]
)
def test_what_is_no_whole_number_is_no_index(gpt, head):
    with pytest.raises(ValueError, match=f"head {re.escape(repr(head))} is no index, expected whole numbers; give head=2 or"):
        unwrap(find_sites)(gpt, "blocks.0.attn", head=head)


@pytest.mark.parametrize("edge", [3, (3, 2, 1), (3.0, 1.0), ()])
def test_what_is_no_pair_is_no_edge(gpt, edge):
    message = f"edge {edge!r} is no pair of positions; give (query, key) with 0 <= key <= query"
    with pytest.raises(ValueError, match=re.escape(message)):
        unwrap(find_sites)(gpt, "blocks.0.attn", edge=edge)


def test_unknown_methods_are_refused(gpt):
    read = unwrap(read_replacement)
    with pytest.raises(ValueError, match="method 'noise' is unknown; choose one of zero, mean, resample"):
        read(gpt, ["hook_embed"], "noise", REFERENCE)
    with pytest.raises(ValueError, match="mean_over 'batch' is unknown; choose one of position, all"):
        read(gpt, ["hook_embed"], "mean", REFERENCE, "batch")


def test_training_mode_and_inputs_longer_than_the_reference_are_refused(gpt):
    with ablate(gpt, "blocks.0.attn", method="mean", reference=REFERENCE[:, :4]):
        gpt(TOKENS[:, :4])
        with pytest.raises(ValueError, match="the input has 9 tokens, the reference 4"):
            gpt(TOKENS)
    gpt.train()
    with pytest.raises(ValueError, match="training mode"), ablate(gpt, "blocks.0"):
        pass
