"""A real JupyterLab and a real browser, for the tests of notebooks and widgets.

`lab` is a JupyterLab on a copy of the notebooks, on the loopback address with a token; `page` is a fresh page of a Chromium
that can reach nothing else. `lab.open(page, name)` gives a `NotebookPage` to run and to look at. Nothing on the user's system
is altered: settings, data and kernels' working folders lie under pytest's temporary folder.
"""

import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Error, Locator, Page, Playwright, expect, sync_playwright

from workbench.figures.export import find_browser

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
VIEWPORT = {"width": 1400, "height": 1100}
START_SECONDS = 90
RUN_SECONDS = 120
expect.set_options(timeout=20_000)  # a kernel on a busy machine
CHROMIUM_ARGUMENTS = [
    "--no-sandbox",  # as root in containers
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # whatever a page wants must come from here
]


HARMLESS = re.compile(r"setData is not a function|\[anywidget\] Failed to initialize model")
"""plotly's display of figures in outputs, when it writes a picture back into a cell that has changed; anywidget when it
gives up a widget, of which `late_page` takes care"""


@dataclass(frozen=True)
class Server:
    """A server that runs on the loopback address and asks for a token."""

    address: str
    token: str
    folder: Path
    """its copy of the notebooks, in which kernels run"""

    def url(self, path: str) -> str:
        """Address of a page, with the token."""
        return f"{self.address}/{path}{'&' if '?' in path else '?'}token={self.token}"


class Lab(Server):
    """A running JupyterLab."""

    def open(self, page: Page, name: str) -> "NotebookPage":
        """Opens a notebook of the folder, such as `01_compare_dropout_and_ema`, and waits for its kernel."""
        page.goto(self.url(f"lab/tree/{name}.ipynb?reset"))
        page.wait_for_function(
            "window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'", timeout=60_000
        )
        return NotebookPage(page, self.folder)


@dataclass(frozen=True)
class NotebookPage:
    """A notebook open in JupyterLab."""

    page: Page
    folder: Path

    def run_all(self) -> None:
        """Runs every cell by the menu and waits for the last; fails with the text of the first error in an output."""
        self.page.get_by_role("menuitem", name="Run", exact=True).click()
        self.page.locator('.lm-Menu-item[data-command="runmenu:run-all"]').click()
        self.page.wait_for_function(
            """() => {
                const cells = jupyterapp.shell.currentWidget.content.widgets.map(cell => cell.model)
                    .filter(cell => cell.type === 'code' && cell.sharedModel.source.trim());
                const failed = cells.some(cell => cell.outputs.toJSON().some(output => output.output_type === 'error'));
                const done = cells.every(cell => cell.executionCount !== null && cell.executionState !== 'running');
                return failed || done;
            }""",
            timeout=RUN_SECONDS * 1000,
            polling=100,
        )
        errors = self.page.evaluate(
            """() => jupyterapp.shell.currentWidget.content.widgets.map(cell => cell.model).filter(cell => cell.type === 'code')
                .flatMap(cell => cell.outputs.toJSON()).filter(output => output.output_type === 'error')
                .map(output => `${output.ename}: ${output.evalue}`)"""
        )
        assert not errors, errors[0]

    def widget(self, css_class: str) -> Locator:
        """The first widget of a class, scrolled into view once it is there."""
        found = self.page.locator(f".{css_class}").first
        found.wait_for(state="attached", timeout=30_000)
        found.scroll_into_view_if_needed()
        return found

    def slide(self, slider: Locator, plot: Locator, keys: list[str]) -> list[float]:
        """Presses keys on the handle of a slider, one at a time; returns how long each took to a new picture, in ms.

        A picture is new once plotly has drawn it after the key and the browser has shown a frame of it.
        """
        handle, element = slider.locator(".noUi-handle"), plot.element_handle()
        handle.scroll_into_view_if_needed()
        handle.focus()
        times = []
        for key in keys:
            self.page.evaluate(
                """plot => {
                    window.newPicture = new Promise(done => {
                        addEventListener('keydown', () => { window.pressed = performance.now(); }, {once: true, capture: true});
                        plot.once('plotly_afterplot', () => requestAnimationFrame(() => requestAnimationFrame(
                            () => done(performance.now() - window.pressed))));
                    });
                }""",
                element,
            )
            self.page.keyboard.press(key)
            times.append(self.page.evaluate("Promise.race([newPicture, new Promise(done => setTimeout(done, 5000, 5000))])"))
        return times

    def click_point(self, plot: Locator, axes: str, x: float, y: float) -> None:
        """Clicks the point (x, y) of a panel of a plot; `axes` is the panel's number in plotly: empty, `2`, ..."""
        plot.scroll_into_view_if_needed()
        box = plot.bounding_box()
        at = plot.evaluate(
            """(plot, [axes, x, y]) => {
                const [across, down] = [plot._fullLayout['xaxis' + axes], plot._fullLayout['yaxis' + axes]];
                return [across._offset + across.d2p(x), down._offset + down.d2p(y)];
            }""",
            [axes, x, y],
        )
        assert box is not None
        self.page.mouse.move(box["x"] + at[0] - 3, box["y"] + at[1])
        self.page.mouse.move(box["x"] + at[0], box["y"] + at[1])
        self.page.wait_for_timeout(150)  # plotly takes a click for one on what it hovers over, and it looks 50 ms later
        self.page.mouse.click(box["x"] + at[0], box["y"] + at[1])


