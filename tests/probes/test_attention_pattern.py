"""Patterns of the plain and of the hooked model against TransformerLens's own cache."""

import pytest
import torch

from models.hooked import hook
from models.transformer import Transformer
from probes.attention_pattern import heads_of, reading_patterns

from ..models.random_models import random_model

TOKENS = torch.randint(0, 11, (3, 9), generator=torch.Generator().manual_seed(2))


def patterns(model) -> list[tuple[int, torch.Tensor]]:
    read = []
    with torch.no_grad(), reading_patterns(model, lambda layer, pattern: read.append((layer, pattern))):
        model(TOKENS)
    return read


def test_both_forms_give_what_the_cache_holds(model_config):
    plain = random_model(model_config)
    hooked = hook(model_config, plain.state_dict())
    _, cache = hooked.run_with_cache(TOKENS)
    assert heads_of(plain) == heads_of(hooked) == model_config.heads
    for model in (plain, hooked):
        read = patterns(model)
        assert [layer for layer, _ in read] == list(range(model_config.layers))
        for layer, pattern in read:
            torch.testing.assert_close(pattern, cache["pattern", layer], rtol=1e-10, atol=1e-12)


def test_an_edit_upstream_shows_in_the_patterns_of_the_hooked_model(model_config):
    hooked = hook(model_config, random_model(model_config).state_dict())
    before = patterns(hooked)[0][1]
    with hooked.hooks(fwd_hooks=[("blocks.0.attn.hook_q", lambda q, hook: 5 * q)]):
        assert float((patterns(hooked)[0][1] - before).abs().max()) > 1e-3


@pytest.mark.parametrize("form", ["plain", "hooked"])
def test_nothing_of_ours_stays_after_an_error(model_config, form):
    model = random_model(model_config)
    if form == "hooked":
        model = hook(model_config, model.state_dict())

    def fail(layer, pattern):
        raise RuntimeError("while reading")

    with pytest.raises(RuntimeError, match="while reading"), reading_patterns(model, fail):
        model(TOKENS)
    model(TOKENS)
    attention = model.blocks[0].attn
    left = len(attention._forward_pre_hooks) if isinstance(model, Transformer) else len(attention.hook_pattern.fwd_hooks)
    assert left == 0
