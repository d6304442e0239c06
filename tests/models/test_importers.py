import pickle
import warnings
import zipfile
from random import Random
from shutil import rmtree

import pytest
import torch
from safetensors.torch import load_file, save, save_file

from models import importers
from models.checkpoint import read_card, read_weights
from models.hooked import HookedTransformer, hook, load
from models.importers import ImportFailed, from_mingpt, import_checkpoint
from models.transformer import Transformer
from workbench.cli import run as command

from ..reliability.mutations import of_type


def mingpt_state(layers=2, width=16, vocab=61, context=59, mlp=64, buffers=True) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)

    def weight(*shape):
        return torch.randn(*shape, generator=generator) * 0.3

    state = {
        "pos_emb": weight(1, context, width),
        "tok_emb.weight": weight(vocab, width),
        "ln_f.weight": weight(width),
        "ln_f.bias": weight(width),
        "head.weight": weight(vocab, width),
    }
    for layer in range(layers):
        for norm in ("ln1", "ln2"):
            state |= {f"blocks.{layer}.{norm}.weight": weight(width), f"blocks.{layer}.{norm}.bias": weight(width)}
        for part in ("key", "query", "value", "proj"):
            state |= {
                f"blocks.{layer}.attn.{part}.weight": weight(width, width),
                f"blocks.{layer}.attn.{part}.bias": weight(width),
            }
        if buffers:
            state[f"blocks.{layer}.attn.mask"] = torch.tril(torch.ones(1, 1, context, context))
        state |= {f"blocks.{layer}.mlp.0.weight": weight(mlp, width), f"blocks.{layer}.mlp.0.bias": weight(mlp)}
        state |= {f"blocks.{layer}.mlp.2.weight": weight(width, mlp), f"blocks.{layer}.mlp.2.bias": weight(width)}
    return state


def mingpt_forward(state, tokens, heads):
    """minGPT's forward pass, written out from its architecture with torch's functional layers."""
    functional = torch.nn.functional
    width = state["tok_emb.weight"].shape[1]
    x = state["tok_emb.weight"][tokens] + state["pos_emb"][0, : tokens.shape[1]]
    for layer in range(sum(name.endswith("ln1.weight") for name in state)):
        p = {
            name.removeprefix(f"blocks.{layer}."): value for name, value in state.items() if name.startswith(f"blocks.{layer}.")
        }
        normed = functional.layer_norm(x, (width,), p["ln1.weight"], p["ln1.bias"])
        q, k, v = (
            functional.linear(normed, p[f"attn.{part}.weight"], p[f"attn.{part}.bias"])
            .unflatten(-1, (heads, -1))
            .transpose(1, 2)
            for part in ("query", "key", "value")
        )
        z = functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
        x = x + functional.linear(z, p["attn.proj.weight"], p["attn.proj.bias"])
        normed = functional.layer_norm(x, (width,), p["ln2.weight"], p["ln2.bias"])
        hidden = functional.gelu(functional.linear(normed, p["mlp.0.weight"], p["mlp.0.bias"]))
        x = x + functional.linear(hidden, p["mlp.2.weight"], p["mlp.2.bias"])
    return functional.layer_norm(x, (width,), state["ln_f.weight"], state["ln_f.bias"]) @ state["head.weight"].T


