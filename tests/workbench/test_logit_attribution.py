import numpy as np
import pytest
import torch

from models.hooked import load
from models.set_complement.closed_form import closed_form
from models.set_complement.task import SetComplementTask
from models.streams import Draw
from models.tasks import make_task
from workbench.logit_attribution import attribute, logit_attribution

from ..gpt_shape import GPT
from .random_weights import random_hooked

TASK = SetComplementTask(11)
TOKENS = TASK.sequences(5, 0, 4)[:, :9]


def test_the_parts_sum_to_legal_minus_illegal_logits(model_config):
    model = random_hooked(model_config)
    legal = TASK.legal(TOKENS)
    parts = attribute(model, TOKENS, legal)
    logits = model(TOKENS).detach()
    for sequence in range(4):
        for position in range(9):
            row, is_legal = logits[sequence, position], legal[sequence, position]
            expected = float(row[is_legal].mean() - row[~is_legal].mean())
            assert float(parts["total", None, None][sequence, position]) == pytest.approx(expected, rel=1e-9)
    rest = [part for name, part in parts.items() if name != ("total", None, None)]
    torch.testing.assert_close(torch.stack(rest).sum(0), parts["total", None, None], rtol=1e-9, atol=1e-9)
    assert len(rest) == 3 + model_config.layers * (model_config.heads + 1 + (model_config.mlp_width > 0))


def test_an_mlps_part_is_what_the_logits_lose_without_it_where_there_is_no_norm(model_config):
    if model_config.norm != "none" or model_config.final_norm or not model_config.mlp_width:
        return
    model, layer = random_hooked(model_config), model_config.layers - 1
    legal = TASK.legal(TOKENS)
    part = attribute(model, TOKENS, legal)["mlp", layer, None]
    with model.hooks(fwd_hooks=[(f"blocks.{layer}.hook_mlp_out", lambda value, hook: value * 0)]):
        without = attribute(model, TOKENS, legal)["total", None, None]
    torch.testing.assert_close(attribute(model, TOKENS, legal)["total", None, None] - without, part, rtol=1e-9, atol=1e-9)


def test_the_closed_form_is_all_in_its_head():
    vocab, gap = 7, 2.0
    frame = logit_attribution(closed_form(vocab, gap=gap), SetComplementTask(vocab), sequences=6)
    by_component = frame.set_index(["component", "length"])["value"]
    lengths = np.arange(1, vocab)
    whole = by_component.loc["total"].to_numpy()
    np.testing.assert_allclose(by_component.loc["head"] + by_component.loc["embedding"], whole, rtol=1e-9)
    # each of the s seen tokens lies gap (v - 1) / s below the absent ones, and the last of them another `gap`
    np.testing.assert_allclose(whole, gap * (vocab - 1) / lengths + gap / lengths, rtol=1e-9)


def test_othello_by_layer_and_head_without_games_that_ended():
    name = "othello-mini-none"
    frame = logit_attribution(name, lengths=[5, 59], sequences=12, seed=2, batch=5)
    model = load(name)
    kinds = frame.drop_duplicates(["component", "layer", "head"])["component"].value_counts()
    assert kinds["head"] == model.cfg.n_layers * model.cfg.n_heads and kinds["mlp"] == model.cfg.n_layers
    own = frame[frame["component"] != "total"].groupby("length")["value"].sum()
    total = frame[frame["component"] == "total"].set_index("length")
    np.testing.assert_allclose(own, total["value"], rtol=1e-4)
    tokens = make_task(model.card.task).sequences(Draw.PROBES.stream(2), 0, 12)[:, :59]
    legal = make_task(model.card.task).legal(tokens)
    ended = ~legal[:, 58].any(-1)
    assert ended.sum() == 1 and list(total["sequences"]) == [12, 11]
    with torch.no_grad():
        rows = [(row[58], is_legal[58]) for row, is_legal in zip(model(tokens)[~ended], legal[~ended], strict=True)]
    expected = np.mean([float(row[is_legal].mean() - row[~is_legal].mean()) for row, is_legal in rows])
    assert total.loc[59, "value"] == pytest.approx(expected, rel=1e-4)
    assert (frame["ci_low"] <= frame["value"]).all()


def test_other_lengths_and_training_mode_are_refused():
    model = random_hooked(GPT)
    with pytest.raises(ValueError, match="length 10: expected lengths in 1 .. 9"):
        logit_attribution(model, TASK, [10])
    with pytest.raises(ValueError, match="training mode"):
        attribute(model.train(), TOKENS, TASK.legal(TOKENS))
