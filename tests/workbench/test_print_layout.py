"""Figures in print, read back with poppler: their width, type of 8 pt, embedded fonts, nothing cut or overlapping, vectors."""

import itertools
import re
import shutil
import subprocess

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plotly.subplots import make_subplots

from models.set_complement.closed_form import closed_form
from probes.bracket_depth import bracket_depth
from probes.certificate import certify
from probes.dispersion import dispersion
from probes.logit_displacement import displacement, power_law, token_displacement
from probes.logit_tables import logit_tables
from workbench.evaluation import evaluate
from workbench.figures.ablation import map_of_heads
from workbench.figures.board_state import board_by_layer, board_by_layer_and_length, interventions
from workbench.figures.bracket_depth import bracket_depth as brackets
from workbench.figures.browser import find_browser
from workbench.figures.cells import RASTER_DPI, with_cells
from workbench.figures.certificate import worst_gap_by_length
from workbench.figures.differences import difference_curves
from workbench.figures.dispersion import dispersion_and_errors, dispersion_by_head, dispersion_by_length
from workbench.figures.displacement import displacement_by_length, displacement_table
from workbench.figures.export import save_figures
from workbench.figures.length_curves import length_curve, length_page
from workbench.figures.panels import panels_of
from workbench.figures.print_layout import for_print
from workbench.figures.print_text import TEXT, text_width, wrapped
from workbench.figures.study import dropout_effects_figure
from workbench.figures.theme import MUTED
from workbench.figures.timeline import timeline

from ..probes.test_bracket_depth import counting_model
from .made_up_tables import made_up, made_up_boards, made_up_edits, made_up_effects

POINTS = {"column": 237.6, "page": 489.6}
BIG, BIG_SHAPE = "big", (80, 70)
RAISED = "\u200b"
"""What plotly puts where an exponent begins."""
needs_tools = pytest.mark.skipif(
    find_browser() is None or shutil.which("pdfinfo") is None, reason="no Chrome or Chromium, or no poppler-utils, found"
)


def figures() -> dict[str, go.Figure]:
    model = closed_form(12)
    trained = {"train_length": 4}
    frame = displacement(model, sequences=8).assign(**trained)
    spread = dispersion(model, model_task(), sequences=8, controls=("uniform attention",)).assign(**trained)
    errors = evaluate(model, model_task(), sequences=20)
    steps = made_up(steps=(1, 10, 100, 1000, 10000), dropouts=("none", "attention 0.1"))
    return {
        "page": length_page(made_up()),
        "alone": length_curve(made_up(), "margin"),
        "differences": difference_curves(made_up(), "illegal_mass"),
        "training": timeline(steps, "illegal_mass", [2, 4, 8]),
        "displacement": displacement_by_length(frame, power_law(token_displacement(model, sequences=8))),
        "table": displacement_table(logit_tables(model).frame()),
        "certificate": worst_gap_by_length(certify(model).frame().assign(**trained)),
        "dispersion": dispersion_by_length(spread),
        "heads": dispersion_by_head(spread, 4),
        "errors": dispersion_and_errors(spread, errors, frame),
        "boards": boards(9),
        "effects": dropout_effects_figure(made_up_effects()),
        "read": board_by_layer(made_up_boards()),
        "read by length": board_by_layer_and_length(made_up_boards().assign(**trained)),
        "edits": interventions(made_up_edits()),
        "brackets": brackets(bracket_depth(counting_model(), 20, 10)),
        "many heads": many_heads(32, 32),
        BIG: many_heads(*BIG_SHAPE),
    }


def model_task():
    from models.set_complement.task import SetComplementTask

    return SetComplementTask(12)


def many_heads(layers: int, heads: int) -> go.Figure:
    rows = pd.DataFrame(itertools.product(range(layers), range(heads)), columns=["layer", "head"])
    return map_of_heads(rows.assign(x=np.random.default_rng(0).normal(size=len(rows))), "heads", "logits", column="x")


