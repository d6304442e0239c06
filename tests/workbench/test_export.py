"""Figures as files: what is written, that it is the same every time, and what happens without a browser or with a hung one."""

import logging
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from models.set_complement.closed_form import closed_form
from probes.logit_displacement import displacement
from workbench.cli import run
from workbench.figures import browser as browser_module
from workbench.figures.browser import draw, find_browser
from workbench.figures.differences import difference_curves
from workbench.figures.displacement import displacement_by_length
from workbench.figures.drawn_data import drawn_data
from workbench.figures.export import possible_formats, save_figures
from workbench.figures.length_curves import length_curve, length_page
from workbench.figures.printed_bytes import page_size, pdf_bytes

from .made_up_tables import made_up

needs_browser = pytest.mark.skipif(find_browser() is None, reason="no Chrome or Chromium found")


def test_html_needs_no_network_and_shares_one_plotly(tmp_path):
    figures = {"a": length_curve(made_up(), "margin"), "b": go.Figure()}
    written = save_figures(figures, tmp_path, ["html"])
    assert [path.name for path in written] == ["a.html", "b.html"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "a.html", "b.csv", "b.html", "plotly.min.js"]
    text = (tmp_path / "a.html").read_text()
    assert 'src="plotly.min.js"' in text and not re.search(r"src=.https?:", text)
    save_figures(figures, tmp_path / "again", ["html"])
    assert (tmp_path / "again" / "a.html").read_bytes() == (tmp_path / "a.html").read_bytes()


def test_a_file_in_place_of_the_folder_is_named_and_left(tmp_path, capsys):
    (tmp_path / "FILE").write_text("mine")
    with pytest.raises(NotADirectoryError, match="FILE is a file, expected a folder; give another"):
        save_figures({"a": go.Figure()}, tmp_path / "FILE", ["html"])
    words = ["evaluate", "set-complement-v16-none-seed0", "--sequences", "2", "--json", str(tmp_path / "FILE" / "x.json")]
    assert run(words) == 2
    assert "x.json: " in (told := capsys.readouterr().err) and "FILE is a file, expected a folder; " in told
    assert (tmp_path / "FILE").read_text() == "mine"


@needs_browser
def test_same_figures_same_bytes_whatever_else_is_drawn(tmp_path):
    figures = {"page": length_page(made_up()), "cells": go.Figure(go.Heatmap(z=[[1, 2], [3, None]]))}
    formats = ["png", "pdf", "svg"]
    written = save_figures(figures, tmp_path / "a", formats, "column")
    assert {path.name for path in written} == {f"{name}.{format}" for name in figures for format in formats}
    save_figures(dict(reversed(figures.items())) | {"more": go.Figure()}, tmp_path / "b", formats, "column")
    for path in written:
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name
    starts = {".pdf": b"%PDF", ".png": b"\x89PNG", ".svg": b"<svg"}
    assert all(path.read_bytes().startswith(starts[path.suffix]) for path in written)
    assert b"Date" not in (tmp_path / "a" / "page.pdf").read_bytes()


@needs_browser
def test_a_png_for_print_knows_its_size(tmp_path):
    save_figures({"a": length_curve(made_up(), "margin")}, tmp_path, ["png"], "column")
    data = (tmp_path / "a.png").read_bytes()
    width = int.from_bytes(data[16:20])
    at = data.index(b"pHYs") + 4
    assert width / int.from_bytes(data[at : at + 4]) / 0.0254 == pytest.approx(3.3, rel=2e-3)


@needs_browser
def test_a_pdf_is_as_wide_as_its_figure_of_whatever_width(caplog):
    """Browsers count a page in px and in 1/300 in: 1264 px are a whole number of both, 1260 px of one and 316.8 of none."""
    widths = (316.8, 317, 999.9, 1260, 1260.1, 1264)
    figures = {f"{width}": go.Figure(go.Scatter(y=[1, 2]), {"width": width, "height": 181.3}) for width in widths}
    drawn = draw(figures, ["pdf"], find_browser(), 300)
    assert not caplog.records and len(drawn) == len(widths)
    for (name, _), data in drawn.items():
        ((width, height),) = re.findall(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)", data)
        assert float(width) == pytest.approx(0.75 * float(name), abs=2e-3) and 0 < float(height) - 0.75 * 181.3 < 2.3, name


def pdf(*boxes: bytes) -> bytes:
    """What is read of a browser's PDF: its date, the boxes of its pages, and something after them."""
    return (
        b"%PDF-1.4 /CreationDate (D:20250101000000+00'00') " + b" ".join(b"/MediaBox [0 0 %s]" % box for box in boxes) + b" end"
    )


