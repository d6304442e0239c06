"""The hook points that probes, ablations and strangers' tools use: the same on both lines of TransformerLens.

Each line is held to one reference (`reference_activations.py`); in the environment of 4.x the two lines are held to each other,
too.
"""

import os
import subprocess
from pathlib import Path

import pytest
import torch
from einops import einsum
from safetensors.torch import load_file

from models.hooked import hook

from ..gpt_shape import GPT
from .hooked_activations import TOKENS, file_name, hooked_activations
from .random_models import random_model
from .reference_activations import reference_activations

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_every_hook_point_has_the_activations_of_the_reference(model_config, dtype, tolerance):
    state = random_model(model_config).state_dict()
    expected = reference_activations(model_config, state, TOKENS)
    with torch.no_grad():
        logits, cache = hook(model_config, {name: tensor.to(dtype) for name, tensor in state.items()}).run_with_cache(TOKENS)
    for name, value in expected.items():
        found = logits if name == "logits" else cache[name]
        assert found.dtype == dtype
        require_close(name, found, value, tolerance)


@pytest.mark.lens4
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-6)])
def test_both_lines_have_the_same_activations(model_config, dtype, tolerance, other_line):
    found = hooked_activations(random_model(model_config), dtype)
    expected = load_file(other_line / file_name(model_config, dtype))
    assert expected.keys() <= found.keys()
    for name, value in expected.items():
        assert found[name].dtype == value.dtype
        require_close(name, found[name], value, tolerance)


def require_close(name: str, found: torch.Tensor, value: torch.Tensor, tolerance: float) -> None:
    """Within a share of the largest: each processor sums in its own order, and small ones may be differences of large ones."""
    assert found.shape == value.shape
    seen = value > -torch.inf
    assert torch.equal(seen, found > -torch.inf)
    difference, size = (found.double() - value.double())[seen].abs().max(), value[seen].abs().max()
    assert difference <= tolerance * size, (name, difference / size)


@pytest.fixture(scope="module")
def other_line(tmp_path_factory):
    """Activations from the environment with TransformerLens 3, which `make test-lens4` sets up before; one process for all."""
    python, folder = Path(os.environ.get("LENS3_PYTHON", ROOT / ".venv" / "bin" / "python")), tmp_path_factory.mktemp("line3")
    if not python.exists():
        pytest.skip(f"{python} is missing: nothing to compare with; make setup, or name one in LENS3_PYTHON")
    subprocess.run([python, ROOT / "tests" / "models" / "hooked_activations.py", folder], check=True, cwd=ROOT)
    return folder


