"""What the set-complement probes refuse, each in a sentence that names what was found and what to do."""

from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from models.set_complement.closed_form import closed_form
from probes.balance import balance
from probes.certificate import certify
from probes.displacement_structure import displacement_structure
from probes.logit_displacement import added_token, displacement, token_displacement
from probes.logit_tables import head_tables, logit_tables
from probes.minimal_model import float64_copy
from probes.two_token_identity import two_token_identity

from .set_complement_models import plain_model, random_model

FROM_WEIGHTS = [certify, displacement_structure, logit_tables, two_token_identity]
FROM_BEHAVIOUR = [added_token, balance, displacement, token_displacement]

REFUSED = {
    "2 layers": {"layers": 2},
    "2 heads": {"heads": 2},
    "an MLP of 8 neurons": {"mlp_width": 8},
    "position embeddings up to": {"positions": "learned"},
    "a norm at ln_final": {"final_norm": True},
    "a norm at blocks.0.ln1:": {"norm": "pre"},
    "a norm at blocks.0.ln1_post:": {"norm": "branch"},
}


@pytest.mark.parametrize("probe", FROM_WEIGHTS)
@pytest.mark.parametrize("found", REFUSED)
def test_models_whose_weights_do_not_say_all_are_refused(probe, found):
    with pytest.raises(ValueError) as refusal:
        probe(random_model(5, 0, **REFUSED[found]))
    message = str(refusal.value)
    assert found.rstrip(":") in message
    assert "; use a set-complement model with one layer" in message
    assert message.count("\n") == 0


@pytest.mark.parametrize("probe", FROM_WEIGHTS)
@pytest.mark.parametrize("found", REFUSED)
def test_plain_models_are_refused_in_the_same_words(probe, found):
    with pytest.raises(ValueError, match=found.split(" at ")[0] + r".*; use a set-complement model with one layer"):
        probe(plain_model(5, 0, **REFUSED[found]))


@pytest.mark.parametrize("probe", FROM_WEIGHTS + FROM_BEHAVIOUR)
def test_the_plain_model_gives_what_the_hooked_one_gives(probe):
    of_plain, of_hooked = probe(plain_model(6, 3)), probe(random_model(6, 3))
    if not isinstance(of_plain, pd.DataFrame):
        of_plain, of_hooked = of_plain.frame(), of_hooked.frame()
    pd.testing.assert_frame_equal(of_plain, of_hooked, rtol=1e-9, atol=1e-12)


def test_a_hook_on_a_plain_model_is_named():
    model = plain_model(5, 0)
    handle = model.unembed.register_forward_pre_hook(lambda module, arguments: None)
    with pytest.raises(ValueError, match="a hook at unembed, which"):
        certify(model)
    handle.remove()
    assert len(certify(model).lengths) == 4


@pytest.mark.parametrize("found", REFUSED)
def test_behaviour_is_measured_on_any_architecture(found):
    model = random_model(5, 0, **REFUSED[found])
    for probe in FROM_BEHAVIOUR:
        assert len(probe(model))


@pytest.mark.parametrize("probe", FROM_WEIGHTS + FROM_BEHAVIOUR)
def test_a_model_in_training_mode_is_refused(probe):
    with pytest.raises(ValueError, match=r"training mode.*model\.eval\(\)"):
        probe(random_model(5, 0).train())


@pytest.mark.parametrize("probe", FROM_WEIGHTS + FROM_BEHAVIOUR)
def test_the_wrong_organism_is_refused(probe):
    model = random_model(5, 0)
    model.card = SimpleNamespace(task=SimpleNamespace(name="othello"))
    with pytest.raises(ValueError, match="trained on othello"):
        probe(model)


@pytest.mark.parametrize("vocab", [33, 61])
@pytest.mark.parametrize("probe", FROM_WEIGHTS + FROM_BEHAVIOUR)
def test_what_looks_like_an_othello_gpt_is_refused_where_no_card_says_otherwise(probe, vocab):
    model = random_model(vocab, 0, positions="learned")
    with pytest.raises(ValueError, match=f"has no card, {vocab} tokens and learned positions, so it looks like an OthelloGPT"):
        probe(model)


@pytest.mark.parametrize("probe", FROM_WEIGHTS)
def test_a_hooked_model_is_refused_while_the_hook_is_there(probe):
    model = random_model(5, 0)
    with (
        model.hooks(fwd_hooks=[("blocks.0.attn.hook_pattern", lambda pattern, hook: pattern * 0)]),
        pytest.raises(ValueError, match=r"a hook at blocks\.0\.attn\.hook_pattern"),
    ):
        probe(model)
    handle = model.unembed.register_forward_hook(lambda module, arguments, logits: 2 * logits)
    with pytest.raises(ValueError, match="a hook at unembed, which"):
        probe(model)
    handle.remove()
    probe(model)


@pytest.mark.parametrize("probe", FROM_WEIGHTS)
def test_weights_that_are_not_finite_are_refused(probe):
    model = random_model(5, 0)
    with torch.no_grad():
        model.unembed.W_U[0, 0] = torch.nan
    with pytest.raises(ValueError, match=r"unembed\.W_U holds a weight that is not finite"):
        probe(model)


@pytest.mark.lens3  # 4.x reads its configuration once, when the model is made
@pytest.mark.parametrize("probe", FROM_WEIGHTS)
def test_a_switch_that_changes_the_logits_is_noticed(probe):
    model = random_model(5, 0)
    model.cfg.attn_scores_soft_cap = 0.1
    with pytest.raises(ValueError, match="differ by"):
        probe(model)


@pytest.mark.parametrize("probe", FROM_WEIGHTS)
def test_what_no_hook_point_shows_is_noticed(probe):
    model = random_model(5, 0)
    kind = type(model.unembed)
    model.unembed.__class__ = type("Doubled", (kind,), {"forward": lambda self, stream: 2 * kind.forward(self, stream)})
    with pytest.raises(ValueError, match="differ by"):
        probe(model)


def test_several_heads_have_tables_of_their_own():
    assert head_tables(random_model(5, 0, heads=3)).displacement.shape == (3, 5, 5)


@pytest.mark.parametrize("probe", FROM_WEIGHTS + FROM_BEHAVIOUR)
def test_the_model_is_left_as_it_was(probe):
    model = closed_form(5).to(torch.float32, print_details=False)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    probe(model)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert model.cfg.dtype == torch.float32
    assert not any(point.fwd_hooks or point.bwd_hooks for point in model.hook_dict.values())


def test_the_copy_computes_in_float64():
    model = closed_form(5).to(torch.float32, print_details=False)
    assert float64_copy(model)(torch.tensor([[0, 1]])).dtype == torch.float64
