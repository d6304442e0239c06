import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score

from models.othello.task import OthelloTask
from probes.board_scores import COLUMNS, BoardScores
from probes.harvest import Target, labelled

TARGET = Target("to_move")


@pytest.fixture(scope="module")
def measured():
    """Readings that are wrong at random, scored in two batches at two layers, and all of it at once as arrays."""
    task = OthelloTask(6)
    tokens = task.sequences(5, 0, 60)[:, : task.longest]
    scores = BoardScores(TARGET, layers=2, longest=task.longest, squares=36)
    generator = torch.Generator().manual_seed(0)
    rows = []
    for part in (slice(0, 25), slice(25, 60)):
        positions = labelled(task, tokens[part], [TARGET])
        state = positions.states[TARGET].long()
        for layer, error in enumerate((0.3, 0.02)):
            wrong = torch.rand(state.shape, generator=generator) < error
            read = torch.where(wrong, torch.randint(0, 3, state.shape, generator=generator), state)
            scores.add(layer, read, positions)
            rows.append((layer, positions.game + part.start, positions.length, read, state))
    return scores.frame(), rows


def arrays(rows, layer):
    chosen = [row for row in rows if row[0] == layer]
    return tuple(torch.cat([row[at] for row in chosen]).numpy() for at in range(1, 5))


def pick(frame, **wanted):
    kept = np.ones(len(frame), bool)
    for name in ("layer", "length", "square", "state"):
        kept &= (frame[name] == wanted[name]).fillna(False).to_numpy(bool) if name in wanted else frame[name].isna().to_numpy()
    return frame[kept & (frame["metric"] == wanted["metric"]).to_numpy()]


@pytest.mark.parametrize("layer", [0, 1])
def test_every_row_is_what_counting_gives(measured, layer):
    frame, rows = measured
    _, length, read, state = arrays(rows, layer)
    right = read == state
    assert pick(frame, layer=layer, metric="accuracy")["value"].item() == pytest.approx(right.mean())
    assert pick(frame, layer=layer, metric="board_accuracy")["value"].item() == pytest.approx(right.all(1).mean())
    for at in (1, 10, 31):
        here = right[length == at]
        assert pick(frame, layer=layer, length=at, metric="accuracy")["value"].item() == pytest.approx(here.mean())
        assert pick(frame, layer=layer, length=at, metric="board_accuracy")["value"].item() == pytest.approx(here.all(1).mean())
    for square in (0, 14, 35):
        value = pick(frame, layer=layer, square=square, metric="accuracy")["value"].item()
        assert value == pytest.approx(right[:, square].mean())
    for number, name in enumerate(("mine", "theirs", "empty")):
        value = pick(frame, layer=layer, state=name, metric="f1")["value"].item()
        assert value == pytest.approx(f1_score(state.ravel() == number, read.ravel() == number))


def test_intervals_are_over_games(measured):
    frame, rows = measured
    game, _, read, state = arrays(rows, 0)
    right = (read == state).mean(1)
    random = np.random.default_rng(0)
    sums = np.array([right[game == number].sum() for number in range(60)])
    counts = np.array([(game == number).sum() for number in range(60)])
    picks = random.integers(0, 60, (2000, 60))
    low, high = np.quantile(sums[picks].sum(1) / counts[picks].sum(1), [0.025, 0.975])
    row = pick(frame, layer=0, metric="accuracy").iloc[0]
    assert row["ci_low"] == pytest.approx(low, abs=0.15 * (high - low))
    assert row["ci_high"] == pytest.approx(high, abs=0.15 * (high - low))
    assert (frame["ci_low"] <= frame["value"] + 1e-12).all() and (frame["value"] <= frame["ci_high"] + 1e-12).all()
    assert row["sequences"] == 60


def test_the_frame_is_tidy(measured):
    frame, _ = measured
    assert tuple(frame.columns) == COLUMNS
    assert len(frame) == 2 * (2 + 2 * 31 + 36 + 3)
    assert not frame.duplicated(["layer", "length", "square", "state", "metric"]).any()
    assert frame["value"].between(0, 1).all()
