"""A folder that one process writes is no other's, whatever the command; who died, or wrote something else, is told apart."""

import os
import socket
import subprocess
import sys

import pytest

from workbench.cli import run
from workbench.folder_lock import LOCK_FILE, FolderError, held_alone

from .saved_runs import save_run

HOLD = (
    "import pathlib, sys\nfrom workbench.folder_lock import held_alone\n"
    "with held_alone(pathlib.Path(sys.argv[1])):\n    print('held', flush=True)\n    sys.stdin.read()"
)


@pytest.fixture
def first(tmp_path):
    """Another process that holds `out`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "out")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.communicate()


@pytest.mark.parametrize("command", ["compare RUN", "ablate RUN", "bundle RUN", "demo"])
def test_a_second_command_is_refused_naming_the_first_then_let_in(tmp_path, first, capsys, command):
    small = [] if command in ("demo", "bundle RUN") else ["--sequences", "4", "--format", "html"]
    words = [*command.replace("RUN", str(save_run(tmp_path, "run"))).split(), *small, "--out", str(tmp_path / "out")]
    (tmp_path / "run" / "run.json").write_text("{}")
    assert run(words) == 1
    holder = f"process {first.pid} on {socket.gethostname()}"
    assert (
        capsys.readouterr().err.splitlines()[-1]
        == f"workbench: {tmp_path}/out is being written by {holder}; wait for it or stop it"
    )
    assert [file.name for file in (tmp_path / "out").iterdir()] == [LOCK_FILE]
    if command != "demo":  # it takes its time
        first.kill()
        first.wait()
        assert (tmp_path / "out" / LOCK_FILE).read_text() == holder
        assert run(words) == 0
        assert LOCK_FILE not in [file.name for file in (tmp_path / "out").iterdir()]


def test_folders_that_were_made_and_stay_empty_go_again(tmp_path):
    (tmp_path / "mine").mkdir()
    for folder in (tmp_path / "a" / "b", tmp_path / "mine"):
        with pytest.raises(KeyError), held_alone(folder):
            raise KeyError
    assert [path.name for path in tmp_path.rglob("*")] == ["mine"]
    with held_alone(tmp_path / "a" / "b"):
        (tmp_path / "a" / "x").touch()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["x"]


@pytest.mark.parametrize("mine", [b"precious", b"\xff\xfe\x00", b"x" * 10_000])
def test_a_file_of_somebody_else_of_that_name_is_kept(tmp_path, mine):
    (tmp_path / LOCK_FILE).write_bytes(mine)
    with pytest.raises(FolderError, match=r"run.lock is no lock of ours; give another folder"), held_alone(tmp_path):
        pass
    assert (tmp_path / LOCK_FILE).read_bytes() == mine


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/null"), os.mkdir])
def test_what_is_no_file_is_no_lock(tmp_path, make):
    make(tmp_path / LOCK_FILE)
    with pytest.raises(OSError, match=r"cannot write .*run.lock: "), held_alone(tmp_path):
        pass


def test_many_who_come_and_go_never_hold_it_together(tmp_path):
    """Each deletes the lock at its end, which others may have opened just before."""
    come_and_go = (
        "import os, pathlib, sys, time\nfrom workbench.folder_lock import FolderError, held_alone\n"
        "folder, held, until = pathlib.Path(sys.argv[1]), 0, time.monotonic() + 1.5\n"
        "while time.monotonic() < until:\n"
        "    try:\n"
        "        with held_alone(folder):\n"
        "            os.close(os.open(folder / 'alone', os.O_CREAT | os.O_EXCL))\n"
        "            held += 1\n"
        "            os.unlink(folder / 'alone')\n"
        "    except FolderError:\n"
        "        pass\n"
        "sys.exit(held == 0)\n"
    )
    tmp_path.joinpath("keep").touch()
    processes = [subprocess.Popen([sys.executable, "-c", come_and_go, str(tmp_path)]) for _ in range(4)]
    assert [process.wait() for process in processes] == [0] * 4
