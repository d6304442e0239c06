"""Files and folders that are written whole: who may read them, and what stands in their way."""

import os
import stat

import pytest

from models.durable import open_to_append, write_file, write_folder, writing


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