def test_a_page_is_narrowed_to_its_width_and_no_byte_moves():
    before = pdf(b"237.84 180")
    after = pdf_bytes(before, 237.6)
    assert b"/MediaBox [0 0 237.6 180]" in after and b"Date" not in after
    assert len(after) == len(before) and after.index(b" end") == before.index(b" end")


@pytest.mark.parametrize("boxes", [(), (b"237.6 180", b"237.6 180"), (b"237.5 180",), (b"239.7 180",)])
def test_a_pdf_of_another_page_than_the_figures_is_refused(boxes):
    widths = re.escape(str([float(box.split()[0]) for box in boxes]))
    told = f"expected a PDF of one page 237.6 pt wide, got {widths}; try another Chrome or Chromium"
    with pytest.raises(ValueError, match=told):
        pdf_bytes(pdf(*boxes), 237.6)


def test_the_size_of_an_svg_is_in_its_first_tag():
    assert page_size(b'<svg class="main-svg" xmlns="x" width="316.8" height="240"><rect width="1" height="2"/>') == (316.8, 240)
    with pytest.raises(ValueError, match="expected an SVG with its width and height in px, as plotly writes it"):
        page_size(b'<svg viewBox="0 0 1 2"><rect width="1" height="2"/></svg>')


def test_without_a_browser_html_and_data_are_written_and_one_line_says_so(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "absent"))
    with caplog.at_level(logging.WARNING):
        written = save_figures({"a": length_curve(made_up(), "margin")}, tmp_path, ["pdf"])
    assert [path.name for path in written] == ["a.html"]
    assert len(pd.read_csv(tmp_path / "a.csv")) > 0
    assert len(caplog.records) == 1
    assert "no Chrome or Chromium found at BROWSER_PATH" in caplog.text and "make system" in caplog.text
    assert possible_formats(["html"]) == ("html",) and len(caplog.records) == 1


def test_the_missing_browser_is_found_before_any_work(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "absent"))
    with caplog.at_level(logging.WARNING):
        assert run(["compare", str(tmp_path / "no-such-run"), "--out", str(tmp_path / "out"), "--format", "pdf"]) == 1
    assert "make system" in caplog.text  # though the work failed at its first step