@pytest.mark.parametrize("norm", ["none", "pre", "branch"])
@pytest.mark.parametrize("point", ["hook_resid_pre", "hook_resid_mid", "hook_resid_post", "hook_attn_out", "hook_mlp_out"])
def test_what_is_put_into_the_stream_goes_on(norm, point):
    config = GPT.model_copy(update={"norm": norm})
    state = random_model(config).state_dict()
    model = hook(config, state)
    put = torch.randn(3, 9, 12, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    with model.hooks(fwd_hooks=[(f"blocks.1.{point}", lambda value, hook: put)]):
        logits, cache = model.run_with_cache(TOKENS)
    assert torch.equal(cache[f"blocks.1.{point}"], put)
    parts = cache["blocks.1.hook_resid_pre"] + cache["blocks.1.hook_attn_out"]
    if point != "hook_resid_mid":
        torch.testing.assert_close(cache["blocks.1.hook_resid_mid"], parts)
    if point != "hook_resid_post":
        torch.testing.assert_close(
            cache["blocks.1.hook_resid_post"], cache["blocks.1.hook_resid_mid"] + cache["blocks.1.hook_mlp_out"]
        )
    assert torch.equal(cache["blocks.2.hook_resid_pre"], cache["blocks.1.hook_resid_post"])
    assert not torch.equal(logits, model(TOKENS))


def test_what_is_put_into_scores_pattern_and_heads_goes_on():
    state = random_model(GPT).state_dict()
    model, at = hook(GPT, state), "blocks.0.attn"

    def run(point, replace):
        with model.hooks(fwd_hooks=[(f"{at}.{point}", lambda value, hook: replace(value))]):
            return model.run_with_cache(TOKENS)[1]

    flat = run("hook_attn_scores", lambda scores: torch.where(scores > -torch.inf, 0.0, scores))
    uniform = torch.ones(9, 9, dtype=torch.float64).tril() / torch.arange(1, 10)[:, None]
    torch.testing.assert_close(flat[f"{at}.hook_pattern"], uniform.expand(3, 2, 9, 9))
    moved = run("hook_pattern", lambda pattern: uniform.expand_as(pattern))
    torch.testing.assert_close(moved[f"{at}.hook_z"], einsum(uniform, moved[f"{at}.hook_v"], "i j, b j h d -> b i h d"))
    torch.testing.assert_close(moved["blocks.0.hook_attn_out"], flat["blocks.0.hook_attn_out"])
    silent = run("hook_z", torch.zeros_like)
    bias = state["blocks.0.attn.b_O"].expand(3, 9, 12)
    torch.testing.assert_close(silent["blocks.0.hook_attn_out"], bias)


def test_hooks_come_and_go_in_order():
    model, seen = hook(GPT, random_model(GPT).state_dict()), []
    before = model(TOKENS)
    model.add_hook("blocks.0.attn.hook_z", lambda z, hook: seen.append("added"))
    with pytest.raises(RuntimeError, match="stop"), model.hooks(fwd_hooks=[("hook_embed", lambda e, hook: seen.append("in"))]):
        model(TOKENS)
        raise RuntimeError("stop")
    model(TOKENS)
    assert seen == ["in", "added", "added"]
    model.reset_hooks()
    assert torch.equal(model.run_with_hooks(TOKENS, fwd_hooks=[("blocks.2.hook_mlp_out", lambda m, hook: m)]), before)
    assert seen == ["in", "added", "added"] and not any(point.fwd_hooks for point in model.hook_dict.values())


def test_a_filter_of_names_adds_one_hook_a_point():
    model, layers = hook(GPT, random_model(GPT).state_dict()), []
    with model.hooks(fwd_hooks=[(lambda name: name.endswith("hook_pattern"), lambda p, hook: layers.append(hook.name))]):
        model(TOKENS)
    assert layers == [f"blocks.{layer}.attn.hook_pattern" for layer in range(3)]


@pytest.mark.parametrize("norm", ["none", "pre", "branch"])
def test_a_hook_is_called_once_however_it_is_added(norm):
    config = GPT.model_copy(update={"norm": norm})
    model, called = hook(config, random_model(config).state_dict()), []
    stream = ("hook_resid_pre", "hook_resid_mid", "hook_resid_post", "hook_attn_out", "hook_mlp_out")
    inside = ("attn.hook_q", "attn.hook_attn_scores", "attn.hook_pattern", "attn.hook_z", "mlp.hook_pre", "mlp.hook_post")
    names = ["hook_embed", "hook_pos_embed", *(f"blocks.1.{point}" for point in stream + inside)]
    hooks = [(name, lambda value, hook, name=name: called.append(name)) for name in names]
    model.run_with_hooks(TOKENS, fwd_hooks=hooks)
    with model.hooks(fwd_hooks=hooks):
        model(TOKENS)
    for name, function in hooks:
        model.add_hook(name, function)
    model(TOKENS)
    model.reset_hooks()
    assert sorted(called) == sorted(names * 3)


def test_permanent_hooks_stay_and_can_be_taken_off():
    model = hook(GPT, random_model(GPT).state_dict())
    model.add_perma_hook("blocks.0.attn.hook_pattern", lambda pattern, hook: pattern * 0)
    before = model(TOKENS)
    model.reset_hooks()
    assert torch.equal(model(TOKENS), before)
    model.reset_hooks(including_permanent=True)
    assert not torch.equal(model(TOKENS), before)


def test_the_cache_takes_the_stream_apart(model_config):
    model = hook(model_config, random_model(model_config).state_dict())
    logits, cache = model.run_with_cache(TOKENS)
    parts = cache.decompose_resid(layer=-1, mode="all" if model_config.mlp_width else "attn")
    stream = cache[f"blocks.{model_config.layers - 1}.hook_resid_post"]
    torch.testing.assert_close(parts.sum(dim=0), stream, rtol=1e-10, atol=1e-10)


def test_the_final_stream_gives_the_logits(model_config):
    model = hook(model_config, random_model(model_config).state_dict())
    logits, cache = model.run_with_cache(TOKENS)
    stream = cache[f"blocks.{model_config.layers - 1}.hook_resid_post"]
    torch.testing.assert_close(model.unembed(model.ln_final(stream)), logits)


def test_padding_is_not_attended_to():
    model = hook(GPT, random_model(GPT).state_dict())
    mask = torch.ones_like(TOKENS)
    mask[:, 7:] = 0
    _, cache = model.run_with_cache(TOKENS, attention_mask=mask)
    assert float(cache["blocks.1.attn.hook_pattern"][..., 7:].abs().max()) == 0


def test_gradients_reach_the_weights_and_the_hooked_activations():
    model, kept = hook(GPT, random_model(GPT).state_dict()), []

    def keep(pattern, hook):
        pattern.retain_grad()
        kept.append(pattern)

    with model.hooks(fwd_hooks=[("blocks.1.attn.hook_pattern", keep)]):
        model(TOKENS).square().sum().backward()
    assert float(kept[0].grad.abs().max()) > 0
    assert all(parameter.grad is not None and float(parameter.grad.abs().max()) > 0 for parameter in model.parameters())
