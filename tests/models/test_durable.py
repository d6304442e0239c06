"""Files and folders that are written whole: who may read them, and what stands in their way."""

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from models.durable import open_to_append, replace_folder, whole_folder, write_file, write_folder, writing


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
    with whole_folder(tmp_path / "whole") as temporary:
        write_folder(temporary / "in", {})
    modes = {path.relative_to(tmp_path).as_posix(): stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    file, folder = 0o666 & ~umask, 0o777 & ~umask
    assert modes == {"file": file, "in": folder, "in/folder": folder, "in/folder/inside": file, "lines": file} | {
        "whole": folder,
        "whole/in": folder,
    }


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


def test_a_folder_that_is_filled_has_its_name_at_the_end_alone_and_takes_nobody_elses(tmp_path):
    folder = tmp_path / "folder"
    with pytest.raises(KeyError), whole_folder(folder) as temporary:
        write_file(temporary / "inside", b"x")
        raise KeyError
    assert list(tmp_path.iterdir()) == []
    with whole_folder(folder) as temporary:
        write_file(temporary / "inside", b"x")
        assert not folder.exists()
    assert [path.name for path in tmp_path.rglob("*")] == ["folder", "inside"]
    with pytest.raises(FileExistsError, match="exists already; choose another"), whole_folder(folder) as temporary:
        write_file(temporary / "inside", b"y")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"] and (folder / "inside").read_bytes() == b"x"
    with pytest.raises(OSError, match=r"^cannot write .*/nowhere/.*No such file"), whole_folder(tmp_path / "nowhere" / "x"):
        pass


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
    mine.add(".writing-0123456789abcdef")  # of another host, which may be alive: not every file system's locks hold there
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


@pytest.fixture
def order(tmp_path, monkeypatch):
    """What was synced and renamed in `tmp_path`, in that order; files with the bytes they had by then."""
    done, sync = [], os.fsync

    def named(path):
        relative = Path(path).relative_to(tmp_path).as_posix()
        return re.sub(r"\.writing-[0-9a-f]{16}", "temporary", relative)

    def recorded_sync(descriptor):
        opened = os.fstat(descriptor)
        path = next(path for path in (tmp_path, *tmp_path.rglob("*")) if os.path.samestat(path.stat(), opened))
        done.append(f"sync {named(path)}" + (f" with {opened.st_size} bytes" if path.is_file() else ""))
        sync(descriptor)

    def recorded(rename):
        def act(source, target, **options):
            done.append(f"rename {named(source)} {named(target)}")
            rename(source, target, **options)

        return act

    monkeypatch.setattr(os, "fsync", recorded_sync)
    monkeypatch.setattr(os, "rename", recorded(os.rename))
    monkeypatch.setattr(os, "replace", recorded(os.replace))
    return done


def test_a_file_is_on_disk_before_it_gets_its_name_and_its_name_before_it_is_reported_written(tmp_path, order):
    for data in (b"xyz", b"longer"):  # a new one, and one in its place
        write_file(tmp_path / "file", data)
        assert order == [f"sync temporary with {len(data)} bytes", "rename temporary file", "sync ."]
        order.clear()


WRITTEN_FOLDER = ["sync temporary/a with 3 bytes", "sync temporary/b with 1 bytes", "sync temporary"]


@pytest.mark.parametrize("write", [write_folder, replace_folder])
def test_so_is_a_folder_with_all_that_is_in_it(tmp_path, order, write):
    write(tmp_path / "folder", {"a": b"xyz", "b": b"x"})
    assert order == [*WRITTEN_FOLDER, "rename temporary folder", "sync ."]


def test_a_folder_makes_way_for_another_only_once_that_is_on_disk(tmp_path, order):
    write_folder(tmp_path / "folder", {"a": b"1", "b": b"2"})
    order.clear()
    replace_folder(tmp_path / "folder", {"a": b"xyz", "b": b"x"})
    assert order == [*WRITTEN_FOLDER, "rename folder temporary-old", "rename temporary folder", "sync ."]


def test_a_folder_that_is_filled_is_on_disk_before_it_gets_its_name(tmp_path, order):
    with whole_folder(tmp_path / "folder") as temporary:
        write_file(temporary / "inside", b"xyz")
    written = ["sync temporary/temporary with 3 bytes", "rename temporary/temporary temporary/inside", "sync temporary"]
    assert order == [*written, "sync temporary", "rename temporary folder", "sync ."]
