import numpy as np
import pandas as pd
import pytest

from workbench.ablation_map import ablation_map
from workbench.evaluation import evaluate
from workbench.figures.ablation import NAMED, ablation_by_head, ablation_by_length, ablation_figures, map_of_heads
from workbench.figures.theme import MARKERS
from workbench.figures.variants import variants_by_length


@pytest.fixture(scope="module")
def frame():
    return ablation_map("othello-mini-none", lengths=[5, 30, 59], sequences=8)


def test_the_map_of_heads_is_that_of_one_length_and_white_at_zero(frame):
    cells = ablation_by_head(frame, 30).data[0]
    rows = frame[(frame["metric"] == "illegal_mass") & (frame["length"] == 30)].set_index(["layer", "head"])["difference"]
    assert cells.z.shape == (4, 4) and cells.zmid == 0
    assert all(cells.z[layer][head] == rows[layer, head] for layer in range(4) for head in range(4))
    with pytest.raises(ValueError, match="length 31 is not in the frame; choose one of 5, 30, 59"):
        ablation_by_head(frame, 31)
    with pytest.raises(ValueError, match="metric 'dispersion' is not in the frame"):
        ablation_by_head(frame, 30, "dispersion")


def test_the_greatest_have_bands_markers_and_names_and_the_others_are_grey(frame):
    figure = ablation_by_length(frame, "margin")
    rows = frame[frame["metric"] == "margin"]
    named = [trace for trace in figure.data if trace.showlegend]
    size = rows.assign(size=rows["difference"].abs()).groupby(["layer", "head"])["size"].mean().sort_values(ascending=False)
    assert [trace.name for trace in named] == [f"layer {layer}, head {head}" for layer, head in size.index[:NAMED]]
    assert [trace.marker.symbol for trace in named] == list(MARKERS[:NAMED])
    assert len({trace.line.dash for trace in named}) == NAMED
    bands = [trace for trace in figure.data if trace.fill == "toself"]
    assert len(figure.data) == 16 + NAMED and len(bands) == NAMED
    own = rows[(rows["layer"] == size.index[0][0]) & (rows["head"] == size.index[0][1])].sort_values("length")
    np.testing.assert_array_equal(named[0].y, own["difference"])
    np.testing.assert_array_equal(bands[0].y, [*own["difference_low"], *own["difference_high"][::-1]])
    assert any("trained to 30" in note.text for note in figure.layout.annotations)
    assert "10 others grey" in figure.layout.title.text


def test_other_components_are_named_by_kind():
    frame = ablation_map("othello-mini-none", what="mlp", lengths=[5, 30], sequences=4)
    names = {trace.name for trace in ablation_by_length(frame).data if trace.showlegend}
    assert names == {f"layer {layer}, MLP" for layer in range(4)}
    with pytest.raises(ValueError, match="no map of heads"):
        ablation_by_head(frame, 5)
    places = ablation_map("othello-mini-none", what="stream", lengths=[30], positions=[3], sequences=4)
    assert {trace.name for trace in ablation_by_length(places).data if trace.showlegend} == {
        f"layer {layer}, stream, position 3" for layer in range(4)
    }


def test_any_numbers_by_head_can_be_drawn_and_large_maps_have_no_text():
    rows = pd.DataFrame(
        [(layer, head, layer - head) for layer in range(9) for head in range(8)], columns=["layer", "head", "x"]
    )
    cells = map_of_heads(rows, "title", "unit", column="x").data[0]
    assert cells.z[2][5] == -3 and cells.texttemplate is None
    assert map_of_heads(rows[rows["layer"] < 8], "title", "unit", column="x").data[0].texttemplate


def test_variants_are_lines_with_their_intervals():
    measured = evaluate("set-complement-v16-none-seed0", sequences=20)
    table = pd.concat([measured.assign(kind="a"), measured.assign(kind="b", value=measured["value"] + 1)])
    figure = variants_by_length(table, "kind", "margin", title="Two")
    lines = {trace.name: trace for trace in figure.data if trace.showlegend is None}
    rows = measured[measured["metric"] == "margin"]
    assert list(lines) == ["a", "b"]
    np.testing.assert_array_equal(lines["a"].y, rows["value"])
    assert lines["a"].marker.symbol != lines["b"].marker.symbol
    assert lines["a"].line.dash != lines["b"].line.dash
    np.testing.assert_array_equal(figure.data[0].y, [*rows["ci_low"], *rows["ci_high"][::-1]])
    with pytest.raises(ValueError, match="metric 'x' is not in the frame"):
        variants_by_length(table, "kind", "x")


def test_a_table_of_several_maps_gives_the_figures_of_each(frame):
    other = frame.assign(checkpoint="other", difference=frame["difference"] + 1)
    several = pd.concat([frame, other, frame.assign(weights="ema")], ignore_index=True)
    figures = ablation_figures(several)
    assert list(figures) == [
        f"{whose}-heads-zero-by-{kind}"
        for whose in ("othello-mini-none-raw", "other-raw", "othello-mini-none-ema")
        for kind in ("length", "head")
    ]
    assert list(ablation_figures(frame)) == ["heads-zero-by-length", "heads-zero-by-head"]
    assert figures["other-raw-heads-zero-by-head"].layout.title.text == "other, raw, Heads ablated (zero), length 59"
    alone, moved = (figures[f"{name}-raw-heads-zero-by-head"].data[0].z for name in ("othello-mini-none", "other"))
    np.testing.assert_allclose(moved, alone + 1)
    with pytest.raises(ValueError, match=r"several maps \(of more than one checkpoint and weights\).* with ablation_figures"):
        ablation_by_length(several)
    with pytest.raises(ValueError, match=r"of more than one run"):
        ablation_by_length(pd.concat([frame, frame]))


def test_heads_by_position_have_a_map_a_position(frame):
    places = pd.concat([frame.assign(position=place, difference=frame["difference"] * place) for place in (1, 4)])
    figures = ablation_figures(places)
    assert list(figures) == ["heads-zero-by-length", "heads-zero-by-head-position-1", "heads-zero-by-head-position-4"]
    first, second = (figures[f"heads-zero-by-head-position-{place}"] for place in (1, 4))
    np.testing.assert_allclose(second.data[0].z, 4 * first.data[0].z)
    assert "at position 4" in second.layout.title.text
    with pytest.raises(ValueError, match="of more than one position"):
        ablation_by_head(places, 59)


def test_at_one_length_the_curves_are_points_beside_each_other_with_bars(frame):
    rows = frame[(frame["length"] == 30) & (frame["metric"] == "illegal_mass")].set_index(["layer", "head"])
    figure = ablation_by_length(rows.reset_index())
    points = {trace.name: trace for trace in figure.data if trace.showlegend}
    bars = {trace.offsetgroup: trace for trace in figure.data if trace.error_y.array is not None}
    assert len(points) == len(bars) == NAMED and figure.layout.scattermode == "group"
    for name, point in points.items():
        bar, own = bars[point.offsetgroup], rows.loc[tuple(int(word.split(" ")[1]) for word in name.split(", "))]
        assert (bar.y[0], bar.y[0] + bar.error_y.array[0]) == pytest.approx((own["difference_low"], own["difference_high"]))
        assert bar.error_y.visible is not False and list(bar.x) == list(point.x) == [30]
    others = [trace for trace in figure.data if trace.showlegend is False and trace.error_y.array is None]
    assert len(others) == 16 - NAMED and all(trace.mode == "markers" for trace in others)
    assert figure.layout.xaxis.range == (29.5, 30.5)
    assert ablation_by_length(frame).layout.scattermode is None
