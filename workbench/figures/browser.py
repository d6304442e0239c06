"""Figures drawn by one Chrome or Chromium: how it is found, started once, and killed, it alone, should it hang.

plotly (through kaleido) makes SVG and PNG. A PDF is the SVG printed on a page of its own size: kaleido's own PDFs have margins,
into which it shrinks the figure by a few per cent, so type of 8 pt would not be 8 pt.
"""

import asyncio
import base64
import logging
import math
import os
import signal
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from workbench.figures.print_text import CSS_DPI, PX_PER_POINT
from workbench.figures.printed_bytes import page_size, pdf_bytes, png_bytes, svg_bytes

logger = logging.getLogger(__name__)

START_SECONDS, FIGURE_SECONDS, GRACE_SECONDS = 60, 15, 15
TRIES = 2
"""A browser hangs once in some thousand starts; another one draws what is missing."""
HOW_TO_GET_A_BROWSER = (
    "install Chromium (`make system`, or your system's package), or set BROWSER_PATH to a Chrome, or run `kaleido_get_chrome`"
)
PAGE = """<!DOCTYPE html><html><head><meta charset="utf-8"><title>{title}</title><style>
@page {{ margin: 0 }} body {{ margin: 0; overflow: hidden }} svg {{ display: block }}
</style></head><body>{svg}</body></html>"""

Drawn = dict[tuple[str, str], bytes]
"""Files by name of the figure and format."""


def find_browser() -> str | None:
    """The Chrome or Chromium that static export uses: BROWSER_PATH if set, else kaleido's own search; None if there is none."""
    chosen = os.environ.get("BROWSER_PATH")
    if chosen:
        return chosen if os.access(chosen, os.X_OK) and Path(chosen).is_file() else None
    from choreographer.browsers.chromium import Chromium

    return Chromium.find_browser(skip_local=False)


def draw(figures: Mapping[str, go.Figure], formats: Sequence[str], browser: str, dpi: float) -> Drawn:
    """Every figure in every format (pdf, svg, png) with one browser; where it fails, one warning says how many and why.

    Args:
        figures: by name; sizes are those of their layouts, in px of 1/96 in.
        formats: any of pdf, svg, png.
        browser: as `find_browser` gives it.
        dpi: resolution of a PNG.
    """
    drawn: Drawn = {}
    trouble: list[Exception] = []
    wanted = len(figures) * len(formats)
    seconds = START_SECONDS + FIGURE_SECONDS * wanted
    for _ in range(TRIES):
        missing = {name: figure for name, figure in figures.items() if any((name, one) not in drawn for one in formats)}
        if not missing or (trouble and not any(isinstance(one, TimeoutError) for one in trouble)):
            break
        # an event loop of its own, since Jupyter's is already running; a daemon: a hung browser cannot hold up the exit
        thread = threading.Thread(target=_work, args=(missing, formats, browser, dpi, seconds, drawn, trouble), daemon=True)
        thread.start()
        thread.join(seconds + GRACE_SECONDS)
    finished = dict(drawn)
    if len(finished) < wanted:
        reason = f"{type(trouble[0]).__name__}: {trouble[0].args[0]}" if trouble else f"no answer in {seconds:g} s"
        logger.warning(
            "the browser %s failed (%s), so HTML takes the place of %d of %d static figures: %s",
            *(browser, reason, wanted - len(finished), wanted, HOW_TO_GET_A_BROWSER),
        )
    return finished


def _work(
    figures: Mapping[str, go.Figure],
    formats: Sequence[str],
    browser: str,
    dpi: float,
    seconds: float,
    drawn: Drawn,
    trouble: list[Exception],
) -> None:
    try:
        asyncio.run(_draw(figures, formats, browser, dpi, seconds, drawn, trouble))
    except Exception as error:
        trouble.append(error)


async def _draw(
    figures: Mapping[str, go.Figure],
    formats: Sequence[str],
    browser: str,
    dpi: float,
    seconds: float,
    drawn: Drawn,
    trouble: list[Exception],
) -> None:
    """Fills `drawn` figure by figure with one browser, which is killed when its time is up, whatever it hangs in."""
    import kaleido
    from kaleido.errors import KaleidoError

    logging.getLogger("choreographer").setLevel(logging.ERROR)  # what it warns of, the one warning of `draw` says
    chrome = kaleido.Kaleido(path=browser, mathjax=False, timeout=START_SECONDS)
    watchdog = threading.Timer(seconds, _kill, [chrome, trouble, seconds])
    watchdog.daemon = True
    watchdog.start()
    try:
        async with chrome:
            printer = await chrome.create_tab("about:blank") if "pdf" in formats else None
            for name, figure in figures.items():
                try:
                    if "png" in formats:
                        png = await chrome.calc_fig(figure, opts={"format": "png", "scale": dpi / CSS_DPI})
                        drawn[name, "png"] = png_bytes(png, dpi)
                    if "svg" in formats or printer is not None:
                        svg = svg_bytes(await chrome.calc_fig(figure, opts={"format": "svg"}))
                        if "svg" in formats:
                            drawn[name, "svg"] = svg
                        if printer is not None:
                            drawn[name, "pdf"] = await _printed(printer, name, svg)
                except (KaleidoError, ValueError) as error:  # this figure's own; the next may do
                    trouble.append(error)
    finally:
        watchdog.cancel()


async def _printed(tab: Any, title: str, svg: bytes) -> bytes:
    """An SVG as a PDF of one page that is as wide as it is, and at least as high."""
    width, height = page_size(svg)
    frame = (await _told(tab, "Page.getFrameTree"))["frameTree"]["frame"]["id"]
    await _told(tab, "Page.setDocumentContent", frameId=frame, html=PAGE.format(title=title, svg=svg.decode()))
    paper = dict(paperWidth=_paper_inches(width), paperHeight=_paper_inches(height), pageRanges="1")
    margins = {f"margin{side}": 0 for side in ("Top", "Bottom", "Left", "Right")}
    answer = await _told(tab, "Page.printToPDF", printBackground=True, generateTaggedPDF=False, **paper, **margins)
    return pdf_bytes(base64.b64decode(answer["data"]), width / PX_PER_POINT)


def _paper_inches(px: float) -> float:
    """Paper for a figure of so many px: browsers round it up to whole px, and those down to 1/300 in, which would cut it."""
    return (math.ceil(px) + 0.9) / CSS_DPI


async def _told(tab: Any, command: str, **params: object) -> dict:
    answer = await tab.send_command(command, params)
    if "error" in answer:
        raise ValueError(f"{command}: {answer['error'].get('message', answer['error'])}")
    return answer["result"]


def _kill(chrome: object, trouble: list[Exception], seconds: float) -> None:
    process = getattr(chrome, "subprocess", None)
    if process is not None and process.poll() is None:
        trouble.append(TimeoutError(f"no answer in {seconds:g} s"))
        os.killpg(process.pid, signal.SIGKILL)  # choreographer starts it as the leader of its own session
