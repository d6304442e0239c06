"""The depth probe: exact where uniform attention counts brackets, with the 1/s law, and refused elsewhere."""

import numpy as np
import pandas as pd
import pytest
import torch

from models.checkpoint import Card
from models.config import ModelConfig, TaskConfig
from models.hooked import hook
from models.streams import Draw
from models.tasks import make_task
from models.transformer import Transformer
from probes.bracket_depth import bracket_depth

TASK = TaskConfig(name="brackets", kinds=2, depth=3)


def carded(model, config):
    model.card = Card(name="test", model=config, task=TASK, train_length=8, seed=0, step=0)
    return model


def counting_model():
    """Layer 1 holds (openings - closings) / s, by uniform attention."""
    config = ModelConfig(vocab=4, context=63, width=8, head_width=8, norm="none")
    plain = Transformer(config)
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.zero_()
        plain.embed.W_E[:, 0] = torch.tensor([1.0, 1.0, -1.0, -1.0])
        plain.blocks[0].attn.W_V[0] = torch.eye(8)
        plain.blocks[0].attn.W_O[0, 0, 1] = 1.0
    return carded(hook(config, plain.state_dict()), config)


def rows(frame, control, layer, length):
    found = frame[(frame["control"] == control) & (frame["length"] == length) & (frame["metric"] == "accuracy")]
    found = found[found["layer"].isna()] if layer is None else found[found["layer"] == layer]
    return float(found["value"].iloc[0])


def test_uniform_attention_holds_the_depth_at_every_length_and_its_signal_falls_as_one_over_the_length():
    frame = bracket_depth(counting_model(), 300, 200)
    own = frame[(frame["control"] == "none") & (frame["layer"] == 1)].set_index("length")
    assert (own.loc[own["metric"] == "accuracy", "value"] == 1).all()
    signal = own.loc[own["metric"] == "signal", "value"]
    np.testing.assert_allclose(signal, 8 / signal.index, rtol=2e-3)  # trained to 8; the ridge takes 0.1 %
    assert list(signal.index) == list(range(2, 64))  # at length 1 the depth does not vary


def test_the_embedding_tells_no_more_than_the_last_bracket():
    """Two values of the stream: least squares gives the mean depth of each, and the depth read is the nearest to it."""
    frame = bracket_depth(counting_model(), 300, 200)
    task = make_task(TASK)
    tokens = task.sequences(Draw.PROBES, 0, 500)[:, :63]
    depths, opens = task.depths(tokens).double(), tokens < 2
    for length in (2, 5, 20, 63):
        read = torch.empty(200, dtype=torch.float64)
        for kind in (True, False):
            there = opens[:300, length - 1] == kind
            read[opens[300:, length - 1] == kind] = depths[:300, length - 1][there].mean()
        allowed = torch.tensor([depth for depth in range(4) if (depth - length) % 2 == 0]).double()
        nearest = allowed[(read[:, None] - allowed).abs().argmin(1)]
        expected = float((nearest == depths[300:, length - 1]).double().mean())
        assert rows(frame, "none", 0, length) == pytest.approx(expected, abs=1e-6)
    most = depths[:300, 19].mode().values
    assert rows(frame, "guess by length", None, 20) == pytest.approx(float((depths[300:, 19] == most).double().mean()))


def test_depths_of_another_sequence_tell_nothing():
    frame = bracket_depth(counting_model(), 300, 200)
    means = frame[frame["metric"] == "accuracy"].groupby(["control", "layer"])["value"].mean()
    assert means["shuffled labels", 1] < 0.8 * means["none", 1]


def test_columns_controls_and_that_intervals_hold_the_value():
    frame = bracket_depth(counting_model(), 20, 10)
    assert set(frame["control"]) == {"none", "shuffled labels", "random weights", "guess by length"}
    assert (frame["ci_low"] <= frame["value"]).all()
    assert (frame["value"] <= frame["ci_high"] + 1e-12).all()  # rounding, at shares of 1
    assert frame.loc[frame["metric"] == "accuracy", "value"].between(0, 1).all()
    assert set(frame.loc[frame["control"] == "none", "layer"]) == {0, 1}


def test_where_the_training_length_is_unknown_there_is_no_signal_and_all_else_stays():
    model = counting_model()
    frame = bracket_depth(model, 20, 10)
    model.card = model.card.model_copy(update={"train_length": None})
    without = bracket_depth(model, 20, 10)
    assert without["train_length"].isna().all()
    expected = frame[frame["metric"] == "accuracy"].reset_index(drop=True).assign(train_length=without["train_length"])
    pd.testing.assert_frame_equal(without, expected, check_dtype=False)


def test_what_it_refuses():
    with pytest.raises(ValueError, match="trained on set-complement, and this probe reads bracket models"):
        bracket_depth("set-complement-v16-none-seed0")
    with pytest.raises(ValueError, match="1 sequences to (fit|test) are too few"):
        bracket_depth(counting_model(), 1, 10)
    with pytest.raises(ValueError, match="training mode"):
        bracket_depth(counting_model().train())
