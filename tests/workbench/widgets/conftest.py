"""What the tests of widgets share: tiny runs, figures that plotly has checked, and clicks."""

import plotly.graph_objects as go
import pytest
from plotly.callbacks import Points

from models.config import DropoutRates

from ..saved_runs import save_run


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """Set-complement runs of 8 tokens: two dropouts, two seeds, two steps."""
    root = tmp_path_factory.mktemp("runs")
    rates = {"none": DropoutRates(), "attention": DropoutRates(attention=0.1)}
    return [
        save_run(root, f"{site}-{seed}", dropout=rate, seed=seed, steps=(100, 1000))
        for site, rate in rates.items()
        for seed in (0, 1)
    ]


@pytest.fixture(scope="session")
def othello_run(tmp_path_factory):
    return save_run(
        tmp_path_factory.mktemp("othello"), "game", vocab=61, train_length=30, layers=2, heads=3, head_width=4, mlp_width=8
    )


@pytest.fixture
def checked():
    """Builds a figure again with every property checked, which explorers leave out for speed, and returns it."""
    return lambda figure: go.Figure([trace.to_plotly_json() for trace in figure.data], figure.layout.to_plotly_json())


@pytest.fixture
def click():
    """Clicks a cell of a trace of a live picture, as the page tells it."""
    return lambda picture, trace, row, column: picture.data[trace]._dispatch_on_click(Points(xs=[column], ys=[row]), None)