@contextmanager
def serving(module: str, arguments: list[str], home: Path, ready: str) -> Iterator[tuple[str, str]]:
    """Runs `python -m module arguments --port=...` with Jupyter's folders under `home`; yields its address and token.

    `ready` is the path that answers once it is up. The arguments may hold {port} and {token}.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    folders = {name: str(home / name.lower()) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")}
    news = home / "settings" / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
    news.parent.mkdir(parents=True)
    news.write_text('{"fetchNews": "false"}')  # else it asks, on top of the notebook
    folders |= {"IPYTHONDIR": str(home / "ipython"), "JUPYTERLAB_SETTINGS_DIR": str(home / "settings")}
    command = [sys.executable, "-m", module, *(word.format(port=port, token=token) for word in arguments)]
    log_path = home / "server.log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            command, env=os.environ | folders | {"OMP_NUM_THREADS": "1"}, stdout=log, stderr=log, cwd=home
        )
        try:
            address = f"http://127.0.0.1:{port}"
            _wait_until_up(f"{address}/{ready}?token={token}", process, log_path)
            yield address, token
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait_until_up(url: str, process: subprocess.Popen, log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=30).close()
            return
        except OSError:
            time.sleep(0.1)
    pytest.fail(f"the server did not come up:\n{log.read_text()[-3000:]}")


@pytest.fixture(scope="session")
def lab(tmp_path_factory) -> Iterator[Lab]:
    """JupyterLab on a copy of the notebooks."""
    home = tmp_path_factory.mktemp("lab")
    folder = home / "notebooks"
    shutil.copytree(NOTEBOOKS, folder, ignore=shutil.ignore_patterns(".*"))
    arguments = [
        "--no-browser",
        "--allow-root",
        "--expose-app-in-browser",
        "--ServerApp.ip=127.0.0.1",
        "--ServerApp.port={port}",
        "--ServerApp.port_retries=0",
        "--IdentityProvider.token={token}",
        f"--ServerApp.root_dir={folder}",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]
    with serving("jupyterlab", arguments, home, "api/status") as (address, token):
        yield Lab(address, token, folder)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The Chrome or Chromium that is found, else Playwright's own, fetched into the user's cache."""
    with sync_playwright() as playwright:
        browser = _launch(playwright)
        yield browser
        browser.close()


def _launch(playwright: Playwright) -> Browser:
    found = find_browser()
    if found is not None:
        return playwright.chromium.launch(executable_path=found, args=CHROMIUM_ARGUMENTS)
    if not Path(playwright.chromium.executable_path).exists():
        subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], timeout=300, capture_output=True)
    try:
        return playwright.chromium.launch(args=CHROMIUM_ARGUMENTS)
    except Error as error:
        pytest.skip(f"no Chrome or Chromium that runs ({str(error).splitlines()[0]}); `make system` installs one")


@pytest.fixture
def page(browser) -> Iterator[Page]:
    """A fresh page."""
    with fresh_page(browser) as page:
        yield page


@contextmanager
def fresh_page(browser: Browser) -> Iterator[Page]:
    """A page of its own; at its end no script on it may have failed."""
    context = browser.new_context(viewport=VIEWPORT, accept_downloads=True)
    page = context.new_page()
    failures: list[str] = []
    page.on("pageerror", lambda error: None if HARMLESS.search(str(error)) else failures.append(str(error)))
    yield page
    context.close()
    assert not failures, failures[0]