TOKENS = torch.randint(1, 61, (3, 20), generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("kind", ["safetensors", "pth", "ckpt", "wrapped", "data parallel"])
def test_mingpt_keys_give_mingpts_logits(tmp_path, kind):
    state = mingpt_state()
    expected = mingpt_forward(state, TOKENS, heads=4)
    if kind == "safetensors":
        file = tmp_path / "model.safetensors"
        save_file(state, file)
    else:
        file = tmp_path / ("model.pth" if kind == "pth" else "model.ckpt")
        wrapped = {"wrapped": {"state_dict": state, "epoch": 3}, "data parallel": {f"module.{k}": v for k, v in state.items()}}
        torch.save(wrapped.get(kind, state), file)
    card = import_checkpoint(str(file), tmp_path / "out", heads=4)
    assert (card.model.layers, card.model.heads, card.model.head_width, card.model.mlp_width) == (2, 4, 4, 64)
    torch.testing.assert_close(load(tmp_path / "out")(TOKENS), expected, rtol=1e-4, atol=1e-4)


def test_a_file_with_its_optimiser_is_imported(tmp_path):
    """Groups of one optimiser share their betas, and its steps share nothing."""
    state = mingpt_state()
    groups = [{"params": [torch.nn.Parameter(value)]} for value in state.values()]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95))
    sum(group["params"][0].sum() for group in groups).backward()
    optimizer.step()
    rates = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
    whole = {"model": state, "optimizer": optimizer.state_dict(), "rates": rates.state_dict(), "step": 10**12, "loss": 0.5}
    for number, zipped in enumerate((True, False)):
        file = tmp_path / f"{number}.pt"
        torch.save(whole, file, _use_new_zipfile_serialization=zipped)
        import_checkpoint(str(file), tmp_path / f"out-{number}", heads=4)


def test_transformer_lens_keys_come_back_with_equal_logits(tmp_path):
    config, plain = from_mingpt(mingpt_state(buffers=False), heads=4)
    theirs = hook(config, plain)  # its keys are those of the installed TransformerLens, 3 or 4
    torch.save(theirs.state_dict(), tmp_path / "model.pth")
    card = import_checkpoint(str(tmp_path / "model.pth"), tmp_path / "out", heads=4)
    assert card.model == config
    assert "not folded" in card.source
    torch.testing.assert_close(load(tmp_path / "out")(TOKENS), theirs(TOKENS), rtol=1e-5, atol=1e-5)


@pytest.mark.lens3  # what 4.x folds it keeps apart, and saves the weights as they were
def test_folded_transformer_lens_weights_come_back_with_equal_probabilities(tmp_path):
    config, plain = from_mingpt(mingpt_state(buffers=False), heads=4)
    theirs: HookedTransformer = hook(config, plain)
    expected = theirs(TOKENS).log_softmax(dim=-1)
    theirs.process_weights_(fold_ln=True, center_writing_weights=True, center_unembed=True)
    folded = {name: value for name, value in theirs.state_dict().items() if ".ln" not in f".{name}"}
    torch.save(folded, tmp_path / "model.pth")
    assert "ln_final.w" not in folded
    card = import_checkpoint(str(tmp_path / "model.pth"), tmp_path / "out")
    assert "LayerNorms folded" in card.source
    torch.testing.assert_close(load(tmp_path / "out")(TOKENS).log_softmax(dim=-1), expected, rtol=1e-3, atol=1e-3)


def test_keys_that_do_not_fit_are_named(tmp_path):
    state = mingpt_state()
    del state["ln_f.bias"]
    state["surprise"] = torch.zeros(2)
    state["blocks.1.mlp.0.bias"] = torch.zeros(3)
    save_file(state, tmp_path / "m.safetensors")
    expected = (
        r"missing \['ln_f.bias'\], unexpected \['surprise'\], mis-shaped \['blocks.1.mlp.0.bias \(3,\) instead of \(64,\)'\]"
    )
    with pytest.raises(ImportFailed, match=expected):
        import_checkpoint(str(tmp_path / "m.safetensors"), tmp_path / "out", heads=4)
    assert not (tmp_path / "out").exists()


def test_heads_that_cannot_be_are_refused(tmp_path):
    save_file(mingpt_state(), tmp_path / "m.safetensors")
    with pytest.raises(ImportFailed, match="width 16 cannot be split over 3 heads"):
        import_checkpoint(str(tmp_path / "m.safetensors"), tmp_path / "out", heads=3)


class Malicious:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (open, (str(self.marker), "w"))


