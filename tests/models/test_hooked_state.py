"""Weights there and back: the plain form of a hooked model, and TransformerLens's own converters."""

import json

import pytest
import torch
from safetensors.torch import save_file

from models.config import ModelConfig
from models.hooked import hook, load, plain, plain_state
from models.importers import import_checkpoint

from .random_models import random_model

TOKENS = torch.randint(0, 11, (3, 9), generator=torch.Generator().manual_seed(2))
OTHELLO = ModelConfig(
    vocab=33,
    context=31,
    layers=2,
    heads=4,
    width=16,
    head_width=4,
    mlp_width=24,
    positions="learned",
    norm="pre",
    final_norm=True,
)
MOVES = torch.randint(1, 33, (3, 31), generator=torch.Generator().manual_seed(5))


def test_the_weights_of_a_hooked_model_are_those_it_was_made_of(model_config):
    state = random_model(model_config).state_dict()
    found = plain_state(hook(model_config, state))
    if model_config.positions == "none":
        assert not found.pop("pos_embed.W_pos").any()
    assert found.keys() == state.keys()
    assert all(torch.equal(tensor, state[name]) for name, tensor in found.items())


def test_plain_is_the_inverse_of_hook_on_the_same_tensors(model_config):
    hooked = hook(model_config, random_model(model_config).state_dict())
    form = plain(hooked)
    changes = {"positions": "learned", "dropout": form.config.dropout}
    assert form.config == model_config.model_copy(update=changes)
    with torch.no_grad():
        torch.testing.assert_close(form(TOKENS), hooked(TOKENS), rtol=1e-9, atol=1e-9)
        form.embed.W_E.mul_(2)
        form.blocks[0].attn.W_Q.mul_(2)
        form.unembed.W_U.mul_(2)
        torch.testing.assert_close(form(TOKENS), hooked(TOKENS), rtol=1e-9, atol=1e-9)
    assert not form.training


def test_a_copy_is_hooked_and_no_bystander_changes(model_config):
    state = random_model(model_config).state_dict()
    hooked = hook(model_config, state)
    with torch.no_grad():
        plain(hooked).embed.W_E.zero_()
    assert float(state["embed.W_E"].abs().max()) > 0


@pytest.fixture
def native():
    """TransformerLens 4's own configuration of OTHELLO, made by hand."""
    from transformer_lens.config import TransformerBridgeConfig

    return TransformerBridgeConfig(
        d_model=16, d_head=4, n_heads=4, n_layers=2, n_ctx=31, d_vocab=33, d_mlp=24, act_fn="gelu", normalization_type="LN"
    )  # fmt: skip


@pytest.mark.lens4
def test_our_weights_go_through_their_converter_into_their_own_native_model(native):
    from transformer_lens.model_bridge import TransformerBridge
    from transformer_lens.utilities.tl_checkpoint_conversion import convert_tl_checkpoint

    ours = random_model(OTHELLO)
    theirs = TransformerBridge.boot_native(native, dtype=torch.float64)
    theirs.load_state_dict(convert_tl_checkpoint(ours.state_dict(), native), strict=True)
    torch.testing.assert_close(theirs(MOVES), ours(MOVES), rtol=1e-9, atol=1e-9)


@pytest.mark.lens4
def test_weights_of_their_native_model_become_a_checkpoint_of_ours(native, tmp_path):
    from transformer_lens.model_bridge import TransformerBridge

    theirs = TransformerBridge.boot_native(native)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.normal_(std=0.3)
    save_file(theirs.state_dict(), tmp_path / "native.safetensors")
    card = import_checkpoint(str(tmp_path / "native.safetensors"), tmp_path / "out", heads=4)
    assert card.model == OTHELLO
    torch.testing.assert_close(load(tmp_path / "out")(MOVES), theirs(MOVES), rtol=1e-4, atol=1e-4)


@pytest.mark.lens4
@pytest.mark.parametrize("bias", [True, False])
def test_our_weights_are_a_legacy_repository_to_their_loader(bias, tmp_path, monkeypatch):
    import huggingface_hub
    from transformer_lens.model_bridge import TransformerBridge
    from transformer_lens.model_bridge.sources import tl_legacy  # noqa: F401  # puts boot_tl_legacy in its place

    ours = random_model(OTHELLO, torch.float32)
    state = ours.state_dict()
    if not bias:
        state["unembed.b_U"].zero_()
        state = {name: tensor for name, tensor in state.items() if name != "unembed.b_U"}
    torch.save(state, tmp_path / "model_final.pth")
    shape = {"d_model": 16, "d_head": 4, "n_heads": 4, "n_layers": 2, "n_ctx": 31, "d_vocab": 33, "d_mlp": 24}
    (tmp_path / "config.json").write_text(json.dumps(shape | {"act_fn": "gelu", "attn_only": False, "normalization": "LN"}))
    # the hub is a folder here: no network
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda repository, name: str(tmp_path / name))
    monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_files", lambda self, repository: ["config.json", "model_final.pth"])
    theirs = TransformerBridge.boot_tl_legacy("NeelNanda/ours")
    torch.testing.assert_close(theirs(MOVES), ours(MOVES), rtol=1e-4, atol=1e-4)
