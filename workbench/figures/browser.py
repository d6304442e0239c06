"""Figures drawn by one Chrome or Chromium: how it is found, started once, and killed, it alone, should it hang.

plotly (through kaleido) makes SVG and PNG. A PDF is the SVG printed on a page of its own size: kaleido's own PDFs have margins,
into which it shrinks the figure by a few per cent, so type of 8 pt would not be 8 pt.
"""

import asyncio
import base64
import logging
import math
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
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
OFFLINE = (
    "--disable-background-networking",
    "--disable-default-apps",
    "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",  # else it looks for Google's accounts and its own updates
)
"""For the browser, beside what choreographer tells it: no first run, no sync, no update of components."""
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
        with _ended_in_order():
            _Turn(missing, formats, browser, dpi, seconds, drawn, trouble).take()
    finished = dict(drawn)
    if len(finished) < wanted:
        reason = f"{type(trouble[0]).__name__}: {trouble[0].args[0]}" if trouble else f"no answer in {seconds:g} s"
        logger.warning(
            "the browser %s failed (%s), so HTML takes the place of %d of %d static figures: %s",
            *(browser, reason, wanted - len(finished), wanted, HOW_TO_GET_A_BROWSER),
        )
    return finished


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """SIGTERM and SIGHUP, where they would end the process at once, become a SystemExit, so that no browser is left behind."""
    own = threading.current_thread() is threading.main_thread()  # no other thread may set handlers
    numbers = [one for one in (signal.SIGTERM, signal.SIGHUP) if own and signal.getsignal(one) is signal.SIG_DFL]
    for number in numbers:
        signal.signal(number, _exit)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


def _exit(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)


@dataclass
class _Turn:
    """One browser's turn at the figures: it fills `drawn` figure by figure, or `trouble`, in a thread of its own."""

    figures: Mapping[str, go.Figure]
    formats: Sequence[str]
    browser: str
    dpi: float
    seconds: float
    drawn: Drawn
    trouble: list[Exception]
    chrome: Any = None
    folder: Path = field(init=False)
    """What the browser writes is here."""
    over: threading.Event = field(default_factory=threading.Event)
    """The thread has ended; the join of Python 3.11, once interrupted, takes any thread for ended."""

    def take(self) -> None:
        """Draws until the time is up; interrupted, it kills the browser first. What the browser wrote is removed."""
        # a snap sees no other /tmp than its own
        self.folder = Path(tempfile.mkdtemp(prefix=".figures-", dir=Path.home() if "snap" in self.browser else None))
        # an event loop of its own, since Jupyter's is already running; a daemon: a hung browser cannot hold up the exit
        thread = threading.Thread(target=self._run, daemon=True)
        try:
            thread.start()
            self.over.wait(self.seconds + GRACE_SECONDS)
        except BaseException:
            self._stop()
            raise
        finally:
            _remove(self.folder)

    def _run(self) -> None:
        try:
            asyncio.run(self._draw())
        except Exception as error:
            self.trouble.append(error)
        finally:
            self.over.set()

    async def _draw(self) -> None:
        """Draws with one browser, which is killed when its time is up, whatever it hangs in."""
        import kaleido

        logging.getLogger("choreographer").setLevel(logging.ERROR)  # what it warns of, the one warning of `draw` says
        page = self.folder / "page.html"
        page.write_text(kaleido.PageGenerator(mathjax=False).generate_index())
        self.chrome = kaleido.Kaleido(
            path=self.browser, page_generator=page, timeout=START_SECONDS, browser_cls=_offline(), tmp_dir=str(self.folder)
        )
        watchdog = threading.Timer(self.seconds, self._kill)
        watchdog.daemon = True
        watchdog.start()
        try:
            async with self.chrome:
                await self._draw_each()
        finally:
            watchdog.cancel()

    async def _draw_each(self) -> None:
        from kaleido.errors import KaleidoError

        printer = await self.chrome.create_tab("about:blank") if "pdf" in self.formats else None
        for name, figure in self.figures.items():
            try:
                if "png" in self.formats:
                    png = await self.chrome.calc_fig(figure, opts={"format": "png", "scale": self.dpi / CSS_DPI})
                    self.drawn[name, "png"] = png_bytes(png, self.dpi)
                if "svg" in self.formats or printer is not None:
                    svg = svg_bytes(await self.chrome.calc_fig(figure, opts={"format": "svg"}))
                    if "svg" in self.formats:
                        self.drawn[name, "svg"] = svg
                    if printer is not None:
                        self.drawn[name, "pdf"] = await _printed(printer, name, svg)
            except (KaleidoError, ValueError) as error:  # this figure's own; the next may do
                self.trouble.append(error)

    def _stop(self) -> None:
        """Kills the browser, which may only just be starting, until the thread has seen it."""
        end = time.monotonic() + GRACE_SECONDS
        while not self.over.wait(0.05) and time.monotonic() < end:
            self._kill()

    def _kill(self) -> None:
        process = getattr(self.chrome, "subprocess", None)
        if process is not None and process.poll() is None:
            self.trouble.append(TimeoutError(f"no answer in {self.seconds:g} s"))
            sockets = [link.readlink() for link in self.folder.glob("*/SingletonSocket") if link.is_symlink()]
            with suppress(ProcessLookupError, PermissionError):  # it has just ended
                os.killpg(process.pid, signal.SIGKILL)  # choreographer starts it as the leader of its own session
            for socket in sockets:  # in a folder beside ours, which a browser that is killed leaves
                shutil.rmtree(socket.parent, ignore_errors=True)


def _offline() -> type:
    """A Chromium as choreographer starts it that looks up no host and asks no proxy, whatever services of its own it has."""
    from choreographer.browsers.chromium import Chromium

    class Offline(Chromium):
        def get_cli(self) -> Sequence[str]:
            return [*super().get_cli(), *OFFLINE]

    return Offline


def _remove(folder: Path) -> None:
    """Removes a browser's folder, into which a browser that was killed may write for a moment yet."""
    end = time.monotonic() + GRACE_SECONDS
    while folder.exists() and time.monotonic() < end:
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(0.05 * folder.exists())


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
