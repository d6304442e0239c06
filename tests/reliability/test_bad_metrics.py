"""Spoilt and very long `metrics.jsonl`: read line by line, so that neither many lines nor a long one fill the memory."""

import json
from random import Random

import pytest

from models.durable import write_file
from workbench.run import METRICS_FILE, Run, RunRecord, read_metrics

from .held_to_limits import MEGABYTE, SECONDS, held
from .mutations import BYTES, ELSEWHERE, deep_json, lead_elsewhere
from .spoilt_files import counts, spoil_and_read
from .test_bad_checkpoints import config_of

ROWS = [
    {"step": step, "loss": 1 / step, "illegal_mass": 0.1, "learning_rate": 1e-3, "tokens_per_s": 1e5} for step in range(1, 21)
]
SOUND = "".join(json.dumps(row) + "\n" for row in ROWS).encode()


@counts(100)
def test_spoilt_metrics(tmp_path, count):
    """Lines that are not ours are passed over, so most of these files are read; every row is one, and has a step."""
    path, passed_over = tmp_path / METRICS_FILE, 0

    def spoil(random: Random) -> str:
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        path.unlink(missing_ok=True)
        path.write_bytes(SOUND)
        if random.random() < 0.4:
            lead_elsewhere(path, random.choice(ELSEWHERE))
            return "leads elsewhere"
        act = random.choice((*BYTES, deep_json))
        path.write_bytes(act(SOUND, random))
        return act.__name__

    def read() -> None:
        nonlocal passed_over
        rows = list(read_metrics(tmp_path))
        assert all(isinstance(row["step"], int) for row in rows)
        passed_over += len(rows) < len(ROWS)

    path.write_bytes(SOUND)
    spoil_and_read(count, "metrics", spoil, read)
    assert passed_over > count / 5


LONG = {
    "many lines": b'{"step": 1}\n',
    "many lines of no row": b"[1]\n",
    "many lines cut off": b'{"step":\n',
    "blank lines": b"\n",
    "one line": b" ",
    "one list": b"[1,",
    "one deep list": b"[",
    "carriage returns": b"\r",
}


@pytest.mark.parametrize(
    ("kind", "megabytes"), [*((kind, 2) for kind in LONG), pytest.param("many lines", 88, marks=pytest.mark.slow)]
)
def test_long_metrics_fill_no_memory(tmp_path, kind, megabytes):
    (tmp_path / METRICS_FILE).write_bytes(LONG[kind] * (megabytes * MEGABYTE // len(LONG[kind])))
    allowed = SECONDS + 2 * megabytes
    rows = held(lambda: sum(row["step"] for row in read_metrics(tmp_path)), allowed)
    assert rows.error is None
    rows.require_orderly(0)
    run = Run(tmp_path, RunRecord(config=config_of(tmp_path, 3), command="", versions={}))
    forgetting = held(lambda: run.forget_metrics_after(5), allowed)
    assert forgetting.error is None
    forgetting.require_orderly(megabytes * MEGABYTE)
    assert len((tmp_path / METRICS_FILE).read_bytes()) <= megabytes * MEGABYTE


def test_a_long_line_is_passed_over_and_the_next_one_read(tmp_path):
    long = json.dumps({"step": 2, "x": " " * 200_000}).encode()
    write_file(tmp_path / METRICS_FILE, b'{"step": 1}\n' + long + b'\n{"step": 3}\n{"step": 4}')
    assert [row["step"] for row in read_metrics(tmp_path)] == [1, 3, 4]
    run = Run(tmp_path, RunRecord(config=config_of(tmp_path, 3), command="", versions={}))
    run.forget_metrics_after(4)
    run.append_metrics({"step": 5})
    assert [row["step"] for row in read_metrics(tmp_path)] == [1, 3, 4, 5]
