from inspect import unwrap

import numpy as np
import pytest
import torch
from transformer_lens import patching

from models.set_complement.task import SetComplementTask
from models.streams import Draw
from workbench.metrics import position_metrics
from workbench.patching import metric_at, patch

from ..gpt_shape import GPT
from .random_weights import random_hooked, random_tokens

CLEAN, CORRUPT = random_tokens(5, seed=3), random_tokens(5, seed=4)


def last_logit(logits):
    return logits[:, -1, 2] - logits[:, -1, 7]


@pytest.fixture(scope="module")
def gpt():
    return random_hooked(GPT)


@pytest.fixture
def lens(gpt, monkeypatch):
    """TransformerLens's patching functions with our metric as the mean they want, without their bar."""
    monkeypatch.setattr(patching, "tqdm", lambda items: items)
    _, cache = gpt.run_with_cache(CLEAN)
    with torch.no_grad():
        yield lambda function: function(gpt, CORRUPT, cache, lambda logits: last_logit(logits).mean()).numpy()


def test_heads_are_transformer_lens_s(gpt, lens):
    frame = patch(gpt, CLEAN, CORRUPT, "heads", last_logit)
    expected = lens(patching.get_act_patch_attn_head_out_all_pos)
    np.testing.assert_allclose(frame.pivot(index="layer", columns="head", values="value"), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("what", "function"),
    [
        ("stream", patching.get_act_patch_resid_pre),
        ("attention", patching.get_act_patch_attn_out),
        ("mlp", patching.get_act_patch_mlp_out),
    ],
)
def test_single_positions_are_transformer_lens_s(gpt, lens, what, function):
    frame = patch(gpt, CLEAN, CORRUPT, what, last_logit, positions=range(9))
    np.testing.assert_allclose(frame.pivot(index="layer", columns="position", values="value"), lens(function), rtol=1e-5)


def test_the_whole_stream_mends_all_and_a_run_patched_into_itself_changes_nothing(gpt):
    frame = patch(gpt, CLEAN, CORRUPT, "stream", last_logit)
    np.testing.assert_allclose(frame["share"], 1)
    np.testing.assert_allclose(frame["value"], frame["clean"])
    assert frame["corrupt"].iloc[0] == pytest.approx(last_logit(gpt(CORRUPT)).mean().item())
    same = patch(gpt, CLEAN, CLEAN, "heads", last_logit)
    np.testing.assert_allclose(same["difference"], 0, atol=1e-12)
    assert same["share"].isna().all()


def test_a_hook_of_pytorchs_acts_and_positions_of_numpys_are_taken(gpt):
    handle = gpt.hook_dict["blocks.1.hook_resid_pre"].register_forward_hook(lambda module, inputs, output: output.relu())
    frame = patch(gpt, CLEAN, CORRUPT, "mlp", last_logit, positions=np.arange(3, 5))
    with torch.no_grad():
        _, cache = gpt.run_with_cache(CLEAN)
        for row in frame.itertuples():
            point = f"blocks.{row.layer}.hook_mlp_out"

            def put(value, hook, at=row.position, clean=cache[point]):
                return torch.where((torch.arange(9) == at)[:, None], clean, value)

            expected = last_logit(gpt.run_with_hooks(CORRUPT, fwd_hooks=[(point, put)])).mean()
            assert row.value == pytest.approx(float(expected), rel=1e-9)
    handle.remove()
    assert list(frame["position"]) == [3, 4] * 3


def test_intervals_are_over_sequences(gpt):
    frame = patch(gpt, CLEAN, CORRUPT, "layers", last_logit)
    with torch.no_grad():
        _, cache = gpt.run_with_cache(CLEAN)
        hooks = [(f"blocks.1.{name}", lambda value, hook: cache[hook.name]) for name in ("hook_attn_out", "hook_mlp_out")]
        difference = last_logit(gpt.run_with_hooks(CORRUPT, fwd_hooks=hooks)) - last_logit(gpt(CORRUPT))
    row = frame[frame["layer"] == 1].iloc[0]
    half = 1.959964 * float(difference.std()) / 5**0.5
    expected = float(difference.mean()) - half, float(difference.mean()) + half
    np.testing.assert_allclose((row["difference_low"], row["difference_high"]), expected, rtol=1e-5)
    assert row["sequences"] == 5


def test_a_metric_at_a_length_is_that_of_the_registry():
    task = SetComplementTask(11)
    tokens = task.sequences(Draw.EVALUATION.stream(0), 0, 3)[:, :6]
    logits = torch.randn(3, 6, 11, generator=torch.Generator().manual_seed(0))
    whole = position_metrics(logits, task.legal(tokens))
    assert torch.equal(metric_at(task, tokens, "margin")(logits), whole["margin"][:, 5])
    assert torch.equal(metric_at(task, tokens, "illegal_mass", 2)(logits), whole["illegal_mass"][:, 1])
    for arguments, message in [(("entropy",), "metric 'entropy'"), (("margin", 7), "length 7 is outside 1 .. 6")]:
        with pytest.raises(ValueError, match=message):
            metric_at(task, tokens, *arguments)


def test_what_is_no_pair_or_no_metric_is_refused(gpt):
    with pytest.raises(ValueError, match=r"clean has shape \(5, 9\) and corrupt \(5, 8\)"):
        unwrap(patch)(gpt, CLEAN, CORRUPT[:, :8], "heads", last_logit)
    with pytest.raises(ValueError, match=r"gave shape \(\) for 5 sequences"):
        patch(gpt, CLEAN, CORRUPT, "heads", lambda logits: last_logit(logits).mean())
    with pytest.raises(ValueError, match="position 9 does not exist"):
        patch(gpt, CLEAN, CORRUPT, "heads", last_logit, positions=[9])
