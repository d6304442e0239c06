"""A disk that is full or read-only: one sentence, nothing lost, and the same command goes on once there is room again."""

import subprocess
from pathlib import Path

import pytest

from probes.board_probe import load_probe, save_probe
from workbench.cli import run as command
from workbench.commands import lab

from ..probes.test_board_probe import probe_of
from .saved_whole import leftovers, require_equal_last, require_whole
from .test_kill import train_words


@pytest.fixture
def disk(tmp_path):
    """A disk of 256 kB: a tmpfs of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], capture_output=True).returncode:
        pytest.skip("this user cannot mount a tmpfs; run the tests as root for this one")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)  # a database may still be open


def remount(disk: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(disk)], check=True)


def one_sentence(capsys) -> str:
    """What the command said of its failure, without the progress bar."""
    lines = [line for line in capsys.readouterr().err.splitlines() if "workbench: " in line]
    assert len(lines) == 1
    return lines[0].split("workbench: ")[1]


def test_a_full_disk_loses_nothing_and_training_goes_on_when_there_is_room(disk, tmp_path, capsys):
    run, words = disk / "run", train_words(disk / "run", 20, 1)
    assert command(words) == 1
    error = one_sentence(capsys)
    assert "No space left on device" in error and str(run) in error and "free space or give another folder" in error
    kept = require_whole(run)
    assert kept == list(range(1, len(kept) + 1)) and 0 < len(kept) < 20
    assert leftovers(run) == []
    remount(disk, "size=4m")
    assert command(words) == 0
    assert command(train_words(tmp_path / "undisturbed", 20, 100)) == 0
    require_equal_last(run, tmp_path / "undisturbed")


def test_a_disk_that_fills_up_between_two_bytes_of_the_metrics_is_named(disk, tmp_path, capsys):
    words = train_words(disk / "run", 400, 400)
    words[words.index("--log-every") + 1] = "1"
    subprocess.run(["dd", "if=/dev/zero", f"of={disk}/filler", "bs=1k", "count=220"], check=True, capture_output=True)
    assert command(words) == 1
    error = one_sentence(capsys)
    assert "metrics.jsonl" in error and "No space left on device" in error
    (disk / "filler").unlink()
    assert command(words) == 0
    assert require_whole(disk / "run") == [400]
    assert command(train_words(tmp_path / "undisturbed", 400, 400)) == 0
    require_equal_last(disk / "run", tmp_path / "undisturbed")


FEW = ["--sequences", "4", "--format", "html"]
READ_ONLY = {
    "a new run": lambda disk: train_words(disk / "new", 3, 1),
    "a run to go on with": lambda disk: train_words(disk / "run", 5, 1),
    "a table": lambda disk: [
        *["compare", "--sequences", "4", "--lengths", "1:2", "--format", "html", "--out"],
        f"{disk}/t",
        f"{disk}/run",
    ],
    "a result": lambda disk: ["evaluate", f"{disk}/run", "--sequences", "4", "--json", f"{disk}/e.json"],
    "games": lambda disk: ["games", f"{disk}/games.txt", "--out", f"{disk}/out.txt"],
    "a certificate": lambda disk: ["certify", f"{disk}/run", "--json", f"{disk}/c.json"],
    "a certificate's figure": lambda disk: ["certify", f"{disk}/run", "--out", f"{disk}/new/c", "--format", "html"],
    "a probe": lambda disk: ["probe", "dispersion", f"{disk}/run", "--out", f"{disk}/d", *FEW],
    "an ablation": lambda disk: ["ablate", f"{disk}/run", "--out", f"{disk}/a", *FEW],
    "a sweep": lambda disk: ["bound", "--vocab", "5", "--steps", "1", "--seeds", "1", "--out", f"{disk}/b", "--format", "html"],
    "figures": lambda disk: ["figures", "--paper", "--out", f"{disk}/f", "--format", "html"],
    "a study": lambda disk: ["study", "set-complement-v16", "--out", f"{disk}/s", "--format", "html"],
    "a demo": lambda disk: ["demo", "--out", f"{disk}/demo"],
    "an import": lambda disk: ["import", f"{disk}/x.pth", "--out", f"{disk}/i"],
    "a small copy": lambda disk: ["bundle", f"{disk}/run", "--out", f"{disk}/small"],
    "an app": lambda disk: ["app", "--folder", f"{disk}/app"],
}


@pytest.mark.parametrize("words", READ_ONLY.values(), ids=READ_ONLY.keys())
def test_a_read_only_folder_is_told_before_any_work_and_what_was_there_stays_readable(disk, capsys, words):
    remount(disk, "size=4m")
    assert command(train_words(disk / "run", 2, 1)) == 0
    (disk / "games.txt").write_text("")
    capsys.readouterr()
    remount(disk, "ro")
    assert command(words(disk)) == 1
    told = capsys.readouterr()
    assert told.err.startswith(f"workbench: cannot write {disk}") and told.out == "", "something was done before"
    assert told.err.endswith("Read-only file system; free space or give another folder, what is there is unchanged\n")
    assert require_whole(disk / "run") == [1, 2]


def test_a_search_on_a_read_only_disk_is_one_sentence(disk, capsys):
    remount(disk, "ro")
    assert command(["search", "set-complement", "--vocab", "8", "--storage", f"sqlite:///{disk}/search.db"]) == 1
    error = one_sentence(capsys)
    assert f"cannot open the storage sqlite:///{disk}/search.db (unable to open database file); give sqlite:///FILE" in error


def test_a_search_on_a_full_disk_is_one_sentence_and_goes_on_when_there_is_room(disk, capsys, caplog):
    words = ["search", "set-complement", "--vocab", "8", "--steps", "5", "--sequences", "8", "--trials", "8"]
    words += ["--storage", f"sqlite:///{disk}/search.db"]
    remount(disk, "size=60k")
    assert command(words) == 1
    error = one_sentence(capsys)
    assert f"cannot open the storage sqlite:///{disk}/search.db (database or disk is full); free space" in error
    remount(disk, "size=4m")
    assert command([*words, "--minutes", "0"]) == 1
    remount(disk, f"size={(disk / 'search.db').stat().st_size + (1 << 14)}")
    capsys.readouterr()
    assert command(words) == 1
    error = one_sentence(capsys)
    assert "database or disk is full" in error and "the same command goes on once there is free space" in error
    assert "trying again" not in caplog.text  # as for a database that is away
    remount(disk, "size=4m")
    assert command(words) == 0


def test_a_lab_whose_notebooks_found_no_room_gets_them_whole_the_next_time(disk, tmp_path, monkeypatch):
    (tmp_path / "x.ipynb").write_bytes(b"x" * 100_000)
    monkeypatch.chdir(disk)
    monkeypatch.setattr(lab, "NOTEBOOKS", tmp_path)
    monkeypatch.setattr(lab, "_INSTALLED", tmp_path)
    remount(disk, "size=60k")
    with pytest.raises(OSError, match="cannot write notebooks/x.ipynb: No space left on device; free space"):
        lab._notebooks()
    remount(disk, "size=4m")
    assert (lab._notebooks() / "x.ipynb").read_bytes() == b"x" * 100_000
    (disk / "notebooks" / "x.ipynb").write_text("the user's")
    assert (lab._notebooks() / "x.ipynb").read_text() == "the user's" and leftovers(disk / "notebooks") == []
    monkeypatch.undo()  # or the folder is in use


def test_a_probe_is_replaced_whole_or_stays(disk):
    """First there is room for one more, then for none."""
    folder, old, new = disk / "probe", probe_of("closed-form"), probe_of("logistic")
    save_probe(folder, old)
    save_probe(folder, old)
    assert list(disk.iterdir()) == [folder]
    subprocess.run(["dd", "if=/dev/zero", f"of={disk}/filler", "bs=1k", "count=256"], capture_output=True)
    with pytest.raises(OSError, match="cannot write .*probe: No space left on device"):
        save_probe(folder, new)
    assert load_probe(folder).card.kind == "closed-form" and leftovers(disk) == []
    (disk / "filler").unlink()
    save_probe(folder, new)
    assert load_probe(folder).card.kind == "logistic" and list(disk.iterdir()) == [folder]