@pytest.mark.parametrize("write", [lambda obj, file: pickle.dump(obj, file.open("wb")), torch.save])
def test_a_pickle_that_would_run_code_runs_nothing(tmp_path, write):
    marker, file = tmp_path / "it-ran", tmp_path / "m.pth"
    write({"tok_emb.weight": Malicious(marker)}, file)
    with pytest.raises(ImportFailed, match="a pickle can run code"):
        import_checkpoint(str(file), tmp_path / "out")
    assert not marker.exists()


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("absent.safetensors", None, "cannot open"),
        ("cut.safetensors", b"\x10\x00\x00\x00\x00\x00\x00\x00{", "no valid safetensors file"),
        ("noise.pth", b"\x00" * 100, "holds more than tensors, or is damaged"),
        ("nohub://x.pth", None, "cannot open"),
    ],
)
def test_files_that_cannot_be_read_are_one_sentence(tmp_path, name, content, problem):
    address = name if "://" in name else str(tmp_path / name)
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ImportFailed, match=problem):
        import_checkpoint(address, tmp_path / "out")


@pytest.mark.parametrize("content", [b"noise", b""])
def test_what_is_no_archive_is_named(tmp_path, content):
    (tmp_path / "m.zip").write_bytes(content)
    with pytest.raises(ImportFailed, match=r"cannot open zip://m.pth::.* \(File is not a zip file\); give a file"):
        import_checkpoint(f"zip://m.pth::{tmp_path / 'm.zip'}", tmp_path / "out")