def boards(count: int) -> go.Figure:
    figure = make_subplots(rows=2, cols=5, subplot_titles=[f"layer {layer}" for layer in range(count)])
    for at in range(count):
        cells = go.Heatmap(z=np.arange(64).reshape(8, 8) + at, coloraxis="coloraxis", xgap=1)
        figure.add_trace(cells, row=at // 5 + 1, col=at % 5 + 1)
        figure.layout[f"yaxis{at + 1 if at else ''}"].update(scaleanchor=f"x{at + 1 if at else ''}", autorange="reversed")
    return figure.update_layout(title="boards", coloraxis_colorbar_title="squares read right")


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("printed")
    drawn = figures()
    for width in POINTS:
        written = save_figures(drawn, folder / width, ["pdf", "svg"], width)
        assert len(written) == 2 * len(drawn)
    return folder, drawn


def asked(*command: object) -> str:
    return subprocess.run([str(word) for word in command], capture_output=True, check=True, text=True).stdout


def words_of(path) -> list[tuple[str, np.ndarray]]:
    """Every word with its box, in points."""
    found = re.findall(
        r'<word xMin="(.*?)" yMin="(.*?)" xMax="(.*?)" yMax="(.*?)">(.*?)</word>', asked("pdftotext", "-bbox", path, "-")
    )
    return [(word, np.array(box, float)) for *box, word in found]


@needs_tools
@pytest.mark.parametrize("width", POINTS)
def test_page_is_one_of_the_width_asked_and_fonts_are_embedded(printed, width):
    folder, drawn = printed
    for name in drawn:
        facts = asked("pdfinfo", folder / width / f"{name}.pdf")
        assert re.search(r"Pages:\s+1\n", facts)
        size = re.search(r"Page size:\s+([\d.]+) x ([\d.]+) pts", facts)
        assert float(size[1]) == POINTS[width]
        assert float(size[2]) < 9 * 72, f"{name} is higher than a printed page"
        fonts = asked("pdffonts", folder / width / f"{name}.pdf").splitlines()[2:]
        assert fonts and all(re.search(r"(yes|no) (yes|no) (yes|no)", font)[1] == "yes" for font in fonts)


@needs_tools
@pytest.mark.parametrize("width", POINTS)
def test_nothing_is_cut_off(printed, width):
    folder, drawn = printed
    for name in drawn:
        path = folder / width / f"{name}.pdf"
        picture = subprocess.run(["pdftoppm", "-gray", "-r", "144", path], capture_output=True, check=True).stdout
        _, columns, rows = re.match(rb"(P5)\s+(\d+)\s+(\d+)\s+255\s", picture).groups()
        pixels = np.frombuffer(picture[-int(rows) * int(columns) :], np.uint8).reshape(int(rows), int(columns))
        border = np.concatenate([pixels[:3].ravel(), pixels[-3:].ravel(), pixels[:, :3].ravel(), pixels[:, -3:].ravel()])
        assert (border == 255).all(), f"{name} touches the border"
        height = float(re.search(r"x ([\d.]+) pts", asked("pdfinfo", path))[1])
        for word, (left, top, right, bottom) in words_of(path):
            assert left >= 0 and top >= 0 and right <= POINTS[width] and bottom <= height, f"{name}: {word!r} leaves the page"


@needs_tools
@pytest.mark.parametrize("width", POINTS)
def test_no_two_words_overlap(printed, width):
    folder, drawn = printed
    for name in drawn:
        for (word, a), (other, b) in itertools.combinations(words_of(folder / width / f"{name}.pdf"), 2):
            if RAISED in word + other:  # a power's base and exponent are set close on purpose
                continue
            shared = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None).prod()
            least = min((box[2:] - box[:2]).prod() for box in (a, b))
            assert shared < 0.2 * least, f"{name}: {word!r} and {other!r} overlap"


@needs_tools
@pytest.mark.parametrize("width", POINTS)
def test_labels_are_text(printed, width):
    folder, _ = printed
    said = {name: " ".join(word for word, _ in words_of(folder / width / f"{name}.pdf")) for name in ("page", "displacement")}
    for label in (
        "dropout attention 0.1",
        "trained to 3",
        "length (tokens seen)",
        "set complement, v = 9",
        "bars: 95 % interval",
    ):
        assert label in said["page"]
    assert "needed for 1 % illegal mass" in said["displacement"] and "trained to 4" in said["displacement"]


