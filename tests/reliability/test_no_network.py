"""Nothing reaches for the network unless a remote address was given: every call of Python's sockets is watched and refused."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from workbench.commands.lab import NOTEBOOKS
from workbench.figures.browser import find_browser

from .command_lines import commands, words, write_inputs
from .network_watch import reached, watched

WORKBENCH = Path(sys.executable).with_name("workbench")
QUICK = ("zoo", "train", "games")
SERVERS = ("lab", "app")
OTHER_TOOLS = {"08_with_other_tools": {"google.com"}}
"""Hosts that other people's tools look up, as the notebook says: CircuitsVis, whether there is a network."""
RUN_ALL = """
import json, os, pathlib, sys
from workbench.cli import run
here = pathlib.Path.cwd()
for number, words in enumerate(json.load(sys.stdin)):
    print(*words, flush=True)
    (here / str(number)).mkdir()
    os.chdir(here / str(number))
    assert run(words) == 0
"""


def run_all(folder: Path, lines: list[list[str]], loopback: bool = False) -> None:
    """Runs command lines, each in a folder of its own, named by its number, but in one process, which imports it all once."""
    done = subprocess.run(
        [sys.executable, "-c", RUN_ALL],
        input=json.dumps(lines),
        cwd=folder,
        env=watched(folder, loopback),
        capture_output=True,
        text=True,
    )
    assert not reached(folder)
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-3000:]


def test_the_network_is_watched_and_an_address_that_asks_for_it_refused_in_a_sentence(tmp_path):
    line = [WORKBENCH, "import", "hf://nobody/nothing/model.pth", "--out", "m"]
    done = subprocess.run(line, cwd=tmp_path, env=watched(tmp_path), capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.splitlines()[-1].startswith("workbench: ")
    assert any(one.startswith("socket.getaddrinfo") for one in reached(tmp_path))


def test_a_few_commands_stay_off_the_network(tmp_path):
    inputs = write_inputs(tmp_path / "inputs")
    run_all(tmp_path, [words(name, inputs) for name in QUICK])


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_command_stays_off_the_network(tmp_path):
    inputs = write_inputs(tmp_path / "inputs")
    tried = [name for name in commands() if name not in SERVERS]
    assert set(QUICK) < set(tried) and {"study", "bound", "bundle", "probe interventions"} < set(tried)
    run_all(tmp_path, [words(name, inputs) for name in tried])
    print(f"{len(tried)} commands")  # noqa: T201


@pytest.mark.slow
@pytest.mark.skipif(find_browser() is None, reason="no browser to draw figures with")
def test_figures_of_every_format_are_drawn_without_the_network(tmp_path):
    inputs = write_inputs(tmp_path / "inputs")
    line = words("figures", inputs)[:2]
    run_all(tmp_path, [[*line, "--out", "drawn", "--format", "svg,png,pdf"]], True)
    assert {path.suffix for path in (tmp_path / "0" / "drawn").iterdir()} >= {".svg", ".png", ".pdf"}


@pytest.mark.slow
@pytest.mark.parametrize("name", SERVERS)
def test_servers_are_started_and_stopped_without_the_network(tmp_path, name):
    inputs = write_inputs(tmp_path / "inputs")
    log = tmp_path / "server.log"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with log.open("wb") as file:
        process = subprocess.Popen(
            [WORKBENCH, *words(name, inputs), "--port", str(port)],
            cwd=tmp_path,
            stdout=file,
            stderr=file,
            env=watched(tmp_path, loopback=True),
            start_new_session=True,  # it starts a server, which must end with it
        )
    try:
        end = time.monotonic() + 120
        while not (address := re.search(rf"http://127\.0\.0\.1:{port}/\S*\?token=\w+", log.read_text())):
            assert process.poll() is None and time.monotonic() < end, log.read_text()[-2000:]
            time.sleep(0.2)
        assert urllib.request.urlopen(address[0], timeout=60).status == 200
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)
    assert not reached(tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("notebook", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebooks_are_run_without_the_network(tmp_path, notebook):
    shutil.copy(notebook, tmp_path)
    line = [sys.executable, "-m", "jupyter", "execute", notebook.name, "--timeout=1500"]
    done = subprocess.run(line, cwd=tmp_path, env=watched(tmp_path, loopback=True), capture_output=True, text=True)
    assert {line.split()[1] for line in reached(tmp_path)} == OTHER_TOOLS.get(notebook.stem, set())
    assert done.returncode == 0, done.stderr[-3000:]
