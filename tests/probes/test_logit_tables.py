"""The tables against the model they were read from."""

import numpy as np
import pytest
import torch

from models.set_complement.closed_form import closed_form
from probes.logit_tables import LogitTables, head_tables, logit_tables

from .set_complement_models import all_inputs, model_logits, random_model, trained_model


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_the_tables_say_all_the_model_computes_biases_included(heads):
    model = random_model(6, seed=heads, heads=heads)
    assert all(bool((bias != 0).all()) for bias in (model.b_Q, model.b_K, model.b_V, model.b_O, model.unembed.b_U))
    tables = head_tables(model)
    for length in range(1, 6):
        tokens = all_inputs(6, length)
        np.testing.assert_allclose(tables.last_logits(tokens), model_logits(model, tokens), rtol=0, atol=1e-12)


def test_one_head_tables_are_those_of_the_head():
    model = trained_model(5, 0)
    one, all_heads = logit_tables(model), head_tables(model)
    tokens = all_inputs(5, 3)
    np.testing.assert_array_equal(one.last_logits(tokens), all_heads.last_logits(tokens))
    np.testing.assert_array_equal(one.displacement, all_heads.displacement[0])


def test_attention_logits_carry_the_scale_and_both_biases():
    model = random_model(5, 3)
    tokens = np.array([3, 0, 4, 1])
    _, cache = model.run_with_cache(torch.from_numpy(tokens)[None])
    scores = cache["blocks.0.attn.hook_attn_scores"][0, 0].detach().numpy()
    causal = np.tril_indices(4)
    expected = logit_tables(model).attention_logits[np.ix_(tokens, tokens)]
    np.testing.assert_allclose(expected[causal], scores[causal], rtol=1e-12)


def test_the_closed_form_has_diagonal_tables():
    tables = logit_tables(closed_form(8, gap=2.0))
    for table, scale in ((tables.bias, 2.0), (tables.displacement, 14.0)):
        np.testing.assert_allclose(table - table[0, 1], -scale * np.eye(8), atol=1e-13)
    assert not tables.attention_logits.any()


def test_attention_logits_of_a_thousand_do_not_overflow():
    rng = np.random.default_rng(0)
    tables = LogitTables(rng.normal(size=(4, 4)), rng.normal(size=(4, 4)), np.array([[1000.0, -1000.0, 0.0, 999.0]] * 4))
    logits = tables.last_logits(np.array([[2, 1], [1, 0]]))
    np.testing.assert_allclose(logits, tables.bias[[1, 0]] + tables.displacement[[2, 0]], rtol=1e-14)


def test_the_frame_is_one_row_a_cell():
    tables = logit_tables(trained_model(5, 0))
    frame = tables.frame()
    assert list(frame.columns) == ["table", "row", "logit", "value"]
    assert len(frame) == 3 * 25
    cell = frame[(frame["table"] == "displacement") & (frame["row"] == 3) & (frame["logit"] == 1)]
    assert cell["value"].item() == tables.displacement[3, 1]
