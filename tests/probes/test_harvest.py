import pytest
import torch

from models.othello import labels
from models.othello.task import OthelloTask
from models.streams import Draw
from probes.drawn_sequences import batches
from probes.harvest import Games, Target, harvest, labelled
from probes.residual_stream import layers_of
from probes.subject import othello_subject

from .othello_models import small_checkpoint

FRAMES = [Target("to_move"), Target("parity"), Target("colour"), Target("to_move", shuffled=True)]


@pytest.fixture(scope="module")
def subject(tmp_path_factory):
    return othello_subject(small_checkpoint(tmp_path_factory.mktemp("models") / "small"))


def test_positions_are_those_with_a_legal_next_move_and_carry_their_labels(subject):
    task: OthelloTask = subject.task
    tokens = task.sequences(Draw.PROBES, 0, 300)[:, : task.longest]
    positions = labelled(task, tokens, FRAMES)
    legal, mover = task.legal(tokens).any(-1), task.to_move(tokens)
    assert len(positions.rows) == int(legal.sum()) < legal.numel()  # some of these games end early
    game, index = positions.game, positions.length - 1
    assert legal[game, index].all()
    for frame in ("to_move", "parity", "colour"):
        assert torch.equal(positions.states[Target(frame)], task.board_state(tokens, frame)[game, index])
    black_is_mine = mover[game, index] == 1
    colour, mine = positions.states[Target("colour")], positions.states[Target("to_move")]
    assert torch.equal(mine[black_is_mine], colour[black_is_mine])
    swapped = torch.tensor([1, 0, 2], dtype=torch.int8)[colour.long()]
    assert torch.equal(mine[~black_is_mine], swapped[~black_is_mine])
    stream = torch.randn(300, task.longest, 4)
    assert torch.equal(positions.select(stream), stream[game, index])


def test_shuffled_labels_are_boards_of_another_game_at_the_same_length(subject):
    tokens = subject.task.sequences(Draw.PROBES, 0, 20)[:, : subject.task.longest]
    positions = labelled(subject.task, tokens, FRAMES)
    boards = labels.board_state(subject.task.replay(tokens))
    other = boards[(positions.game - 1) % 20, positions.length - 1]
    assert torch.equal(positions.states[Target("to_move", shuffled=True)], other)


def test_indicators_are_states_zero_and_one_by_target(subject):
    positions = labelled(subject.task, subject.task.sequences(Draw.PROBES, 0, 4)[:, :31], FRAMES[:2])
    first, second = (positions.states[target] for target in FRAMES[:2])
    expected = torch.cat([first == 0, first == 1, second == 0, second == 1], dim=1).float()
    assert torch.equal(positions.indicators, expected)


@pytest.mark.parametrize("batch", [2, 5, 64])
def test_every_game_is_seen_once_whatever_the_batch(subject, batch):
    seen, calls = [], []

    def consume(layer, stream, positions):
        calls.append(layer)
        assert len(stream) == len(positions.rows)
        if layer == 0:
            seen.append(positions.tokens)

    harvest(subject, Games(3, 10, 31), FRAMES[:1], consume, batch=batch)
    whole = subject.task.sequences(Draw.PROBES.stream(3), 10, 21)[:, :31]
    assert torch.equal(torch.cat(seen), whole)
    assert calls == list(layers_of(subject.model)) * len(seen)
    assert all(last - first >= 2 for first, last in batches(10, 31, batch))


def test_fitting_and_measuring_share_no_game(subject):
    fit = subject.task.sequences(Draw.PROBES, 0, 400)
    test = subject.task.sequences(Draw.PROBES, 400, 400)
    fitted = {tuple(game) for game in fit.tolist()}
    assert not fitted & {tuple(game) for game in test.tolist()}


@pytest.mark.parametrize(("arguments", "words"), [((-1, 0, 9), "seed -1"), ((2**32, 0, 9), "outside"), ((0, 5, 6), "1 games")])
def test_games_that_cannot_be_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        Games(*arguments)
