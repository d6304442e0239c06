import itertools

import pytest

from models.streams import SEEDS, Draw


def test_no_two_uses_share_a_stream():
    first, last = ([draw.stream(seed) for draw in Draw] for seed in (0, SEEDS - 1))
    assert first == sorted(first)
    assert all(end < start for end, start in itertools.pairwise(itertools.chain.from_iterable(zip(first, last, strict=True))))


@pytest.mark.parametrize("seed", [-1, SEEDS])
def test_a_seed_that_would_reach_into_another_use_is_refused(seed):
    with pytest.raises(ValueError, match=rf"seed {seed} is outside 0 .. 2\*\*32 - 1"):
        Draw.EVALUATION.stream(seed)
