"""The depth probe: better where the stream counts brackets than where nothing does, and refused elsewhere."""

import pytest
import torch

from models.checkpoint import Card
from models.config import ModelConfig, TaskConfig
from models.hooked import hook
from models.tasks import make_task
from models.transformer import Transformer
from probes.bracket_depth import bracket_depth
from probes.drawn_sequences import PROBE_STREAM

TASK = TaskConfig(name="brackets", kinds=2, depth=3)


def carded(model, config):
    model.card = Card(name="test", model=config, task=TASK, train_length=8, seed=0, step=0)
    return model


def counting_model():
    """Layer 1 holds (openings - closings) / s, by uniform attention: the depth itself at each length, if s is known."""
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
    found = frame[(frame["control"] == control) & (frame["length"] == length)]
    found = found[found["layer"].isna()] if layer is None else found[found["layer"] == layer]
    return float(found["value"].iloc[0])


def test_the_embedding_is_read_as_well_as_the_last_bracket_alone_tells():
    """Two values of the stream, so least squares gives the frequencies, and the depth read is the most frequent one."""
    frame = bracket_depth(counting_model(), 300, 200)
    task = make_task(TASK)
    tokens = task.sequences(PROBE_STREAM, 0, 500)[:, :63]
    depths, opens = task.depths(tokens), tokens < 2
    read = torch.empty_like(depths)
    for kind in (opens, ~opens):
        read[kind] = torch.bincount(depths[:300][kind[:300]], minlength=4).argmax()
    expected = (read == depths)[300:].double().mean(0)
    ours = [rows(frame, "none", 0, length) for length in range(1, 64)]
    torch.testing.assert_close(torch.tensor(ours), expected.float())
    guess = [rows(frame, "guess by length", None, length) for length in range(1, 64)]
    by_length = [torch.bincount(column).argmax() for column in depths[:300].T]
    assert guess == [pytest.approx(float((depths[300:, at] == most).double().mean())) for at, most in enumerate(by_length)]


def test_labels_of_another_sequence_tell_no_more_than_the_length_does():
    frame = bracket_depth(counting_model(), 300, 200)
    means = frame.groupby(["control", "layer"])["value"].mean()
    guess = frame.loc[frame["control"] == "guess by length", "value"].mean()
    assert means["shuffled labels", 0] < guess > means["shuffled labels", 1]


def test_columns_controls_and_that_intervals_hold_the_value():
    frame = bracket_depth(counting_model(), 20, 10)
    assert set(frame["control"]) == {"none", "shuffled labels", "random weights", "guess by length"}
    assert (frame["ci_low"] <= frame["value"]).all()
    assert (frame["value"] <= frame["ci_high"] + 1e-12).all()  # rounding, at shares of 1
    assert frame["value"].between(0, 1).all()
    assert set(frame.loc[frame["control"] == "none", "layer"]) == {0, 1}


def test_what_it_refuses():
    with pytest.raises(ValueError, match="trained on set-complement, and this probe reads bracket models"):
        bracket_depth("set-complement-v16-none-seed0")
    with pytest.raises(ValueError, match="1 sequences are too few"):
        bracket_depth(counting_model(), 1, 10)
    with pytest.raises(ValueError, match="training mode"):
        bracket_depth(counting_model().train())
