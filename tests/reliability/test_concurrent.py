"""A reader beside a writer. That a second writer is refused by name is in tests/workbench/test_training.py."""

import pytest

from models.checkpoint import CheckpointError, find_checkpoint, read_card, read_trainer, read_weights

from .forked import start
from .saved_whole import leftovers, require_whole
from .test_kill import TRAIN, train_words


@pytest.mark.parametrize("writes", [20, pytest.param(200, marks=pytest.mark.slow)])
def test_a_reader_polling_during_writes_never_sees_a_broken_checkpoint(tmp_path, writes):
    run = tmp_path / "run"
    process = start(TRAIN, arguments=train_words(run, writes, 1))
    reads, seen = 0, set()
    while process.is_alive():
        try:
            newest = find_checkpoint(run)
        except CheckpointError:
            assert not seen
            continue
        card = read_card(newest)
        for weights in card.weights:
            read_weights(newest, weights, card)
        read_trainer(newest)
        reads += 1
        assert card.step >= max(seen, default=0)
        seen.add(card.step)
    assert process.exitcode == 0
    assert require_whole(run) == list(range(1, writes + 1))
    assert leftovers(run) == []
    assert len(seen) > writes / 10
    print(f"{reads} reads of {len(seen)} checkpoints during {writes} writes")  # noqa: T201
