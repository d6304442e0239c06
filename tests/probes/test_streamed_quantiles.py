import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from probes.streamed_quantiles import StreamedQuantiles


@given(st.integers(1, 300), st.integers(1, 5), st.sampled_from([0.05, 0.25, 0.5, 0.75, 0.95]), st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_quantiles_are_within_a_bin_of_exact_ones(count, batches, share, seed):
    values = torch.rand(count, 2, 3, generator=torch.Generator().manual_seed(seed)) ** 3
    quantiles = StreamedQuantiles(2, 3)
    for part in values.chunk(batches):
        quantiles.add(part, torch.ones_like(part, dtype=torch.bool))
    found = quantiles.quantile(share)
    exact = [
        np.quantile(values.double().numpy(), share, axis=0, method=method) for method in ("lower", "higher", "inverted_cdf")
    ]
    assert (found >= np.minimum.reduce(exact) - quantiles.resolution - 1e-6).all()
    assert (found <= np.maximum.reduce(exact) + quantiles.resolution + 1e-6).all()


def test_absent_values_and_empty_cells():
    quantiles = StreamedQuantiles(2, 2)
    present = torch.tensor([[True, False], [False, False]])
    quantiles.add(torch.tensor([[[0.3, 9.0], [9.0, 9.0]]]), present[None])
    found = quantiles.quantile(0.5)
    assert np.isclose(found[0, 0], 0.3) and np.isnan(found[[0, 1, 1], [1, 0, 1]]).all()


def test_one_row_of_cells_can_be_added_alone_and_equal_values_come_back_exactly():
    quantiles = StreamedQuantiles(2, 3, low=-1.0, high=1.0, bins=7)
    quantiles.add(torch.full((20, 3), 0.123), torch.ones(20, 3, dtype=torch.bool), at=1)
    assert np.isnan(quantiles.quantile(0.5)[0]).all()
    assert np.allclose(quantiles.quantile(0.05)[1], 0.123) and np.allclose(quantiles.quantile(0.95)[1], 0.123)


def test_values_beyond_the_range_count_as_its_ends():
    quantiles = StreamedQuantiles(1, bins=10)
    quantiles.add(torch.tensor([[-5.0], [0.55], [7.0]]), torch.ones(3, 1, dtype=torch.bool))
    assert quantiles.counts[0].tolist() == [1, 0, 0, 0, 0, 1, 0, 0, 0, 1]
