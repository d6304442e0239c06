import pandas as pd
import plotly.graph_objects as go
import pytest

from workbench.figures.board_state import board_by_layer, board_by_layer_and_length, board_by_square, interventions

LAYERS, LENGTHS, SQUARES = 3, 5, 36


@pytest.fixture(scope="module")
def frame():
    """Rows as `probes.board_state.board_state` gives them: value = layer / 10 + length or square / 1000."""
    rows = []

    def add(probe, target, control, **cell):
        value = 0.5 + (cell.get("layer") or 0) / 10 + (cell.get("length") or cell.get("square") or 0) / 1000
        numbers = {"value": value, "ci_low": value - 0.02, "ci_high": value + 0.01, "sequences": 9}
        blank = {"layer": None, "length": None, "square": None, "state": None}
        rows.append({"probe": probe, "frame": target, "control": control, "metric": "accuracy", **blank, **cell, **numbers})

    for target in ("to_move", "colour"):
        for control in ("none", "wrong layer") if target == "to_move" else ("none",):
            for layer in range(LAYERS):
                add("closed-form", target, control, layer=layer)
                for length in range(1, LENGTHS + 1):
                    add("closed-form", target, control, layer=layer, length=length)
                for square in range(SQUARES):
                    add("closed-form", target, control, layer=layer, square=square)
    add("guess", "to_move", "guess by length")
    for length in range(1, LENGTHS + 1):
        add("guess", "to_move", "guess by length", length=length)
    return pd.DataFrame(rows).astype({"layer": "Int64", "length": "Int64", "square": "Int64"})


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
    rows = [
        {
            "method": method,
            "arm": arm,
            "value": value,
            "ci_low": value - 0.1,
            "ci_high": value + 0.1,
            "cases": 50,
            "layers": "3, 4",
        }
        for method in ("flip", "erase")
        for arm, value in {"edited": 0.2, "null": 2.5, "random direction": 2.6, "unedited board": 0.1}.items()
    ]
    figure = interventions(pd.DataFrame(rows))
    bars = [trace for trace in figure.data if isinstance(trace, go.Bar)]
    assert [bar.name for bar in bars] == ["edited", "null", "random direction", "unedited board"]
    assert list(bars[1].y) == [2.5, 2.5] and list(bars[0].x) == ["flip", "erase"]
    assert "50 cases" in figure.layout.title.text and "3, 4" in figure.layout.title.text
