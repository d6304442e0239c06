"""Attention dispersion against the patterns of TransformerLens's own cache."""

import pytest
import torch
from scipy import stats

from models.hooked import hook
from models.transformer import Transformer
from probes.row_entropy import effective_tokens, logits_and_entropy, normalised, row_entropy


def tokens_for(config):
    return torch.randint(config.vocab, (3, config.context), generator=torch.Generator().manual_seed(0))


def test_against_the_cache(model_config):
    model = hook(model_config, Transformer(model_config).state_dict())
    tokens = tokens_for(model_config)
    logits, entropy = logits_and_entropy(model, tokens)
    expected, cache = model.run_with_cache(tokens)
    torch.testing.assert_close(logits, expected)
    for layer in range(model_config.layers):
        pattern = cache["pattern", layer].double()
        reference = torch.from_numpy(stats.entropy(pattern.detach().numpy(), axis=-1))  # [batch, head, query]
        torch.testing.assert_close(entropy[:, :, layer].mT.double(), reference, atol=1e-5, rtol=0)


def test_uniform_one_hot_and_zeros():
    pattern = torch.eye(4)
    assert row_entropy(pattern).tolist() == [0, 0, 0, 0]
    torch.testing.assert_close(row_entropy(torch.full((2, 4), 0.25)), torch.full((2,), 4.0).log())
    entropy = torch.arange(1, 5).float().log()[None]
    torch.testing.assert_close(normalised(entropy), torch.tensor([[0.0, 1, 1, 1]]))
    torch.testing.assert_close(effective_tokens(entropy), torch.arange(1, 5).float()[None])


def test_hooks_of_others_stay_and_ours_go_even_after_an_error(model_config):
    model = hook(model_config, Transformer(model_config).state_dict())
    seen = []
    model.add_hook("blocks.0.attn.hook_pattern", lambda pattern, hook: seen.append(hook.name))
    logits_and_entropy(model, tokens_for(model_config))

    def fail(stream, hook):
        raise RuntimeError("in a hook")

    with model.hooks(fwd_hooks=[("blocks.0.hook_resid_post", fail)]), pytest.raises(RuntimeError, match="in a hook"):
        logits_and_entropy(model, tokens_for(model_config))
    with pytest.raises(ValueError, match="the model knows 0"):
        logits_and_entropy(model, torch.full((1, 2), model_config.vocab))
    model(tokens_for(model_config))
    assert len(seen) == 3
    assert sum(len(point.fwd_hooks) for point in model.hook_dict.values()) == 1
    model.reset_hooks()


def test_training_mode_is_refused(model_config):
    model = hook(model_config, Transformer(model_config).state_dict()).train()
    with pytest.raises(ValueError, match="training mode"):
        logits_and_entropy(model, tokens_for(model_config))
