"""`workbench app`: notebooks as an app, which answers nobody without the token."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser


@pytest.fixture
def app(tmp_path):
    """A running app: its address, and the address with the token that it tells."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = "import typer; from workbench.commands.app import app; typer.run(app)"
    log = tmp_path / "app.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", command, "--port", str(port), "--no-browser"],
            stdout=file,
            stderr=file,
            cwd=tmp_path,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            start_new_session=True,  # it starts a server, which must end with it
        )
    try:
        yield f"http://127.0.0.1:{port}", _told(log, process)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(20)


def _told(log, process) -> str:
    end = time.monotonic() + 90
    while time.monotonic() < end and process.poll() is None:
        found = re.search(r"http://127\.0\.0\.1:\d+/\?token=(\w+)", log.read_text())
        if found:
            return found[1]
        time.sleep(0.2)
    pytest.fail(f"the app did not start:\n{log.read_text()[-2000:]}")


def test_the_notebooks_are_apps_behind_a_token(app, page, tmp_path):
    address, token = app
    notebook = f"{address}/voila/render/01_compare_dropout_and_ema.ipynb"
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.build_opener(_NoRedirects).open(notebook, timeout=30)
    assert refused.value.code in (302, 401, 403)

    page.goto(f"{address}/?token={token}")
    page.get_by_text("03_othello_explorer").first.wait_for(timeout=60_000)
    page.goto(notebook, timeout=120_000)
    widget = page.locator(".workbench-length-explorer")
    plot = widget.locator(".js-plotly-plot").nth(1)
    plot.locator(".main-svg").first.wait_for(timeout=120_000)
    assert page.locator(".jp-InputArea-editor").count() == 0, "code is shown"
    before = plot.text_content()
    widget.locator(".control-length .noUi-handle").press("ArrowLeft")
    page.wait_for_function("([plot, before]) => plot.textContent !== before", arg=[plot.element_handle(), before])
    page.wait_for_timeout(500)
    page.screenshot(path=tmp_path / "comparison.png")

    page.goto(f"{address}/voila/render/03_othello_explorer.ipynb", timeout=120_000)
    explorer = page.locator(".othello-explorer")
    explorer.get_by_role("button", name="new game").click(timeout=120_000)
    boards = explorer.locator(".oe-place-boards")
    expect(boards).to_contain_text("0 moves")  # the board that was there has other moves, illegal in a new game
    boards.locator('[data-step="play"]').first.click()
    expect(boards).to_contain_text("1 move,")
    page.screenshot(path=tmp_path / "othello.png")


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None
