"""What `workbench app` and `workbench lab` write before they start a server: copies of notebooks, over nobody's."""

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

from workbench.cli import run as command
from workbench.commands.app import _copy


@pytest.fixture
def notebook(tmp_path):
    (tmp_path / "x.ipynb").write_text("{}")
    return tmp_path / "x.ipynb"


def test_notebooks_are_copied_once_and_those_that_are_there_are_served(notebook, tmp_path):
    folder = tmp_path / "app"
    _copy([notebook], folder)
    before = (folder / "x.ipynb").stat()
    _copy([notebook], folder)
    _copy([folder / "x.ipynb"], folder)
    assert (folder / "x.ipynb").read_text() == "{}" and (folder / "x.ipynb").stat() == before
    assert [file.name for file in folder.iterdir()] == ["x.ipynb"]


@pytest.mark.parametrize("through_a_link", [False, True])
def test_a_notebook_that_the_user_changed_is_kept(notebook, tmp_path, through_a_link, capsys):
    folder, (own, other) = tmp_path / "app", (tmp_path / "own.ipynb", tmp_path / "other.ipynb")
    folder.mkdir()
    other.write_text("{}")
    own.write_text('{"mine": 1}')
    if through_a_link:
        (folder / "x.ipynb").symlink_to(own)
    else:
        own.rename(folder / "x.ipynb")
    assert command(["app", str(other), str(notebook), "--folder", str(folder), "--no-browser"]) == 1
    error = " ".join(capsys.readouterr().err.split())
    assert f"{folder}/x.ipynb is kept, and differs from {notebook}" in error and "give another --folder" in error
    assert (folder / "x.ipynb").read_text() == '{"mine": 1}' and [file.name for file in folder.iterdir()] == ["x.ipynb"]


def test_nothing_is_written_through_a_link_that_leads_nowhere(notebook, tmp_path):
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "x.ipynb").symlink_to(tmp_path / "absent.ipynb")
    _copy([notebook], tmp_path / "app")
    assert (tmp_path / "app" / "x.ipynb").read_text() == "{}" and not (tmp_path / "absent.ipynb").exists()


def test_two_notebooks_of_one_name_are_refused(notebook, tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x.ipynb").write_text("{}")
    with pytest.raises(ValueError, match="several notebooks are named x.ipynb, and a folder holds one; rename the others"):
        _copy([notebook, tmp_path / "b" / "x.ipynb"], tmp_path / "app")
    assert not (tmp_path / "app").exists()


def _status(address):
    """Of a server that says where it is a moment before it listens."""
    end = time.monotonic() + 60
    while True:
        try:
            return urllib.request.urlopen(address, timeout=60).status
        except urllib.error.URLError as error:
            if not isinstance(error.reason, ConnectionRefusedError) or time.monotonic() > end:
                raise
            time.sleep(0.1)


@pytest.mark.parametrize("name", ["lab", "app"])
def test_an_address_of_ipv6_is_told_as_a_browser_takes_it(tmp_path, name):
    try:
        with socket.socket(socket.AF_INET6) as free:
            free.bind(("::1", 0))
            port = free.getsockname()[1]
    except OSError:
        pytest.skip("this machine has no loopback of IPv6")
    words = [name, "--ip", "::1", "--port", str(port), "--no-browser"]
    server = subprocess.Popen(
        [sys.executable, "-m", "workbench", *words], cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        told = ""
        while not (found := re.search(r"http://\S*:\d+/\S*token=\w+", told)):
            line = server.stderr.readline()
            assert line, told
            told += line
        assert found[0].startswith(f"http://[::1]:{port}/")
        assert _status(found[0]) == 200
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.communicate()


@pytest.mark.parametrize("port", ["-1", "65536", "99999999"])
@pytest.mark.parametrize("name", ["lab", "app"])
def test_a_port_that_cannot_be_is_refused(tmp_path, monkeypatch, capsys, name, port):
    monkeypatch.chdir(tmp_path)
    assert command([name, f"--port={port}", "--no-browser"]) == 2
    assert "Invalid value for '--port'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
