import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from models.random_stream import MASK_64, as_signed, draw_scalar, draws, mix, mix_scalar


def test_published_splitmix64_sequence():
    # first outputs from state 1234567, as published (Rosetta Code, "Pseudo-random numbers/Splitmix64")
    golden = 0x9E3779B97F4A7C15
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]
    assert [mix_scalar(1234567 + golden * k) for k in range(1, 6)] == expected


@given(st.lists(st.integers(0, MASK_64), min_size=1, max_size=20))
def test_torch_equals_plain_python(values):
    mixed = mix(torch.tensor([as_signed(value) for value in values]))
    assert [value & MASK_64 for value in mixed.tolist()] == [mix_scalar(value) for value in values]


@given(st.integers(0, 2**63), st.integers(0, 2**40), st.integers(1, 5))
def test_a_draw_is_a_function_of_seed_index_and_counter(seed, start, count):
    table = draws(seed, torch.arange(start, start + 3), count)
    for row in range(3):
        for counter in range(count):
            assert int(table[row, counter]) & MASK_64 == draw_scalar(seed, start + row, counter)


def test_draws_are_uniform_and_uncorrelated():
    table = draws(5, torch.arange(20_000), 4).numpy().view(np.uint64) / 2.0**64
    for column in table.T:
        assert stats.kstest(column, "uniform").pvalue > 1e-4
    correlation = np.corrcoef(np.concatenate([table.T, np.roll(table, 1, axis=0).T]))
    assert np.abs(correlation - np.eye(8)).max() < 0.04  # 5 standard errors
