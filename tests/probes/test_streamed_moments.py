"""Moments of batches are those of all numbers at once."""

import math

import numpy as np
import pytest
from scipy import stats

from probes.streamed_moments import StreamedMoments


@pytest.mark.parametrize("centre", [0.0, 1e8])
def test_batches_of_any_sizes_give_the_moments_of_all(centre):
    values = np.random.default_rng(0).normal(centre, 1, 1000)
    moments = StreamedMoments()
    for part in np.split(values, [1, 2, 50, 700]):
        moments.add(part.reshape(-1, 1))
    assert moments.count == 1000
    assert moments.mean == pytest.approx(values.mean(), rel=1e-14, abs=1e-14)
    assert moments.standard_deviation == pytest.approx(values.std(), rel=1e-7)
    assert moments.standard_error == pytest.approx(stats.sem(values), rel=1e-7)


def test_one_number_has_no_error_and_none_has_no_mean():
    moments = StreamedMoments()
    assert math.isnan(moments.mean)
    moments.add(np.array([2.5]))
    assert (moments.mean, moments.standard_deviation) == (2.5, 0) and math.isnan(moments.standard_error)
