"""Saves figures: HTML always, and PDF, SVG and PNG where a Chrome or Chromium is found.

HTML files share one plotly.min.js beside them, so that they open without a network. Static formats go through kaleido with one
browser for all figures; a browser that hangs is killed, and what it could not draw is reported, not waited for.
"""

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import plotly.graph_objects as go

from models.durable import write_file

logger = logging.getLogger(__name__)

FORMATS: tuple[str, ...] = ("html", "pdf", "svg", "png")
PNG_SCALE = 2
START_SECONDS, FIGURE_SECONDS, GRACE_SECONDS = 60, 15, 15
HOW_TO_GET_A_BROWSER = (
    "install Chromium (`make system`, or your system's package), or set BROWSER_PATH to a Chrome, or run `kaleido_get_chrome`"
)


def save_figures(
    figures: Mapping[str, go.Figure], folder: str | os.PathLike[str], formats: Sequence[str] = FORMATS
) -> list[Path]:
    """Writes every figure as `folder/name.format` and returns the paths written.

    Without a browser, or where it fails, the static formats are left out and one warning says why and what to do.
    Raises ValueError for an unknown format.
    """
    check_formats(formats)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    static = [name for name in FORMATS if name in formats and name != "html"]
    browser = find_browser() if static else None
    written = _save_html(figures, folder) if "html" in formats else []
    if static and browser is None:
        where = f" at BROWSER_PATH={os.environ['BROWSER_PATH']}" if os.environ.get("BROWSER_PATH") else ""
        logger.warning(
            "no Chrome or Chromium found%s, so no %s was written: %s", where, ", ".join(static), HOW_TO_GET_A_BROWSER
        )
    if browser is not None and figures:
        written += _save_static(figures, folder, static, browser)
    return written


def check_formats(formats: Sequence[str]) -> None:
    """Raises ValueError for a format that figures cannot be saved in."""
    unknown = [name for name in formats if name not in FORMATS]
    if unknown:
        raise ValueError(f"unknown format '{unknown[0]}'; choose from {', '.join(FORMATS)}")


def find_browser() -> str | None:
    """The Chrome or Chromium that static export uses: BROWSER_PATH if set, else kaleido's own search; None if there is none."""
    chosen = os.environ.get("BROWSER_PATH")
    if chosen:
        return chosen if os.access(chosen, os.X_OK) and Path(chosen).is_file() else None
    from choreographer.browsers.chromium import Chromium

    return Chromium.find_browser(skip_local=False)


def figure_html(figure: go.Figure, name: str, plotly_js: Literal["directory"] | bool) -> str:
    """A figure as HTML that is the same every time; `plotly_js` as plotly's include_plotlyjs, a whole page if not False."""
    config = {"responsive": True, "displaylogo": False, "toImageButtonOptions": {"format": "svg", "filename": name}}
    return figure.to_html(
        config=config,
        include_plotlyjs=plotly_js,
        full_html=plotly_js is not False,
        div_id=f"figure-{name}",
        include_mathjax=False,
    )


def _save_html(figures: Mapping[str, go.Figure], folder: Path) -> list[Path]:
    from plotly.offline import get_plotlyjs

    if figures:
        write_file(folder / "plotly.min.js", get_plotlyjs().encode())
    paths = []
    for name, figure in figures.items():
        paths.append(folder / f"{name}.html")
        write_file(paths[-1], figure_html(figure, name, "directory").encode())
    return paths


def _save_static(figures: Mapping[str, go.Figure], folder: Path, formats: Sequence[str], browser: str) -> list[Path]:
    jobs = {folder / f"{name}.{format}": (figure, format) for name, figure in figures.items() for format in formats}
    drawn: dict[Path, bytes] = {}
    trouble: list[Exception] = []
    seconds = START_SECONDS + FIGURE_SECONDS * len(jobs)
    # an event loop of its own, since Jupyter's is already running; a daemon, so that a hung browser cannot hold up the exit
    thread = threading.Thread(target=_work, args=(jobs, browser, seconds, drawn, trouble), daemon=True)
    thread.start()
    thread.join(seconds + GRACE_SECONDS)
    finished = dict(drawn)
    for path, data in finished.items():
        write_file(path, data)
    if len(finished) < len(jobs):
        reason = f"{type(trouble[0]).__name__}: {trouble[0].args[0]}" if trouble else f"no answer in {seconds:g} s"
        logger.warning(
            "the browser %s failed (%s), so %d of %d static figures were not written: %s",
            *(browser, reason, len(jobs) - len(finished), len(jobs), HOW_TO_GET_A_BROWSER),
        )
    return list(finished)


def _work(
    jobs: Mapping[Path, tuple[go.Figure, str]],
    browser: str,
    seconds: float,
    drawn: dict[Path, bytes],
    trouble: list[Exception],
) -> None:
    try:
        asyncio.run(_draw(jobs, browser, seconds, drawn, trouble))
    except Exception as error:
        trouble.append(error)


async def _draw(
    jobs: Mapping[Path, tuple[go.Figure, str]],
    browser: str,
    seconds: float,
    drawn: dict[Path, bytes],
    trouble: list[Exception],
) -> None:
    """Fills `drawn` figure by figure with one browser, which is killed when its time is up, whatever it hangs in."""
    import kaleido

    chrome = kaleido.Kaleido(path=browser, mathjax=False, timeout=START_SECONDS)
    watchdog = threading.Timer(seconds, _kill, [chrome])
    watchdog.daemon = True
    watchdog.start()
    try:
        async with chrome:
            for path, (figure, format) in jobs.items():
                try:
                    drawn[path] = await chrome.calc_fig(
                        figure, opts={"format": format, "scale": PNG_SCALE if format == "png" else 1}
                    )
                except kaleido.errors.KaleidoError as error:  # this figure's own; the next may do
                    trouble.append(error)
    finally:
        watchdog.cancel()


def _kill(chrome: object) -> None:
    process = getattr(chrome, "subprocess", None)
    if process is not None and process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)  # choreographer starts it as the leader of its own session