def test_a_file_in_an_archive_is_read_up_to_the_limit(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "m.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("m.safetensors", save(mingpt_state()))
        archive.writestr("grown.safetensors", bytes(1 << 20))
    import_checkpoint(f"zip://m.safetensors::{tmp_path / 'm.zip'}", tmp_path / "out", heads=4)
    monkeypatch.setattr(importers, "MOST_BYTES", (1 << 20) - 1)
    with pytest.raises(ImportFailed, match="has more than 1048575 bytes, which no OthelloGPT has"):
        import_checkpoint(f"zip://grown.safetensors::{tmp_path / 'm.zip'}", tmp_path / "grown")


@pytest.mark.parametrize("dtype", ["F4", "F6_E2M3", "F8_E8M0"])
def test_numbers_that_torch_cannot_read_are_named(tmp_path, dtype):
    (tmp_path / "m.safetensors").write_bytes(of_type(dtype))
    with pytest.raises(ImportFailed, match="m.safetensors is no valid safetensors file"):
        import_checkpoint(str(tmp_path / "m.safetensors"), tmp_path / "out")


def test_another_models_keys_are_refused(tmp_path):
    save_file({"transformer.h.0.weight": torch.zeros(2)}, tmp_path / "m.safetensors")
    with pytest.raises(ImportFailed, match="neither minGPT keys .* nor TransformerLens keys"):
        import_checkpoint(str(tmp_path / "m.safetensors"), tmp_path / "out")


def test_the_command_says_what_it_found(tmp_path, capsys):
    torch.save(mingpt_state(), tmp_path / "model.pth")
    assert command(["import", str(tmp_path / "model.pth"), "--out", str(tmp_path / "imported"), "--heads", "4"]) == 0
    assert "imported 2 layers, 4 heads, width 16, 61 tokens to " in capsys.readouterr().out
    assert load(tmp_path / "imported").cfg.n_heads == 4


@pytest.mark.parametrize(
    ("make", "heads", "problem"),
    [
        (lambda: [torch.zeros(2)], None, "holds a list instead of a state dict; save the state dict alone"),
        (lambda: mingpt_state(vocab=20), 4, r"has 20 tokens, an OthelloGPT has 61 \(8x8 board\) or 33 \(6x6\)"),
        (mingpt_state, 0, "0 heads were asked for, expected at least 1"),
        (lambda: {"tok_emb.weight": torch.zeros(61)}, None, r"key tok_emb.weight has shape \(61,\), expected 2 dimensions"),
        (lambda: {"embed.W_E": torch.zeros(61, 16)}, None, "key .* is missing"),
        (
            lambda: {"embed.weight": torch.zeros(61), "blocks.0.attn.q.weight": torch.zeros(8, 8)},
            None,
            r"m.pth has keys or shapes that no OthelloGPT has \(EinopsError\); save the state dict alone",
        ),
        (
            lambda: {
                "embed.W_E": torch.zeros(2, 8),
                "pos_embed.W_pos": torch.zeros(5, 8),
                "blocks.0.attn.W_Q": torch.zeros(1, 8, 8),
                "blocks.0.mlp.W_in": torch.zeros(8, 4),
            },
            None,
            r"m.pth: the weights have vocab 2 \(Input should be greater than or equal to 3\); is this an OthelloGPT's",
        ),
    ],
    ids=["a list", "20 tokens", "no heads", "one axis", "nothing but an embedding", "no matrix", "2 tokens"],
)
def test_what_is_no_othello_gpt_is_named(tmp_path, make, heads, problem):
    torch.save(make(), tmp_path / "m.pth")
    with pytest.raises(ImportFailed, match=problem):
        import_checkpoint(str(tmp_path / "m.pth"), tmp_path / "out", heads=heads)
    assert not (tmp_path / "out").exists()


@pytest.mark.lens3  # 4.x saves matrices that do not tell their number of heads
def test_other_heads_than_the_weights_have_are_refused(tmp_path):
    torch.save(hook(*from_mingpt(mingpt_state(buffers=False), heads=4)).state_dict(), tmp_path / "m.pth")
    with pytest.raises(ImportFailed, match="--heads 8 was asked for and the weights have 4 heads; leave --heads out"):
        import_checkpoint(str(tmp_path / "m.pth"), tmp_path / "out", heads=8)


def test_the_real_othello_gpt_is_wrapped_with_equal_logits(othello_gpt_file, tmp_path):
    card = import_checkpoint(str(othello_gpt_file), tmp_path / "out")
    assert (card.model.layers, card.model.heads, card.model.width, card.model.vocab) == (8, 8, 512, 61)
    stored = load_file(tmp_path / "out" / "raw.safetensors")
    assert stored["embed.W_E"].dtype == torch.bfloat16
    plain = Transformer(read_card(tmp_path / "out").model).eval()
    plain.load_state_dict(read_weights(tmp_path / "out", "raw"))
    foreign = {name: value.float() for name, value in load_file(othello_gpt_file).items()}
    with torch.no_grad():
        expected = mingpt_forward(foreign, TOKENS, heads=8)
        torch.testing.assert_close(plain(TOKENS), expected, rtol=1e-4, atol=1e-3)
        torch.testing.assert_close(load(tmp_path / "out")(TOKENS), expected, rtol=1e-4, atol=1e-3)


def changed(**keys) -> dict:
    return mingpt_state(layers=1, width=8, vocab=33, context=31, mlp=8, buffers=False) | keys


@pytest.mark.parametrize("zipped", [True, False])
def test_damaged_bytes_are_imported_or_refused_in_one_sentence(tmp_path, zipped):
    file, out = tmp_path / "m.pth", tmp_path / "out"
    torch.save(changed(), file, _use_new_zipfile_serialization=zipped)
    sound, refused = file.read_bytes(), 0
    for seed in range(200):
        random = Random(seed)
        spoilt = bytearray(sound)
        for _ in range(random.choice((1, 2, 8))):
            last = len(sound) if random.random() < 0.3 else min(len(sound), 3000)  # most often where the pickle is
            spoilt[random.randrange(last)] = random.randrange(256)
        file.write_bytes(spoilt)
        try:
            import_checkpoint(str(file), out)
            rmtree(out)
        except ImportFailed as error:
            refused += 1
            assert str(file) in str(error) and "; " in str(error) and len(str(error)) < 2000
            assert "\n" not in str(error)
        assert not out.exists()
    assert 50 < refused < 200


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: {5: torch.zeros(1)}, "has the key '5', expected text alone"),
        (lambda: {"ln_f.bias": torch.full((8,), torch.nan)}, "'ln_f.bias' holds NaN or infinity"),
        (lambda: {"ln_f.bias": torch.full((8,), -torch.inf)}, "'ln_f.bias' holds NaN or infinity"),
        (lambda: {"ln_f.bias": torch.zeros(8, dtype=torch.complex64)}, "'ln_f.bias' is complex64, .* expected dense floating"),
        (lambda: {"ln_f.bias": torch.zeros(8, dtype=torch.int64)}, "'ln_f.bias' is int64"),
        (lambda: {"ln_f.bias": torch.zeros(8).to_sparse()}, "holds 'torch._utils _rebuild_sparse_tensor', expected"),
        (lambda: {"ln_f.bias": torch.zeros(8, device="meta")}, "holds 'torch._utils _rebuild_meta_tensor_no_storage'"),
        (lambda: {"ln_f.bias": torch.zeros(1).expand(8)}, "'ln_f.bias' repeats its numbers"),
        (lambda: {"ln_f.bias": torch.zeros(1).expand(1 << 36)}, r"has \d+ bytes and weights of 2748779\d+, so they repeat"),
        (lambda: {"blocks.1000000000.x": torch.zeros(1)}, "name a layer 1000000000, expected 0 .. 999"),
        (lambda: {f"blocks.{'9' * 5000}.x": torch.zeros(1)}, "name a layer 9{40}, expected 0 .. 999"),
        (lambda: {"blocks.900.x": torch.zeros(1)}, r"missing \[.{,400}\] and 14,?\d+ more"),
        (lambda: {"tok_emb.weight": torch.zeros(33, 0)}, r"has shape \(33, 0\), expected 2 dimensions above 0"),
        (lambda: {"blocks.0.mlp.0.weight": torch.zeros(())}, r"blocks.0.mlp.0.weight has shape \(\), expected 2 dimensions"),
    ],
)
def test_weights_that_no_model_has_are_named(tmp_path, make, problem):
    torch.save(changed() | make(), tmp_path / "m.pth")
    with pytest.raises(ImportFailed, match=problem):
        import_checkpoint(str(tmp_path / "m.pth"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_quantised_weights_are_named(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch means to take them away
        quantised = torch.quantize_per_tensor(torch.zeros(8), 1.0, 0, torch.quint8)
        torch.save(changed() | {"ln_f.bias": quantised}, tmp_path / "m.pth")
    with pytest.raises(ImportFailed, match="holds 'torch._utils _rebuild_qtensor', expected dense tensors and plain values"):
        import_checkpoint(str(tmp_path / "m.pth"), tmp_path / "out")


@pytest.mark.parametrize("kind", ["deflated", "shared"])
def test_archives_that_grow_are_refused_unread(tmp_path, kind):
    """Ones that torch never writes: compressed members, or many members of a directory that are the same bytes."""
    file, grown = tmp_path / "m.pth", tmp_path / "grown.pth"
    torch.save({"tok_emb.weight": torch.zeros(1 << 20)}, file)
    with zipfile.ZipFile(file) as sound, zipfile.ZipFile(grown, "w") as archive:
        for member in sound.infolist():
            archive.writestr(member.filename, sound.read(member), zipfile.ZIP_DEFLATED if kind == "deflated" else None)
        if kind == "shared":
            archive.filelist += [max(archive.filelist, key=lambda one: one.file_size)] * 100
    with pytest.raises(ImportFailed, match="an archive that grows when it is opened, torch stores its members as they are"):
        import_checkpoint(str(grown), tmp_path / "out")
