"""Figures of a made-up frame: what is drawn, that everything can be told apart."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.figures.curves import DIFFERENCES, curves, organisms
from workbench.figures.differences import difference_curves
from workbench.figures.drawn_data import drawn_data
from workbench.figures.gallery import comparison_figures, last_steps, training_figures
from workbench.figures.length_curves import length_curve, length_page
from workbench.figures.many_curves import MOST_CURVES
from workbench.figures.scales import linear_scale, log_scale, signed_log_scale
from workbench.figures.theme import apply_theme, dropout_styles, length_axis, numbered_style, shade, transparent
from workbench.figures.timeline import timeline

from .made_up_tables import made_up


def entries(fig: go.Figure) -> list[go.Scatter]:
    return [trace for trace in fig.data if trace.showlegend is not False and trace.name]


def test_page_has_every_curve_once_and_told_apart_by_colour_and_without_it():
    fig = length_page(made_up())
    legend = entries(fig)
    assert [trace.name for trace in legend] == [
        f"{dropout}, {weights}"
        for dropout in ("no dropout", "dropout attention 0.1", "dropout residual 0.1")
        for weights in ("raw", "ema", "bema")
    ]
    assert len({trace.line.color for trace in legend}) == 9
    assert len({(trace.line.dash, trace.marker.symbol) for trace in legend}) == 9
    for trace in legend:  # weights by dash whatever the dropout, dropout by marker whatever the weights
        dropout, weights = trace.name.rsplit(", ", 1)
        assert {other.line.dash for other in legend if other.name.endswith(f", {weights}")} == {trace.line.dash}
        assert {other.marker.symbol for other in legend if other.name.startswith(f"{dropout},")} == {trace.marker.symbol}


def test_page_axes_units_and_training_length():
    fig = length_page(made_up())
    assert [fig.layout[f"yaxis{n}"].title.text for n in ("", "2", "3", "4")] == [
        "illegal mass",
        "illegal top-1",
        "total variation",
        "normalised attention dispersion",
    ]
    assert {fig.layout[f"xaxis{n}"].title.text for n in ("", "2", "3", "4")} == {"length (tokens seen)"}
    assert [shape.x0 for shape in fig.layout.shapes] == [3, 3, 3, 3]
    assert sum(note.text == "trained to 3" for note in fig.layout.annotations) == 4
    assert length_curve(made_up(), "margin").layout.yaxis.title.text.endswith("(logits)")
    assert length_curve(made_up(), "dispersion").layout.yaxis.title.text == "attention dispersion (nats)"


def test_curves_too_many_to_be_told_apart_are_drawn_as_their_mean_and_range():
    rates = MOST_CURVES // 3 + 1
    frame = made_up(("none", *(f"residual 0.{rate}" for rate in range(1, rates))), seeds=(0, 1), steps=(10, 100))
    last = frame[frame["step"] == 100]
    fig, count = length_page(last), 2 * rates
    assert [trace.name for trace in entries(fig)] == [f"{count} checkpoints, {weights}" for weights in ("raw", "ema", "bema")]
    assert f"line: mean of {count} checkpoints" in fig.layout.annotations[-1].text
    rows = drawn_data(fig).query(f"curve == '{count} checkpoints, ema' and y_title == 'illegal mass' and x == 5")
    of_mass = last.query("metric == 'illegal_mass' and weights == 'ema' and length == 5")["value"]
    drawn = rows[["y", "seed_low", "seed_high", "seeds"]].iloc[0].to_list()
    assert drawn == pytest.approx([of_mass.mean(), of_mass.min(), of_mass.max(), count])
    over_training = timeline(frame, "illegal_mass", [3])
    assert [trace.name for trace in entries(over_training)] == [trace.name for trace in entries(fig)]
    raw = frame[(frame["weights"] == "raw") & (frame["dropout"] != "none") & (frame["step"] == 100)]
    many = pd.concat(
        [raw.assign(dropout=raw["dropout"] + f"{copy}", checkpoint=raw["checkpoint"] + f"{copy}") for copy in range(4)]
    )
    (entry,) = entries(difference_curves(many, "illegal_mass"))
    assert entry.name == f"{2 * 4 * (rates - 1)} checkpoints, raw"
    one_fewer = length_page(last[last["dropout"] != "none"])
    assert len(entries(one_fewer)) == MOST_CURVES and "mean over seeds" in one_fewer.layout.annotations[-1].text


def test_a_page_of_one_length_shows_intervals_and_tells_weights_apart():
    fig = length_page(made_up(seeds=(0,)).query("length == 6"), ["total_variation"])
    bars = [trace for trace in fig.data if trace.error_y.array is not None and trace.error_y.array[0] > 0]
    assert len({trace.offsetgroup for trace in bars}) == len(bars) == 9
    assert len({(trace.line.color, trace.marker.symbol) for trace in entries(fig)}) == 9
    assert not any(trace.line.dash for trace in entries(fig))  # or the legend in print would list dashes that no point has


def test_no_text_is_latex():
    for fig in comparison_figures(made_up(steps=(10, 100))).values():
        assert "$" not in fig.to_json()


def test_unknown_training_length_is_not_marked():
    assert len(length_page(made_up(train_length=None)).layout.shapes) == 0


def test_curves_are_means_over_seeds_and_sampling_is_not_spread():
    frame = made_up()
    rows = frame[frame["metric"] == "illegal_mass"]
    drawn = {curve.name: curve.points for curve in curves(rows)}
    one = rows[(rows["dropout"] == "none") & (rows["weights"] == "ema")].groupby("length")
    points = drawn["no dropout, ema"]
    np.testing.assert_allclose(points["value"], one["value"].mean())
    np.testing.assert_allclose(points["seed_low"], one["value"].min())
    np.testing.assert_allclose(points["high"], one["ci_high"].mean())
    assert (points["seeds"] == 3).all()
    bands = [trace for trace in length_curve(frame, "illegal_mass").data if trace.fill == "toself"]
    assert len(bands) == 9
    alone = length_curve(made_up(seeds=(0,)), "illegal_mass").data  # one seed: the interval over sequences is the band
    assert len([trace for trace in alone if trace.fill == "toself"]) == 9
    assert not any(np.any(trace.error_y.array) for trace in alone if trace.error_y.array is not None)


def test_legend_names_what_differs_and_only_that():
    names = [
        curve.name for curve in curves(made_up(("none",), (0,), (10, 100)).query("metric == 'margin' and weights == 'raw'"))
    ]
    assert names == ["no dropout, step 10, raw", "no dropout, step 100, raw"]
    unnamed = made_up(("none",), seeds=(0,)).query("metric == 'margin' and weights == 'raw'")
    twice = pd.concat([unnamed, unnamed.assign(checkpoint="other")])
    assert [curve.name for curve in curves(twice)] == ["none-0, no dropout, raw", "other, no dropout, raw"] or len(
        curves(twice)
    ) == 2


def test_one_figure_shows_one_organism():
    both = pd.concat([made_up(), made_up(vocab=5)])
    with pytest.raises(ValueError, match="set complement, v = 5, set complement, v = 9; a figure shows one organism"):
        length_page(both)
    assert list(organisms(both)) == ["set complement, v = 5", "set complement, v = 9"]
    assert list(organisms(made_up(task="othello", vocab=61))) == ["Othello"]
    with pytest.raises(ValueError, match="no metric 'nonsense'"):
        length_curve(made_up(), "nonsense")


def test_differences_have_a_zero_line_and_no_row_without_reference():
    fig = difference_curves(made_up(), "illegal_mass")
    assert sum(shape.y0 == shape.y1 == 0 for shape in fig.layout.shapes) == 3
    titles = [note.text for note in fig.layout.annotations]
    assert {"ema − raw", "bema − raw", "dropout − none"} <= set(titles)
    assert "no dropout, raw" not in {trace.name for trace in entries(fig)}
    assert all(len(curve.points) == 8 for curve in curves(made_up().query("metric == 'margin'"), columns=DIFFERENCES))
    with pytest.raises(ValueError, match="no row has a paired difference"):
        difference_curves(made_up().assign(difference=np.nan), "illegal_mass")


def test_timeline():
    frame = made_up(seeds=(0,), steps=(0, 10, 100))
    fig = timeline(frame, "illegal_mass", [3, 8])
    lines = [trace for trace in fig.data if trace.mode == "lines" and trace.text is not None]
    assert {tuple(trace.x) for trace in lines} == {(10, 100)}
    assert len(lines) == 2 * 9
    assert {"length 3", "length 8"} <= {note.text for note in fig.layout.annotations}
    with pytest.raises(ValueError, match="no length 70"):
        timeline(frame, "illegal_mass", [70])
    with pytest.raises(ValueError, match="two training steps or more"):
        timeline(made_up(), "illegal_mass", [3])


def test_gallery_names_and_last_steps():
    frame = pd.concat([made_up(steps=(10, 100)), made_up(task="othello", vocab=61)])
    assert list(comparison_figures(frame)) == [
        "othello-by-length",
        "othello-differences-illegal-mass",
        "othello-differences-total-variation",
        "set-complement-v9-by-length",
        "set-complement-v9-differences-illegal-mass",
        "set-complement-v9-differences-total-variation",
        "set-complement-v9-over-training",
    ]
    assert list(training_figures(frame)) == ["set-complement-v9-over-training"]
    assert set(last_steps(frame)["step"]) == {100}
    assert len(last_steps(made_up(steps=(None,)))) == len(made_up())


@given(st.lists(st.floats(0, 1), min_size=1), st.floats(0, 1))
def test_log_scale_keeps_order_and_shows_zero(values, more):
    scale = log_scale([*values, more], "title")
    placed = scale.place(np.sort([*values, more, 0.0]))
    assert (np.diff(placed) >= 0).all() and (placed > 0).all()
    low, high = scale.layout["range"]
    if min(values) < max(values) * 1e-12:  # there is a floor
        assert 10**low <= placed.min()
    assert placed.max() <= 10**high
    assert len(scale.layout["tickvals"]) == len(scale.layout["ticktext"])


def test_log_scale_names_its_floor():
    assert log_scale([0, 0.01, 0.5], "").layout["ticktext"][0] == "0"
    assert log_scale([1e-12, 0.5], "").layout["ticktext"][0] == "≤10<sup>−7</sup>"
    assert "0" not in log_scale([0.1, 0.5], "").layout["ticktext"]
    assert log_scale([0, 0], "").layout["ticktext"][0] == "0"


@given(st.lists(st.floats(-1, 1), min_size=2))
def test_signed_scale_is_odd_and_keeps_order(values):
    scale = signed_log_scale(values, "title")
    placed = scale.place(np.sort(values))
    assert (np.diff(placed) >= 0).all()
    np.testing.assert_allclose(scale.place([-value for value in values]), -scale.place(values))
    assert scale.place([0])[0] == 0


def test_linear_scale_changes_nothing():
    assert linear_scale("x").place([-1, 2]).tolist() == [-1, 2]


def test_styles():
    alone, together = dropout_styles(["residual 0.1"]), dropout_styles(["none", "attention 0.1", "residual 0.1"])
    assert alone["residual 0.1"] == together["residual 0.1"]
    many = dropout_styles([f"attention {rate / 20}" for rate in range(7)])
    assert len(set(many.values())) == 7
    assert len(dropout_styles([f"attention {rate / 20}" for rate in range(19)])) == 19
    numbered = [numbered_style(number) for number in range(42)]
    assert len(set(numbered)) == 42
    assert all(len(set(looks)) >= 6 for looks in zip(*numbered[:7], strict=True))  # none of the three is needed for six curves
    assert (shade("#804020", 0), shade("#804020", 1), shade("#804020", -1)) == ("#804020", "#ffffff", "#000000")
    assert transparent("#804020", 0.5) == "rgba(128,64,32,0.5)"


def test_theme_returns_the_figure():
    fig = go.Figure(go.Scatter(x=[1], y=[2]))
    assert apply_theme(fig, "title", 300, 200) is fig
    assert length_axis(fig, 4) is fig
    assert (fig.layout.title.text, fig.layout.width, fig.layout.xaxis.title.text) == ("title", 300, "length (tokens seen)")
