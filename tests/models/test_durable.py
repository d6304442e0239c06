"""Files and folders that are written whole: who may read them, and what stands in their way."""

import os
import stat
import subprocess
import sys

import pytest

from models.durable import open_to_append, replace_folder, write_file, write_folder, writing


@pytest.fixture(params=[0o000, 0o022, 0o027, 0o077])
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_what_is_written_has_the_users_umask(tmp_path, umask):
    write_file(tmp_path / "file", b"x")
    write_file(tmp_path / "file", b"again")
    write_folder(tmp_path / "in" / "folder", {"inside": b"x"})
    open_to_append(tmp_path / "lines").close()
    modes = {path.relative_to(tmp_path).as_posix(): stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    file, folder = 0o666 & ~umask, 0o777 & ~umask
    assert modes == {"file": file, "in": folder, "in/folder": folder, "in/folder/inside": file, "lines": file}


@pytest.mark.parametrize("deep", ["x", "x/y"])
def test_a_file_where_a_folder_is_to_be_is_named(tmp_path, deep):
    (tmp_path / "FILE").write_text("mine")
    for write in (lambda path: write_file(path, b""), lambda path: write_folder(path, {})):
        with pytest.raises(NotADirectoryError, match=r"^cannot write .*FILE/x.*(FILE is a file, expected|Not a dir).*; "):
            write(tmp_path / "FILE" / deep)
    with pytest.raises(NotADirectoryError, match="FILE is a file, expected a folder; give another"), writing(tmp_path):
        (tmp_path / "FILE").mkdir(exist_ok=True)
    assert [path.name for path in tmp_path.iterdir()] == ["FILE"]


def test_a_folder_that_exists_is_said_to_exist(tmp_path):
    with pytest.raises(FileExistsError, match="exists already; choose another folder or delete it first"):
        write_folder(tmp_path, {})


DIE_WHILE_WRITING = """
import os, pathlib, signal, sys
from models import durable
os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
durable.write_file(pathlib.Path(sys.argv[1], "file"), b"x")
"""
LIVE_WHILE_WRITING = """
import os, pathlib, sys
from models import durable
synced = os.fsync
def wait(descriptor):
    print("writing", flush=True)
    sys.stdin.readline()
    synced(descriptor)
    os.fsync = synced
os.fsync = wait
durable.write_folder(pathlib.Path(sys.argv[1], "folder"), {"inside": b"x"})
"""
MANY_WRITES = """
import pathlib, sys, time
from models import durable
folder, until = pathlib.Path(sys.argv[1]), time.monotonic() + 1.5
while time.monotonic() < until:
    durable.write_file(folder / "file", b"x")
    durable.replace_folder(folder / sys.argv[2], {"inside": b"x"})
"""


def test_what_a_killed_write_left_goes_with_the_next_one_and_what_is_another_file_stays(tmp_path):
    mine = {".writing-mine", ".writing-0123456789abcdef-old", ".writing-0123456789abcdef.txt", "writing-0123456789abcdef"}
    for name in mine:
        (tmp_path / name).write_text("precious")
    for _ in range(2):
        subprocess.run([sys.executable, "-c", DIE_WHILE_WRITING, str(tmp_path)], check=False)
    left = {path.name for path in tmp_path.iterdir()} - mine
    assert len(left) == 1 and left.pop().startswith(".writing-")  # the second of them has deleted the first's
    replace_folder(tmp_path / "folder", {"inside": b"x"})
    assert {path.name for path in tmp_path.iterdir()} == mine | {"folder"}


def test_what_another_process_is_still_writing_stays(tmp_path):
    writer = subprocess.Popen(
        [sys.executable, "-c", LIVE_WHILE_WRITING, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout.readline() == "writing\n"
    write_file(tmp_path / "file", b"y")
    assert [path.is_dir() for path in tmp_path.glob(".writing-*")] == [True]
    writer.communicate("\n")
    assert writer.returncode == 0 and sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_many_writers_in_one_folder_never_take_each_others_files(tmp_path):
    writers = [subprocess.Popen([sys.executable, "-c", MANY_WRITES, str(tmp_path), f"folder{n}"]) for n in range(4)]
    assert [writer.wait() for writer in writers] == [0] * 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", *(f"folder{n}" for n in range(4))]