def test_a_hung_browser_is_killed_and_only_it(tmp_path, monkeypatch, caplog):
    browser = tmp_path / "browser"
    browser.write_text(f"#!/bin/sh\necho $$ >> {tmp_path}/pids\nexec sleep 300\n")
    browser.chmod(0o755)
    monkeypatch.setenv("BROWSER_PATH", str(browser))
    monkeypatch.setattr(browser_module, "START_SECONDS", 5)
    monkeypatch.setattr(browser_module, "FIGURE_SECONDS", 0)
    began = time.monotonic()
    bystander = subprocess.Popen(["sleep", "300"])
    try:
        written = save_figures({"a": go.Figure()}, tmp_path / "out", ["png"])
        assert time.monotonic() - began < 60
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()
    assert [path.name for path in written] == ["a.html"]
    assert len(caplog.records) == 1
    assert "failed (TimeoutError: no answer in 5 s), so HTML takes the place of 1 of 1 static figures" in caplog.text
    pids = (tmp_path / "pids").read_text().split()
    assert len(pids) == 2  # it was tried again
    deadline = time.monotonic() + 20  # the kernel, and who reaps it, may take a moment on a busy machine
    while any(map(_alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(_alive, pids))


@needs_browser
def test_after_a_browser_that_hung_once_another_draws_what_is_missing(tmp_path, monkeypatch, caplog):
    browser, tried = tmp_path / "browser", tmp_path / "tried"
    browser.write_text(f'#!/bin/sh\n[ -e {tried} ] && exec {find_browser()} "$@"\ntouch {tried}\nexec sleep 300\n')
    browser.chmod(0o755)
    monkeypatch.setenv("BROWSER_PATH", str(browser))
    monkeypatch.setattr(browser_module, "START_SECONDS", 20)
    written = save_figures({"a": go.Figure()}, tmp_path / "out", ["svg", "png"])
    assert tried.exists() and {path.name for path in written} == {"a.svg", "a.png"} and not caplog.records


def _alive(pid: str) -> bool:
    shown = subprocess.run(["ps", "-o", "stat=", "-p", pid], capture_output=True, text=True).stdout.strip()
    return bool(shown) and not shown.startswith("Z")


@needs_browser
def test_a_browser_that_draws_looks_up_no_host(tmp_path, monkeypatch):
    """Its own log of the network tells; Chromium by itself looks for Google's accounts and for its updates."""
    browser, log = tmp_path / "browser", tmp_path / "network.json"
    browser.write_text(f'#!/bin/sh\nexec {find_browser()} "$@" --log-net-log={log}\n')
    browser.chmod(0o755)
    monkeypatch.setenv("BROWSER_PATH", str(browser))
    written = save_figures({str(i): length_curve(made_up(), "margin") for i in range(3)}, tmp_path / "out", ["png"])
    assert {path.suffix for path in written} == {".png"}
    text = log.read_text()
    assert "HOST_RESOLVER_MANAGER_REQUEST" in text  # the list of events: it is such a log
    assert set(re.findall(r'"host":"https?://([^":/]+)', text)) <= {"~notfound"}  # what every name is turned into


DRAWS_MUCH = """
import signal, sys
import plotly.graph_objects as go
from workbench.figures.browser import draw, find_browser
signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever it was started under, such as nohup
signal.signal(signal.SIGTERM, signal.SIG_DFL)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
try:
    draw({str(i): go.Figure() for i in range(2000)}, ["png"], find_browser(), 100)
except KeyboardInterrupt:
    sys.exit(130)
"""


@needs_browser
@pytest.mark.parametrize("number", [signal.SIGINT] * 3 + [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_drawing_and_leaves_nothing_behind(number):
    with tempfile.TemporaryDirectory() as folder:  # a browser's socket lies there, and the path of a socket has to be short
        environment = os.environ | {"TMPDIR": folder}
        process = subprocess.Popen([sys.executable, "-c", DRAWS_MUCH], env=environment, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 60
        while not list(Path(folder).glob("*/*/SingletonSocket")) and time.monotonic() < deadline:  # the browser runs
            time.sleep(0.05)
        process.send_signal(number)
        assert process.communicate(timeout=60)[1] == ""
        assert process.returncode == 128 + number
        assert list(Path(folder).iterdir()) == []
        shown = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
        assert folder not in shown


@needs_browser
def test_a_figure_that_fails_does_not_take_the_others_along(tmp_path, caplog):
    broken = go.Figure(layout={"width": 10**7, "height": 10**7})
    written = save_figures({"broken": broken, "fine": go.Figure()}, tmp_path, ["pdf"])
    assert written == [tmp_path / "broken.html", tmp_path / "fine.pdf"]


def test_unknown_format(tmp_path):
    with pytest.raises(ValueError, match="unknown format 'gif'; choose from html, pdf, svg, png"):
        save_figures({}, tmp_path, ["gif"])


def test_the_data_are_the_means_and_intervals_of_the_frame_zeros_and_all():
    frame = made_up(dropouts=("none",), seeds=(0,))
    data = drawn_data(length_page(frame, ["illegal_mass", "margin"]))
    for metric, title in (
        ("illegal_mass", "illegal mass"),
        ("margin", "margin, least legal − greatest illegal logit (logits)"),
    ):
        rows = frame[(frame["metric"] == metric) & (frame["weights"] == "ema")].sort_values("length")
        drawn = data[(data["y_title"] == title) & (data["curve"] == "no dropout, ema")]
        np.testing.assert_allclose(drawn["y"].astype(float), rows["value"])
        np.testing.assert_allclose(drawn["low"], rows["ci_low"])
        np.testing.assert_allclose(drawn["high"], rows["ci_high"])
        assert list(drawn["x"]) == list(rows["length"])
    assert (data["y"] == 0).any()


def test_the_data_of_a_signed_log_axis_are_the_differences_by_panel():
    frame = made_up(dropouts=("none",), seeds=(0,))
    data = drawn_data(difference_curves(frame, "illegal_mass"))
    rows = frame[(frame["metric"] == "illegal_mass") & (frame["weights"] == "bema")].sort_values("length")
    np.testing.assert_allclose(data[data["panel"] == "bema − raw"]["y"].astype(float), rows["difference"])


def test_the_data_of_heatmaps_and_of_probes():
    cells = drawn_data(go.Figure(go.Heatmap(z=[[1, 2], [3, 4]], x=["a", "b"])))
    assert cells.to_dict("list") == {"x": ["a", "b", "a", "b"], "y": [0, 0, 1, 1], "value": [1, 2, 3, 4]}
    frame = displacement(closed_form(8), sequences=8)
    data = drawn_data(displacement_by_length(frame))
    context = data[(data["curve"] == "context") & (data["panel"] == "displacement")]
    expected = frame[frame["measure"] == "context"]
    np.testing.assert_allclose(context["y"].astype(float), expected["value"])
    np.testing.assert_allclose(context["low"], expected["ci_low"])
    assert drawn_data(go.Figure()).empty