@needs_tools
@pytest.mark.parametrize("width", POINTS)
def test_all_text_is_8_pt(printed, width):
    folder, drawn = printed
    for name in drawn:
        svg = (folder / width / f"{name}.svg").read_text()
        sizes = {round(float(size), 2) for size in re.findall(r"font-size: ([\d.]+)px", svg)}
        assert list(sizes) == [10.67], f"{name}: {sizes}"
        left = min(box[0] for _, box in words_of(folder / width / f"{name}.pdf"))
        assert left < 10  # a figure that was shrunk into margins would begin further in


@needs_tools
@pytest.mark.parametrize("width", POINTS)
def test_heatmaps_are_vector_cells_unless_large(printed, width):
    folder, drawn = printed
    for name in drawn:
        images = asked("pdfimages", "-list", folder / width / f"{name}.pdf").splitlines()[2:]
        if name != BIG:
            assert not images, f"{name} has a raster"
        else:
            assert len(images) == 1
            dots, dpi = (np.array(images[0].split()[at : at + 2], float) for at in (3, 12))
            cells_an_inch = np.array(BIG_SHAPE[::-1]) / (dots / dpi)
            assert (dpi >= RASTER_DPI).all() and (dpi <= RASTER_DPI + cells_an_inch + 1).all()


def test_cells_keep_numbers_names_and_gaps():
    z = [[1.0, np.nan, 3.0], [4.0, 5.0, 6.0]]
    figure = go.Figure(go.Heatmap(z=z, x=[1, 2, 4], y=["upper", "lower"], texttemplate="%{z:.1f}", zmid=0))
    figure.update_yaxes(autorange="reversed")
    drawn = with_cells(figure)
    bars = drawn.data[0]
    assert list(bars.marker.color) == [1, 3, 4, 5, 6] and bars.marker.cmid == 0
    assert list(bars.text) == ["1.0", "3.0", "4.0", "5.0", "6.0"]
    assert list(bars.width) == [1, 2, 1, 1.5, 2]  # edges halfway between 1, 2 and 4
    assert list(drawn.layout.yaxis.ticktext) == ["upper", "lower"] and list(drawn.layout.yaxis.range) == [1.5, -0.5]
    assert figure.data[0].type == "heatmap"


def test_panels_that_would_be_narrow_move_to_further_rows():
    figure = difference_curves(made_up(), "illegal_mass")
    assert [(panel.row, panel.column) for panel in panels_of(figure)] == [(0, 0), (0, 1), (0, 2)]
    places = {width: {(panel.row, panel.column) for panel in panels_of(for_print(figure, width))} for width in POINTS}
    assert places == {"page": {(0, 0), (0, 1), (0, 2)}, "column": {(0, 0), (0, 1), (1, 0)}}
    moved = panels_of(for_print(figure, "column"))[2]
    assert for_print(figure, "column").layout[moved.y].title.text.replace("<br>", " ") == "difference of illegal mass"


def test_the_figure_itself_is_left_alone():
    figure = length_page(made_up())
    before = figure.to_json()
    for_print(figure, "column")
    assert figure.to_json() == before


def entries(figure: go.Figure) -> list[str]:
    return [trace.name for trace in for_print(figure, "column").data if trace.showlegend]


def test_pairs_that_are_not_drawn_as_a_grid_are_listed_as_they_are():
    names = [f"layer {layer}, head {head}" for layer in range(2) for head in range(3)]

    def drawn(colours, dashes, markers=("circle",) * 6):
        looks = zip(names, colours, dashes, markers, strict=True)
        lines = [
            go.Scatter(x=[1, 2], y=[1, 2], name=name, line=dict(color=colour, dash=dash), marker_symbol=marker)
            for name, colour, dash, marker in looks
        ]
        return entries(go.Figure(lines))

    listed = ["layer 0", "layer 1", "head 0", "head 1", "head 2"]
    by_head = ["solid", "8px,3px", "2px,2px"] * 2
    hues = ["#000001", "#000002", "#000003", "#000004", "#000005", "#000006"]
    assert drawn(["#000001"] * 3 + ["#000002"] * 3, by_head) == listed
    assert drawn(hues, by_head, ["circle"] * 3 + ["square"] * 3) == listed
    assert drawn(hues, ["solid"] * 6) == names
    assert drawn(hues, by_head) == names
    assert drawn(["#000001"] * 3 + ["#000002"] * 3, ["solid", "8px,3px", "8px,3px"] * 2) == names
    assert drawn(["#000001"] * 6, by_head) == names


