"""TransformerLens's own patching helpers on our wrapped models, on both lines."""

import pytest
import torch
from transformer_lens import patching

from probes.residual_stream import visiting

from .small_models import CLEAN, CORRUPTED, plain_and_hooked

pytestmark = pytest.mark.filterwarnings("ignore::tqdm.TqdmWarning")
LAYERS, HEADS, LENGTH = 3, 2, 9


def metric(logits):
    return logits[:, -1, 0].mean()


def test_patching_the_stream_is_putting_it_into_the_plain_model():
    plain, hooked = plain_and_hooked()
    with torch.no_grad():
        _, cache = hooked.run_with_cache(CLEAN)
        found = patching.get_act_patch_resid_pre(hooked, CORRUPTED, cache, metric)
        expected = torch.zeros(LAYERS, LENGTH)
        for layer in range(LAYERS):
            clean = cache[f"blocks.{layer}.hook_resid_pre"]
            for position in range(LENGTH):
                at = (torch.arange(LENGTH) == position)[:, None]
                with visiting(plain, lambda _, stream, at=at, clean=clean: torch.where(at, clean, stream), [layer]):
                    expected[layer, position] = metric(plain(CORRUPTED))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert float(found.std()) > 1e-3


def test_patching_the_middle_of_a_block_and_its_parts_agree():
    """After attention: the stream is what came in and what attention wrote, so to patch all of it at all positions is both."""
    _, hooked = plain_and_hooked()
    with torch.no_grad():
        _, cache = hooked.run_with_cache(CLEAN)
        middle = patching.get_act_patch_resid_mid(hooked, CORRUPTED, cache, metric)
        every = patching.get_act_patch_block_every(hooked, CORRUPTED, cache, metric)
        before = patching.get_act_patch_resid_pre(hooked, CORRUPTED, cache, metric)
        attention = patching.get_act_patch_attn_out(hooked, CORRUPTED, cache, metric)
        mlp = patching.get_act_patch_mlp_out(hooked, CORRUPTED, cache, metric)
        point = "blocks.2.hook_resid_mid"
        expected = metric(hooked.run_with_hooks(CORRUPTED, fwd_hooks=[(point, lambda value, hook: cache[point])]))
        clean = metric(hooked(CLEAN))
    assert torch.equal(every, torch.stack([before, attention, mlp]))
    torch.testing.assert_close(expected, clean)  # nothing after the middle of the last block looks at the corrupted tokens
    torch.testing.assert_close(middle[2, -1], clean)  # and the metric is read at the last position
    assert float((before[2, -1] - clean).abs()) > 1e-3


@pytest.mark.parametrize("part", ["out", "q", "k", "v", "pattern"])
def test_patching_heads_is_putting_their_activation_in(part):
    _, hooked = plain_and_hooked()
    point = {"out": "hook_z", "pattern": "hook_pattern"}.get(part, f"hook_{part}")
    with torch.no_grad():
        _, cache = hooked.run_with_cache(CLEAN)
        found = getattr(patching, f"get_act_patch_attn_head_{part}_all_pos")(hooked, CORRUPTED, cache, metric)
        expected = torch.zeros(LAYERS, HEADS)
        for layer in range(LAYERS):
            name = f"blocks.{layer}.attn.{point}"
            for head in range(HEADS):
                mine = torch.arange(HEADS) == head
                mine = mine[:, None, None] if part == "pattern" else mine[:, None]
                put = (name, lambda value, hook, mine=mine, name=name: torch.where(mine, cache[name], value))
                expected[layer, head] = metric(hooked.run_with_hooks(CORRUPTED, fwd_hooks=[put]))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert float(found.std()) > 1e-5


def test_the_cache_attributes_logits_to_heads():
    plain, hooked = plain_and_hooked()
    with torch.no_grad():
        logits, cache = hooked.run_with_cache(CLEAN)
        parts = cache.stack_head_results(layer=-1, incl_remainder=True)
        attributed = cache.logit_attrs(parts, tokens=torch.full_like(CLEAN, 3))
        expected = (cache["blocks.2.hook_resid_post"] - cache["blocks.2.hook_resid_post"].mean(-1, keepdim=True)) / cache[
            "ln_final.hook_scale"
        ]
    torch.testing.assert_close(attributed.sum(dim=0), expected @ plain.unembed.W_U[:, 3], rtol=1e-4, atol=1e-4)
