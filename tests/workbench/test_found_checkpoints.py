"""Folders that nobody may look into. What is found elsewhere is in the tests of comparisons."""

import errno
from pathlib import Path

import pytest

from models.checkpoint import CheckpointError
from workbench.found_checkpoints import find_checkpoints

from .saved_runs import save_run


@pytest.mark.parametrize("name", ["", "locked"])
def test_a_folder_that_may_not_be_read_is_named(tmp_path, monkeypatch, name):
    """The user of the tests may read everything, so the refusal is the system's in words alone."""
    save_run(tmp_path, "run")
    (tmp_path / "locked").mkdir()
    look = Path.iterdir

    def refuse(folder):
        if folder == tmp_path / name:
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return look(folder)

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(CheckpointError, match=rf"looked for in '{tmp_path / name}' \(Permission denied\); make it readable"):
        find_checkpoints([tmp_path])
