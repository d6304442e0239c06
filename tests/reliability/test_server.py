"""`workbench lab` and `workbench app` listen on loopback alone and let nobody in without the token.

That the app shows its notebooks to whoever has the token is in tests/browser/test_app.py.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from workbench.cli import run as command


@pytest.mark.parametrize("ip", ["0.0.0.0", "::", "192.168.1.2", "10.0.0.1", "8.8.8.8", "169.254.1.1", "2001:db8::1"])
@pytest.mark.parametrize("name", ["lab", "app"])
def test_an_address_that_others_reach_is_refused(tmp_path, monkeypatch, capsys, name, ip):
    monkeypatch.chdir(tmp_path)
    assert command([name, "--ip", ip, "--no-browser"]) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert f"--ip {ip} lets other machines in" in error and "add --i-know" in error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ip", ["", "*", "example.org", "127.0.0.1.", "127.0.0.1 0.0.0.0", "0", "1e3", "٣.0.0.1"])
@pytest.mark.parametrize("name", ["lab", "app"])
def test_what_is_no_address_is_refused(tmp_path, monkeypatch, capsys, name, ip):
    """`*` and nothing at all mean every address to Jupyter."""
    monkeypatch.chdir(tmp_path)
    assert command([name, f"--ip={ip}", "--i-know", "--no-browser"]) == 2
    assert f"expected an address such as 127.0.0.1 (got {ip})" in capsys.readouterr().err.replace("\n", " ")
    assert not list(tmp_path.iterdir())


OPEN = '{"IdentityProvider": {"token": ""}, "Voila": {"token": "", "ip": "0.0.0.0"}}'


def test_lab_refuses_where_the_users_configuration_switches_the_token_off(tmp_path):
    (tmp_path / "jupyter_server_config.json").write_text(OPEN)
    done = subprocess.run(
        [sys.executable, "-m", "workbench", "lab", str(tmp_path), "--no-browser"],
        env=os.environ | {"JUPYTER_CONFIG_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("workbench: your Jupyter configuration switches off the token")


@pytest.fixture(params=["lab", "app"])
def server(request, tmp_path) -> Iterator[tuple[psutil.Process, int, str]]:
    """A running server: its process, its port and its token."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "voila.json").write_text(OPEN)  # neither is asked
    for name in ("voila.py", "jupyter_server_config.py", "jupyter_lab_config.py"):
        (tmp_path / name).write_text("from pathlib import Path; Path('ran').touch()")
    log = tmp_path / "server.log"
    words = [request.param, "--port", str(port), "--no-browser"]
    with log.open("wb") as file:
        process = subprocess.Popen(
            [Path(sys.executable).with_name("workbench"), *words],
            cwd=tmp_path,
            stdout=file,
            stderr=file,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            start_new_session=True,  # it starts a server, which must end with it
        )
    try:
        yield psutil.Process(process.pid), port, _token(process, port, log)
        assert not (tmp_path / "ran").exists()
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def _token(process: subprocess.Popen, port: int, log: Path) -> str:
    """The token of a server, which is in its log once it is up."""
    end = time.monotonic() + 120
    while not (found := re.search(rf"http://127\.0\.0\.1:{port}/\S*\?token=(\w+)", log.read_text())):
        assert process.poll() is None and time.monotonic() < end, log.read_text()[-2000:]
        time.sleep(0.2)
    return found[1]


def _listened_at(process: psutil.Process) -> list:
    """Addresses; of a helper of the server's that has just ended, none."""
    try:
        return [one.laddr for one in process.net_connections() if one.status == psutil.CONN_LISTEN]
    except psutil.NoSuchProcess:
        return []


def status(address: str) -> int:
    class NoRedirects(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_):
            return None

    try:
        return urllib.request.build_opener(NoRedirects).open(address, timeout=30).status
    except urllib.error.HTTPError as refused:
        return refused.code


@pytest.mark.slow
def test_a_server_listens_on_loopback_alone_and_keeps_the_token(server):
    process, port, token = server
    listening = [address for one in [process, *process.children(recursive=True)] for address in _listened_at(one)]
    assert port in {address.port for address in listening}
    assert {address.ip for address in listening} <= {"127.0.0.1", "::1"}
    assert len(token) >= 32
    for path in ("", "tree", "lab", "api/contents", "api/kernels", "api/sessions", "voila/render/x.ipynb", "files/x"):
        plain, wrong = status(f"http://127.0.0.1:{port}/{path}"), status(f"http://127.0.0.1:{port}/{path}?token={token[:-1]}x")
        assert {plain, wrong} <= {302, 401, 403, 404}, path
    assert status(f"http://127.0.0.1:{port}/?token={token}") in (200, 302)


WATCHED = """
import sys

def watch(event, arguments):
    names = {"socket.getaddrinfo": arguments[:1], "socket.connect": arguments[1:2]}.get(event, ())
    for name in names:
        host = name[0] if isinstance(name, tuple) else name
        if event == "socket.getaddrinfo" or isinstance(name, tuple):  # others are Unix sockets
            print("reached for", host, file=sys.stderr, flush=True)

sys.addaudithook(watch)
from workbench.cli import main
main()
"""


def test_lab_asks_neither_for_updates_nor_for_news_nor_for_extensions(tmp_path):
    """As its page does on loading, once the user has said yes to the news."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path / "server.log"
    with log.open("wb") as file:
        words = [sys.executable, "-c", WATCHED, "lab", str(tmp_path), "--port", str(port), "--no-browser"]
        process = subprocess.Popen(words, cwd=tmp_path, stdout=file, stderr=file, start_new_session=True)
    try:
        address = f"http://127.0.0.1:{port}/lab"
        token = _token(process, port, log)
        assert _answer(f"{address}/api/update?token={token}") == {"notification": None}
        assert _answer(f"{address}/api/news?token={token}") == {"news": []}
        _answer(f"{address}/api/extensions?query=plotly&refresh=1&token={token}")
        assert '"can_install": false' in urllib.request.urlopen(f"{address}?token={token}", timeout=60).read().decode()
        hosts = set(re.findall(r"reached for (\S+)", log.read_text()))
        assert hosts <= {"127.0.0.1", "::1", "localhost", "None"}
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def _answer(address: str) -> object:
    with urllib.request.urlopen(address, timeout=60) as answer:
        return json.load(answer)
