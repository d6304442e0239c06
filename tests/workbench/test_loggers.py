"""Further logs, written by the real packages and read back."""

import io
import json
import os
import shlex
import struct
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from workbench import loggers
from workbench.cli import run as command
from workbench.config_options import config_from_options
from workbench.run import RunError, read_metrics
from workbench.training import train

WORDS = shlex.split("train set-complement --vocab 8 --width 16 --head-width 16 --batch 16 --steps 20 --log-every 5")


def small(**options):
    sizes = {"vocab": 8, "width": 16, "head_width": 16, "batch": 16, "steps": 20, "log_every": 5, "save_every": 10}
    return config_from_options("set-complement", sizes | options)


def scalars(run) -> dict[str, dict[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard"), purge_orphaned_data=True).Reload()
    return {tag: {event.step: event.value for event in events.Scalars(tag)} for tag in events.Tags()["scalars"]}


def assert_same_lines(run):
    logged = scalars(run)
    rows = list(read_metrics(run))
    assert logged.keys() == rows[0].keys() - {"step"}
    for tag, values in logged.items():
        assert values == {row["step"]: pytest.approx(row[tag], rel=1e-6) for row in rows}  # TensorBoard keeps float32


def test_tensorboard_has_the_lines_of_the_metrics_also_of_a_run_that_went_on(tmp_path):
    run = tmp_path / "run"

    def fail(trainer, row):
        if row["step"] == 15:
            raise KeyboardInterrupt  # 15 is logged, and 10 is the last step that was saved

    with pytest.raises(KeyboardInterrupt):
        train(small(), run, on_log=fail, loggers=["tensorboard"])
    assert set(scalars(run)["loss"]) == {5, 10, 15}
    train(small(steps=40), run, loggers=["tensorboard"])
    assert_same_lines(run)


def test_wandb_offline_keeps_the_lines_and_goes_on_under_one_id(tmp_path, monkeypatch):
    for name in ("CACHE", "CONFIG", "DATA", "ARTIFACT"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / "wandb-of-the-user"))
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    run, stop = tmp_path / "run", threading.Event()
    train(small(), run, stop=stop, on_log=lambda trainer, row: stop.set() if row["step"] == 10 else None, loggers=["wandb"])
    train(small(), run, loggers=["wandb"])
    sys.modules["wandb"].teardown()  # its service has then written all
    (identifier,) = {path.stem.removeprefix("run-") for path in run.glob("wandb/offline-run-*/*.wandb")}
    assert identifier == (run / "wandb-id").read_text()
    assert wandb_lines(run) == [
        {key: pytest.approx(value, rel=1e-9) for key, value in row.items()} for row in read_metrics(run)
    ]


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (os.mkfifo, "it is no plain file"),
        (os.mkdir, "it is no plain file"),
        (lambda path: path.symlink_to("/dev/zero"), "it is no plain file"),
        (lambda path: path.write_bytes(b"x" * 65), "it has 65 bytes, expected at most 64"),
        (lambda path: path.write_bytes(b"\xff\xfe"), "it is no ASCII text"),
    ],
    ids=["pipe", "folder", "device", "long", "bytes"],
)
def test_what_is_no_wandb_id_is_refused_and_none_waited_for(tmp_path, monkeypatch, spoil, problem):
    monkeypatch.setenv("WANDB_MODE", "offline")
    run = train(small(), tmp_path / "run")
    spoil(run / "wandb-id")
    with pytest.raises(RunError, match=f"cannot read .*wandb-id: {problem}; delete it to log under a new one"):
        train(small(steps=40), run, loggers=["wandb"])


def wandb_lines(run: Path) -> list[dict]:
    """The rows in wandb's own files: 7 bytes, then records (checksum, length, kind, protobuf) in one block of 32 KiB."""
    from wandb.proto.wandb_internal_pb2 import Record

    lines = []
    for file in sorted(run.glob("wandb/offline-run-*/*.wandb"), key=lambda path: path.stat().st_mtime_ns):
        data, place = file.read_bytes(), 7
        assert len(data) < 32768, "a second block would need more of the format"
        while place < len(data):
            _, length, kind = struct.unpack_from("<IHB", data, place)
            assert kind == 1, "a whole record"
            record = Record.FromString(data[place + 7 : place + 7 + length])
            items = {item.key or item.nested_key[0]: json.loads(item.value_json) for item in record.history.item}
            lines += [{key: value for key, value in items.items() if not key.startswith("_")}] if items else []
            place += 7 + length
    return lines


def test_wandb_without_a_login_is_one_sentence(tmp_path, monkeypatch, capsys):
    for name, value in {"HOME": tmp_path, "NETRC": tmp_path / "none", "WANDB_MODE": "online", "WANDB_SILENT": "true"}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setattr(sys, "stdin", io.StringIO())  # nobody to ask
    try:
        assert command([*WORDS, "--out", str(tmp_path / "run"), "--wandb"]) == 1
    finally:
        sys.modules["wandb"].teardown()
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("workbench: Weights & Biases refused the run (No API key")
    assert last.endswith("; run wandb login, or set WANDB_MODE=offline")


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_a_package_that_is_not_installed_is_one_sentence_before_anything_is_made(tmp_path, monkeypatch, capsys, name):
    monkeypatch.setattr(loggers, "find_spec", lambda wanted: None)
    assert command([*WORDS, "--out", str(tmp_path / "run"), f"--{name}"]) == 1
    expected = f"--{name} needs the package {name}, which is not installed; run pip install 'legal-tokens-workbench[loggers]'"
    assert capsys.readouterr().err == f"workbench: {expected}\n"
    assert not (tmp_path / "run").exists()


def test_unasked_neither_package_is_imported_and_no_connection_is_tried(tmp_path):
    code = (
        "import socket, sys\n"
        "def refuse(*arguments): raise AssertionError(f'a connection was tried: {arguments}')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "from workbench.cli import run\n"
        "code = run(sys.argv[1:])\n"
        "loaded = {'wandb', 'tensorboard', 'torch.utils.tensorboard', 'accelerate'} & set(sys.modules)\n"
        "sys.exit(code or (str(loaded) if loaded else 0))"
    )
    ended = subprocess.run([sys.executable, "-c", code, *WORDS, "--out", str(tmp_path / "run")], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert not list(tmp_path.rglob("*tensorboard*"))


def test_the_command_writes_tensorboard_files_without_a_connection(tmp_path, monkeypatch, capsys):
    import socket

    monkeypatch.setattr(socket.socket, "connect", lambda *arguments: pytest.fail("a connection was tried"))
    assert command([*WORDS, "--out", str(tmp_path / "run"), "--tensorboard"]) == 0
    assert_same_lines(tmp_path / "run")
