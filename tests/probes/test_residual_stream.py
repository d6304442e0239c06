import pytest
import torch

from models.config import DropoutRates
from models.hooked import hook
from models.transformer import Transformer
from probes.residual_stream import layers_of, read_streams, visiting


@pytest.fixture
def both(model_config):
    """The plain and the hooked form of one model of the table, and tokens for it."""
    plain = Transformer(model_config, seed=3).eval()
    tokens = torch.randint(0, model_config.vocab, (3, model_config.context), generator=torch.Generator().manual_seed(0))
    return plain, hook(model_config, plain.state_dict()), tokens


def streams_of(model, tokens):
    streams = {}
    read_streams(model, tokens, lambda layer, stream: streams.__setitem__(layer, stream))
    return streams


def plain_hooks(model) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


def test_streams_are_those_of_the_cache_in_both_forms(both):
    plain, hooked, tokens = both
    _, cache = hooked.run_with_cache(tokens)
    expected = [cache["blocks.0.hook_resid_pre"], *(cache[f"blocks.{at}.hook_resid_post"] for at in range(len(plain.blocks)))]
    for model in (plain, hooked):
        streams = streams_of(model, tokens)
        assert list(streams) == list(layers_of(model))
        for layer, stream in streams.items():
            torch.testing.assert_close(stream, expected[layer], rtol=1e-5, atol=1e-6)
    assert plain_hooks(plain) == 0


def test_an_edit_at_any_layer_changes_what_follows_alike_in_both_forms(both):
    plain, hooked, tokens = both
    for layer in layers_of(plain):
        logits = []
        for model in (plain, hooked):
            clean = model(tokens)
            with visiting(model, lambda _, stream: stream + 1.5 * torch.arange(stream.shape[-1]), [layer]):
                logits.append(model(tokens))
            torch.testing.assert_close(model(tokens), clean)
            assert not torch.allclose(logits[-1], clean)
        torch.testing.assert_close(*logits, rtol=1e-4, atol=1e-4)


def test_nothing_is_left_behind_by_a_pass_that_raised_and_the_users_hooks_stay(both):
    plain, hooked, tokens = both
    calls = []
    hooked.add_hook("blocks.0.hook_resid_pre", lambda stream, hook: calls.append(1))

    def fail(layer, stream):
        raise KeyError("boom")

    for model in (plain, hooked):
        with pytest.raises(KeyError, match="boom"):
            read_streams(model, tokens, fail)
    assert plain_hooks(plain) == 0
    calls.clear()
    hooked(tokens)
    assert calls == [1]
    hooked.reset_hooks()


def test_reading_leaves_the_logits_alone_and_builds_no_graph(both):
    plain, _, tokens = both
    before = plain(tokens)
    assert not any(stream.requires_grad for stream in streams_of(plain, tokens).values())
    assert torch.equal(plain(tokens), before)


def test_what_cannot_be_read_is_refused_in_one_sentence(both):
    plain, hooked, tokens = both
    for model in (plain, hooked):
        with pytest.raises(ValueError, match=f"has {tokens.shape[1] + 1} tokens, the model takes 1 to {tokens.shape[1]}"):
            streams_of(model, torch.cat([tokens, tokens[:, :1]], dim=1))
        with pytest.raises(ValueError, match="tokens from 0 to 11, the model knows 0 .. 10"):
            streams_of(model, torch.tensor([[0, 11]]))
        with pytest.raises(ValueError, match="layer 9 does not exist"), visiting(model, lambda layer, stream: None, [9]):
            pass
        model.train()
        with pytest.raises(ValueError, match="training mode"):
            streams_of(model, tokens)
        model.eval()


def test_training_mode_is_refused_where_dropout_would_be_at_work(model_config):
    model = Transformer(model_config.model_copy(update={"dropout": DropoutRates(residual=0.5)}))
    with pytest.raises(ValueError, match="call model.eval"), visiting(model, lambda layer, stream: None):
        pass
