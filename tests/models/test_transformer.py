import math

import pytest
import torch
from einops import rearrange
from torch import nn

from models.config import DropoutRates, ModelConfig
from models.transformer import GeneratorMasks, Transformer

from .random_models import random_model


def test_pre_norm_gpt_equals_torchs_own_encoder():
    config = ModelConfig(
        vocab=11,
        context=9,
        layers=2,
        heads=3,
        width=12,
        head_width=4,
        mlp_width=20,
        positions="learned",
        norm="pre",
        final_norm=True,
    )
    model = random_model(config)
    layer = nn.TransformerEncoderLayer(12, 3, 20, dropout=0, activation="gelu", batch_first=True, norm_first=True)
    encoder = nn.TransformerEncoder(layer, 2, norm=nn.LayerNorm(12), enable_nested_tensor=False).double().eval()
    state = {"norm.weight": model.ln_final.w, "norm.bias": model.ln_final.b}
    for index, block in enumerate(model.blocks):
        attn, mlp, prefix = block.attn, block.mlp, f"layers.{index}."
        qkv = torch.cat([rearrange(w, "h width d -> (h d) width") for w in (attn.W_Q, attn.W_K, attn.W_V)])
        state |= {
            prefix + "self_attn.in_proj_weight": qkv,
            prefix + "self_attn.in_proj_bias": torch.cat([b.flatten() for b in (attn.b_Q, attn.b_K, attn.b_V)]),
            prefix + "self_attn.out_proj.weight": rearrange(attn.W_O, "h d width -> width (h d)"),
            prefix + "self_attn.out_proj.bias": attn.b_O,
            prefix + "linear1.weight": mlp.W_in.T,
            prefix + "linear1.bias": mlp.b_in,
            prefix + "linear2.weight": mlp.W_out.T,
            prefix + "linear2.bias": mlp.b_out,
            prefix + "norm1.weight": block.ln1.w,
            prefix + "norm1.bias": block.ln1.b,
            prefix + "norm2.weight": block.ln2.w,
            prefix + "norm2.bias": block.ln2.b,
        }
    encoder.load_state_dict(state)
    tokens = torch.randint(0, 11, (4, 9), generator=torch.Generator().manual_seed(1))
    embedded = model.embed.W_E[tokens] + model.pos_embed.W_pos[:9]
    mask = nn.Transformer.generate_square_subsequent_mask(9, dtype=torch.float64)
    expected = encoder(embedded, mask=mask, is_causal=True) @ model.unembed.W_U + model.unembed.b_U
    torch.testing.assert_close(model(tokens), expected, rtol=1e-10, atol=1e-10)


def test_attention_only_logits_are_bias_plus_attended_displacements():
    model = random_model(ModelConfig(vocab=7, context=6, width=5, head_width=3))
    attn = model.blocks[0].attn
    embedding, unembedding = model.embed.W_E, model.unembed.W_U
    queries, keys = embedding @ attn.W_Q[0] + attn.b_Q[0], embedding @ attn.W_K[0] + attn.b_K[0]
    table = queries @ keys.T / math.sqrt(3)
    displacement = embedding @ attn.W_V[0] @ attn.W_O[0] @ unembedding
    bias = embedding @ unembedding + (attn.b_V[0] @ attn.W_O[0] + attn.b_O) @ unembedding + model.unembed.b_U
    tokens = [3, 0, 5, 2]
    weights = table[2, tokens].softmax(dim=0)
    expected = bias[2] + weights @ displacement[tokens]
    torch.testing.assert_close(model(torch.tensor([tokens]))[0, -1], expected, rtol=1e-12, atol=1e-12)


def test_the_prefix_order_does_not_matter_without_positions_in_one_layer():
    model = random_model(ModelConfig(vocab=11, context=9, width=12, head_width=6))
    order = torch.tensor([[4, 2, 9, 0, 7, 5]])
    shuffled = torch.tensor([[7, 0, 2, 4, 9, 5]])
    torch.testing.assert_close(model(order)[0, -1], model(shuffled)[0, -1], rtol=0, atol=1e-12)


def test_the_model_is_causal(model_config):
    model = random_model(model_config)
    tokens = torch.randint(0, 11, (2, 9), generator=torch.Generator().manual_seed(0))
    changed = tokens.clone()
    changed[:, 6:] = (changed[:, 6:] + 1) % 11
    torch.testing.assert_close(model(tokens)[:, :6], model(changed)[:, :6], rtol=0, atol=1e-12)


def test_no_model_has_more_weights_than_its_shape_allows_for(model_config):
    own = sum(parameter.numel() for parameter in Transformer(model_config).parameters())
    assert own <= model_config.most_weights <= 1.5 * own


def test_explicit_and_fused_attention_agree():
    config = ModelConfig(vocab=11, context=9, layers=2, heads=2, width=12, head_width=6, dropout=DropoutRates(attention=0.5))
    model = random_model(config).train()
    tokens = torch.randint(0, 11, (4, 9), generator=torch.Generator().manual_seed(0))
    kept_all = model(tokens, lambda site, rate, shape, like: torch.ones(shape, dtype=like.dtype))
    torch.testing.assert_close(kept_all, model.eval()(tokens), rtol=1e-10, atol=1e-10)


def test_dropout_asks_for_each_site_with_its_rate():
    config = ModelConfig(
        vocab=11,
        context=9,
        layers=2,
        width=12,
        head_width=6,
        mlp_width=8,
        dropout=DropoutRates(embedding=0.1, attention=0.2, residual=0.3),
    )
    asked = []

    def record(site, rate, shape, like):
        asked.append((site, rate, tuple(shape)))
        return torch.ones(shape, dtype=like.dtype)

    random_model(config).train()(torch.zeros(2, 5, dtype=torch.long), record)
    block = [("attention", 0.2, (2, 1, 5, 5)), ("residual", 0.3, (2, 5, 12)), ("residual", 0.3, (2, 5, 12))]
    assert asked == [("embedding", 0.1, (2, 5, 12)), *block, *block]


def test_masks_drop_at_the_rate_and_keep_the_mean():
    mask = GeneratorMasks(3)("residual", 0.25, torch.Size([200_000]), torch.zeros(1))
    assert mask.unique().tolist() == pytest.approx([0, 4 / 3])
    assert float((mask == 0).float().mean()) == pytest.approx(0.25, abs=0.005)
    assert torch.equal(mask, GeneratorMasks(3)("residual", 0.25, torch.Size([200_000]), torch.zeros(1)))


def test_no_dropout_outside_training():
    model = random_model(
        ModelConfig(vocab=11, context=9, width=12, head_width=6, dropout=DropoutRates(embedding=0.5, attention=0.5))
    )
    tokens = torch.randint(0, 11, (2, 9), generator=torch.Generator().manual_seed(0))
    assert torch.equal(model(tokens), model(tokens))
    model.train()
    assert not torch.equal(model(tokens), model(tokens))


def test_an_input_beyond_the_context_is_refused():
    with pytest.raises(ValueError, match="input of length 10 is longer than the model's context 9"):
        Transformer(ModelConfig(vocab=11, context=9))(torch.zeros(1, 10, dtype=torch.long))


def test_initial_weights_are_a_function_of_the_seed():
    config = ModelConfig(vocab=11, context=9)
    first, again, other = (Transformer(config, seed=seed).state_dict() for seed in (4, 4, 5))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["embed.W_E"], other["embed.W_E"])
