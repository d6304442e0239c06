import numpy as np
import pytest
import torch

from models.brackets import BracketTask
from models.config import ModelConfig, TaskConfig
from models.othello.games import replay
from models.othello.task import OthelloTask
from models.set_complement.closed_form import closed_form
from models.set_complement.task import SetComplementTask
from models.streams import Draw
from models.transformer import Transformer
from probes.exchangeability import METRICS, exchangeability, reordered

from .othello_models import small_checkpoint

SETS = TaskConfig(name="set-complement", vocab=9)


def table(frame, pair, metric):
    rows = frame[(frame["pair"] == pair) & (frame["metric"] == metric)]
    return rows.set_index("length")["value"]


def test_one_layer_without_positions_knows_no_order():
    frame = exchangeability(closed_form(9), SetComplementTask(9), sequences=30)
    assert set(frame["metric"]) == set(METRICS)
    for metric in (
        "logit_change",
        "total_variation",
    ):  # its legal logits are tied exactly, so the top one is a matter of rounding
        assert table(frame, "reordered", metric).abs().max() < 1e-9
        assert table(frame, "another sequence", metric).min() > 0.01


@pytest.mark.parametrize("changes", [{"positions": "learned"}, {"layers": 2}])
def test_positions_or_a_second_layer_bring_order_in(tmp_path, changes):
    shape = ModelConfig(**{"vocab": 9, "context": 8, "width": 16, "head_width": 16, **changes})
    frame = exchangeability(small_checkpoint(tmp_path / "sets", shape, SETS), sequences=40)
    assert table(frame, "reordered", "total_variation").min() > 1e-5
    assert (table(frame, "reordered", "total_variation") < table(frame, "another sequence", "total_variation")).all()
    assert set(frame["length"]) == set(range(3, 9))


def test_metrics_are_what_the_definitions_say(tmp_path):
    shape = ModelConfig(vocab=9, context=8, width=16, head_width=16, positions="learned")
    path = small_checkpoint(tmp_path / "sets", shape, SETS)
    frame = exchangeability(path, sequences=12, lengths=[5])
    model, task = Transformer(shape, seed=1).eval(), SetComplementTask(9)
    tokens = task.sequences(Draw.PROBES, 0, 12)[:, :5]
    with torch.no_grad():
        logits = model(tokens)[:, -1].double().numpy()
    pairs = list(zip(logits, np.roll(logits, 1, axis=0), strict=True))
    softmax = lambda row: np.exp(row) / np.exp(row).sum()  # noqa: E731
    # every prefix of 5 tokens has another order, unless the drawn one is the same: 1 in 24
    rows = frame[(frame["pair"] == "another sequence")].set_index("metric")
    if rows["sequences"].iloc[0] == 12:
        assert rows["value"]["logit_change"] == pytest.approx(np.mean([np.std(a - b) for a, b in pairs]))
        variation = np.mean([np.abs(softmax(a) - softmax(b)).sum() / 2 for a, b in pairs])
        assert rows["value"]["total_variation"] == pytest.approx(variation)
        assert rows["value"]["top1_changed"] == np.mean([a.argmax() != b.argmax() for a, b in pairs])
    else:
        assert rows["sequences"].iloc[0] == 11


def test_a_reordered_set_is_the_same_set_with_the_same_last_token():
    task = SetComplementTask(12)
    tokens = task.sequences(0, 0, 200)[:, :7]
    other, found = reordered(task, tokens, 5, torch.arange(200))
    assert torch.equal(other.sort(1).values, tokens.sort(1).values) and torch.equal(other[:, -1], tokens[:, -1])
    assert torch.equal(found, (other != tokens).any(1)) and found.float().mean() > 0.98


@pytest.mark.parametrize("size", [6, 8])
def test_othello_transpositions_are_legal_and_end_alike(size):
    task = OthelloTask(size)
    for length in (9, 16, task.longest):
        tokens = task.sequences(0, 0, 60)[:, :length]
        other, found = reordered(task, tokens, 5, torch.arange(60))
        assert found.any() and torch.equal(other[~found], tokens[~found])
        before, after = task.replay(tokens[found]), task.replay(other[found])  # refuses illegal games
        for state in ("black", "white", "to_move", "legal"):
            assert torch.equal(getattr(before, state)[:, -1], getattr(after, state)[:, -1])
        assert ((other != tokens).sum(1)[found] == 2).all() and torch.equal(other[:, -1], tokens[:, -1])


def test_no_transposition_is_missed():
    task = OthelloTask(6)
    tokens = task.sequences(1, 0, 40)[:, :8]
    _, found = reordered(task, tokens, 5, torch.arange(40))
    end = replay(task.board, tokens)
    for row in range(40):
        exists = False
        for first in range(7):
            for second in range(first + 1, 7):
                swapped = tokens[row].clone()
                swapped[[first, second]] = tokens[row, [second, first]]
                other = replay(task.board, swapped[None])
                alike = all(getattr(other, at)[0, -1] == getattr(end, at)[row, -1] for at in ("black", "white", "to_move"))
                exists |= bool(other.played[0] == 8 and alike)
        assert exists == bool(found[row])


def test_short_games_are_left_out_and_lengths_are_checked(tmp_path):
    path = small_checkpoint(tmp_path / "small")
    frame = exchangeability(path, sequences=60, lengths=[9, 31])
    assert (frame["sequences"] <= 60).all() and set(frame["length"]) <= {9, 31}
    for lengths in ([2, 9], [32], []):
        with pytest.raises(ValueError, match="not within 3 .. 31"):
            exchangeability(path, lengths=lengths)


def test_where_no_order_can_change_or_none_is_known_it_is_refused():
    with pytest.raises(ValueError, match="at most 2 tokens, and only from 3 on can their order change"):
        exchangeability(closed_form(3), SetComplementTask(3), sequences=2)
    brackets = BracketTask(kinds=2, depth=3)
    with pytest.raises(ValueError, match="which orders of a brackets input mean the same is not known here"):
        reordered(brackets, brackets.sequences(0, 0, 2)[:, :5], 0, torch.arange(2))