@pytest.mark.parametrize("width", POINTS)
def test_ticks_are_thinned_out_only_where_there_are_many(width):
    def steps(figure):
        return for_print(figure, width).layout.xaxis.dtick, for_print(figure, width).layout.yaxis.dtick

    assert steps(many_heads(4, 8)) == (1, 1)
    assert steps(many_heads(80, 70)) == {"column": (10, 10), "page": (2, 10)}[width]


def test_a_full_grid_of_entries_is_listed_by_its_two_sides():
    assert entries(length_page(made_up())) == [
        *("no dropout", "dropout attention 0.1", "dropout residual 0.1"),
        *("raw", "ema", "bema"),
    ]
    assert entries(length_curve(made_up(dropouts=("none",)), "margin")) == [
        "no dropout, raw",
        "no dropout, ema",
        "no dropout, bema",
    ]
    incomplete = made_up()
    incomplete = incomplete[(incomplete["dropout"] != "none") | (incomplete["weights"] != "ema")]
    assert len(entries(length_page(incomplete))) == 8


def test_points_of_pairs_are_listed_by_their_markers_and_their_filling():
    sites, fillings = ["dropout embedding", "dropout attention", "dropout residual"], ["as trained", "at matched displacement"]
    figure = dropout_effects_figure(made_up_effects())
    assert entries(figure) == [*sites, *fillings]
    listed = {trace.name: trace for trace in for_print(figure, "column").data if trace.showlegend}
    assert len({listed[site].marker.symbol for site in sites}) == len({listed[site].marker.color for site in sites}) == 3
    filled, hollow = (listed[filling].marker for filling in fillings)
    assert hollow.symbol == f"{filled.symbol}-open" and filled.color == hollow.color == MUTED
    figure.for_each_trace(lambda trace: trace.update(marker_symbol=trace.marker.symbol.removesuffix("-open")))
    assert entries(figure) == [f"{site}, {filling}" for site in sites for filling in fillings]


@pytest.mark.parametrize(
    ("y", "axis", "label"),
    [
        (["guess", "a longer name"], {}, "a longer name"),
        ([0.2, 1], {"tickformat": ".0%"}, "100%"),
        ([0.01, 1], {"type": "log"}, "0.01"),
        ([1e-6, 1], {"type": "log"}, "10<sup>−6</sup>"),
        ([-0.25, 0.25], {}, "−0.25"),
        ([None, float("nan")], {}, "0"),
        ([1000, 9000], {"ticktext": ["nine thousand"], "tickvals": [9000]}, "nine thousand"),
    ],
)
def test_a_panel_leaves_room_for_the_labels_of_its_y_axis(y, axis, label):
    drawn = for_print(go.Figure(go.Scatter(x=[1, 2], y=y), dict(yaxis=axis)), "column")
    assert text_width(label) < drawn.layout.xaxis.domain[0] * drawn.layout.width < text_width(label) + 30


@pytest.mark.parametrize("width", POINTS)
def test_numbers_over_bars_go_where_they_would_run_into_each_other(width):
    figure = interventions(made_up_edits())
    numbers = [trace for trace in for_print(figure, width).data if trace.type == "scatter"]
    assert len(numbers) == 4 and {trace.visible for trace in numbers} == {{"column": False, "page": None}[width]}
    assert entries(figure) == ["edited", "null", "random direction", "unedited board"]


@given(st.lists(st.text("abcim 0.1%", min_size=1), min_size=1), st.floats(20, 400))
def test_wrapped_text_keeps_its_words_and_its_width(words, width):
    text = " ".join(words)
    lines = wrapped(text, width).split("<br>")
    assert " ".join(lines).split() == text.split()
    assert all(text_width(line) <= width or " " not in line for line in lines)


@needs_tools
def test_estimated_widths_are_those_of_the_page(printed):
    folder, drawn = printed
    words = words_of(folder / "page" / "page.pdf")
    for word, (left, _top, right, _bottom) in words:
        if len(word) > 4 and re.fullmatch("[a-z]+", word) and right - left > 12:
            assert text_width(word) * 72 / 96 == pytest.approx(right - left, rel=0.12), word
    assert pytest.approx(10 + 2 / 3) == TEXT
