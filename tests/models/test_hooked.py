import subprocess
import sys
import warnings

import pytest
import torch
from einops import einsum
from torch import nn

from models.config import ModelConfig
from models.hooked import hook

from ..gpt_shape import GPT
from .random_models import random_model

TOKENS = torch.randint(0, 11, (3, 9), generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
def test_logits_equal_the_plain_models(model_config, dtype, tolerance):
    plain = random_model(model_config, dtype)
    hooked = hook(model_config, plain.state_dict())
    with torch.no_grad():
        expected, logits = plain(TOKENS), hooked(TOKENS)
    assert logits.dtype == dtype
    assert float((logits - expected).norm() / expected.norm()) <= tolerance


def test_no_warning_no_print_and_eval_mode(model_config, capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hooked = hook(model_config, random_model(model_config).state_dict())
    assert not hooked.training
    assert capfd.readouterr().out == ""


def test_the_cache_has_the_names_and_shapes_of_transformer_lens():
    config = GPT.model_copy(update={"layers": 2})
    hooked = hook(config, random_model(config).state_dict())
    logits, cache = hooked.run_with_cache(TOKENS)
    assert logits.shape == (3, 9, 11)
    for layer in range(2):
        assert cache["pattern", layer].shape == (3, 2, 9, 9)
        assert cache["z", layer].shape == (3, 9, 2, 6)
        assert cache[f"blocks.{layer}.hook_resid_post"].shape == (3, 9, 12)
        assert cache[f"blocks.{layer}.mlp.hook_post"].shape == (3, 9, 20)
    assert cache["ln_final.hook_scale"].shape == (3, 9, 1)
    parts, labels = cache.decompose_resid(return_labels=True)
    assert labels == ["embed", "pos_embed", "0_attn_out", "0_mlp_out", "1_attn_out", "1_mlp_out"]
    torch.testing.assert_close(parts.sum(dim=0), cache["blocks.1.hook_resid_post"], rtol=1e-10, atol=1e-10)


def test_the_pattern_is_causal_and_sums_to_one(model_config):
    _, cache = hook(model_config, random_model(model_config).state_dict()).run_with_cache(TOKENS)
    pattern = cache["pattern", 0]
    torch.testing.assert_close(pattern.sum(dim=-1), torch.ones_like(pattern[..., 0]))
    assert float(pattern.triu(1).abs().max()) == 0


def test_the_branch_norm_is_on_what_attention_writes():
    config = ModelConfig(vocab=11, context=9, width=12, head_width=6, norm="branch")
    plain = random_model(config)
    hooked = hook(config, plain.state_dict())
    _, cache = hooked.run_with_cache(TOKENS)
    written = einsum(cache["z", 0], hooked.W_O[0], "b p h d, h d w -> b p w") + hooked.b_O[0]
    norm = plain.blocks[0].ln1_post
    expected = nn.functional.layer_norm(written, (12,), norm.w, norm.b)
    added = cache["blocks.0.hook_resid_post"] - cache["blocks.0.hook_resid_pre"]
    torch.testing.assert_close(added, expected, rtol=1e-10, atol=1e-10)


def test_without_positions_the_prefix_order_does_not_matter_and_positions_stay_zero():
    config = ModelConfig(vocab=11, context=9, width=12, head_width=6)
    hooked = hook(config, random_model(config).state_dict())
    order, shuffled = torch.tensor([[4, 2, 9, 0, 7, 5]]), torch.tensor([[7, 0, 2, 4, 9, 5]])
    torch.testing.assert_close(hooked(order)[0, -1], hooked(shuffled)[0, -1], rtol=0, atol=1e-12)
    assert not hooked.W_pos.requires_grad
    assert float(hooked.W_pos.abs().max()) == 0


def test_weights_that_do_not_fit_are_named():
    config = ModelConfig(vocab=11, context=9, width=12, head_width=6)
    state = random_model(config).state_dict()
    state["unembed.W_U"] = state["unembed.W_U"].T
    state["extra"] = state.pop("blocks.0.attn.b_O")
    with pytest.raises(ValueError, match=r"missing \['blocks.0.attn.b_O'\], unexpected \['extra'\], mis-shaped \['unembed.W_U"):
        hook(config, state)


def test_a_version_outside_the_range_is_named():
    code = "import importlib.metadata as m; m.version = lambda name: '5.0.0'; import models.hooked"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 1
    assert "ImportError: TransformerLens 5.0.0 is installed, expected 3.9 to 4.x; pip install" in ended.stderr
