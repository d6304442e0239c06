import plotly.graph_objects as go
import pytest

from workbench.figures.board_state import board_by_layer, board_by_layer_and_length, board_by_square, interventions

from .made_up_tables import LAYERS, LENGTHS, made_up_boards, made_up_edits


@pytest.fixture(scope="module")
def frame():
    return made_up_boards()


def test_every_probe_frame_and_control_has_its_curve(frame):
    figure = board_by_layer(frame)
    curves = {trace.name: trace for trace in figure.data if trace.name}
    assert set(curves) == {"to_move, closed-form", "colour, closed-form", "wrong layer", "guess by length"}
    assert list(curves["colour, closed-form"].y) == pytest.approx([0.5, 0.6, 0.7])
    assert list(curves["guess by length"].x) == [0, 1, 2] and len(set(curves["guess by length"].y)) == 1
    assert list(curves["wrong layer"].customdata[:, 0] - curves["wrong layer"].customdata[:, 1]) == pytest.approx([0.02] * 3)


def test_the_heatmap_holds_every_layer_and_length_and_the_guess(frame):
    figure = board_by_layer_and_length(frame)
    probe, guess = figure.data
    assert probe.z.shape == (LAYERS, LENGTHS)
    assert probe.z[2][4] == pytest.approx(0.705)
    assert list(guess.z[0]) == pytest.approx([0.501, 0.502, 0.503, 0.504, 0.505])


def test_the_board_map_puts_each_square_where_it_is(frame):
    figure = board_by_square(frame, layers=[0, 2])
    assert len(figure.data) == 2
    board = figure.data[1]
    assert board.z.shape == (6, 6) and board.z[1][2] == pytest.approx(0.7 + 8 / 1000)
    assert board.text[1][2] == "c2"
    assert figure.layout.yaxis.autorange == "reversed"  # row 1 on top


def test_interventions_are_bars_with_their_arms():
    figure = interventions(made_up_edits(("flip", "erase")))
    bars = [trace for trace in figure.data if isinstance(trace, go.Bar)]
    assert [bar.name for bar in bars] == ["edited", "null", "random direction", "unedited board"]
    assert list(bars[1].y) == [2.5, 2.5] and list(bars[0].x) == ["flip", "erase"]
    assert "50 cases" in figure.layout.title.text and "3, 4" in figure.layout.title.text
