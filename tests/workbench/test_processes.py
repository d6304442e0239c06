"""Several processes that train one run: real ones, over Gloo.

Most trainings here are in float64: then what two processes sum in halves differs from what one sums by less than 1e-12 after
all steps, and no tolerance hides a wrong mean, mask or batch. The last test is the command as users give it, in float32.
"""

import multiprocessing
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from models.checkpoint import read_card, read_weights, run_checkpoints
from models.transformer import GeneratorMasks
from workbench.config_options import config_from_options
from workbench.processes import ALONE, Processes, in_main_process, launched_processes
from workbench.run import read_metrics
from workbench.trainer import Trainer, step_batches
from workbench.training import _stops, train

OPTIONS = {"layers": 1, "heads": 2, "width": 8, "head_width": 4, "mlp_width": 16, "batch": 12, "log_every": 2, "save_every": 10}
OPTIONS |= {"board": 6, "dropout_embedding": 0.1, "dropout_attention": 0.2, "dropout_residual": 0.1}  # 6x6: many short games

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["workbench.training", "accelerate", "torch._dynamo", "models.othello.games"])
_TRAIN = """
import os, threading, torch
os.environ |= environment
torch.set_num_threads(1)
torch.set_default_dtype(torch.float64)
from workbench.config_options import config_from_options
from workbench.training import train

for job in jobs:
    stop = threading.Event()

    def on_log(trainer, row):
        if row["step"] == job.get("stop_at"):
            stop.set()
        if row["step"] == job.get("kill_at"):
            os.kill(os.getpid(), 9)

    train(config_from_options("othello", job["options"]), job["out"], stop=stop, on_log=on_log)
    assert stop.is_set() == ("stop_at" in job), "all processes are asked to stop"
"""


def launch(count: int, *jobs: dict) -> list[int]:
    """Trains in `count` processes joined up as `accelerate launch` and torchrun do it; returns their exit codes."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    started = []
    for index in range(count):
        ranks = {"RANK": str(index), "LOCAL_RANK": str(index), "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
        environment = ranks | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
        started.append(_SERVER.Process(target=exec, args=(_TRAIN, {"environment": environment, "jobs": jobs})))
        started[-1].start()
    for process in started:
        process.join(60)
    return [process.exitcode for process in started]


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """Runs of equal options that one process trains, two do, and one and two take turns at."""
    folder = tmp_path_factory.mktemp("runs")
    hard, soft = OPTIONS | {"steps": 20}, OPTIONS | {"steps": 8, "targets": "soft"}

    def job(name: str, options: dict = hard, **events: int) -> dict:
        return {"out": folder / name, "options": options} | events

    assert launch(1, job("hard-1"), job("soft-1", soft), job("hard-1-then-2", stop_at=6)) == [0]
    assert launch(2, job("hard-2"), job("soft-2", soft), job("hard-1-then-2"), job("hard-2-then-1", stop_at=6)) == [0, 0]
    assert launch(2, job("hard-killed-then-1", kill_at=16)) == [-signal.SIGKILL, 1]
    assert [read_card(saved).step for saved in run_checkpoints(folder / "hard-2-then-1")] == [6]
    assert launch(1, job("hard-2-then-1"), job("hard-killed-then-1")) == [0]
    return folder


def losses(run: Path) -> list[float]:
    return [row["loss"] for row in read_metrics(run)]


def final_weights(run: Path) -> dict[str, torch.Tensor]:
    return {
        f"{name}.{key}": value for name in ("raw", "ema") for key, value in read_weights(run_checkpoints(run)[-1], name).items()
    }


@pytest.mark.parametrize("name", ["hard-2", "soft-2", "hard-1-then-2", "hard-2-then-1", "hard-killed-then-1"])
def test_two_processes_train_what_one_does_also_in_turns(runs, name):
    alone = runs / f"{name[:4]}-1"
    assert losses(runs / name) == pytest.approx(losses(alone), rel=0, abs=1e-12)
    torch.testing.assert_close(final_weights(runs / name), final_weights(alone), rtol=0, atol=1e-9)


def test_checkpoints_and_lines_are_written_once_and_count_all_sequences(runs):
    assert [row["step"] for row in read_metrics(runs / "hard-2")] == [*range(2, 21, 2)]
    cards = [read_card(folder) for folder in run_checkpoints(runs / "hard-2")]
    assert [(card.step, card.sequences_seen) for card in cards] == [(10, 120), (20, 240)]
    assert {card.versions["device"] for card in cards} == {"cpu, 1 threads, 2 processes"}


def test_short_games_are_unequally_many_for_the_two():
    """Else the tests above would not see a mean of the two processes' means."""
    config = config_from_options("othello", OPTIONS)
    streams = [step_batches(config, Trainer(config).task, 1, Processes(index, 2)) for index in range(2)]
    padding = [[int((next(stream) == 0).sum()) for _ in range(20)] for stream in streams]
    assert padding[0] != padding[1]


def test_what_the_main_process_refuses_ends_all(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    assert launch(2, {"out": tmp_path, "options": OPTIONS}) == [1, 1]
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_batch_that_does_not_split_is_refused():
    with pytest.raises(ValueError, match="batch 12 does not split evenly over 5 processes; give a multiple of their number"):
        Trainer(config_from_options("othello", OPTIONS), Processes(0, 5))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_parts_of_a_batch_are_its_rows_in_order_without_overlap(count):
    config = config_from_options("othello", OPTIONS)
    task = Trainer(config).task
    streams = [step_batches(config, task, 3, Processes(index, count)) for index in range(count)]
    for step in (3, 4):
        parts = torch.cat([next(stream) for stream in streams])
        assert torch.equal(parts, task.sequences(config.seed, (step - 1) * 12, 12)[:, : config.train_length + 1])


def test_each_row_has_the_masks_that_it_has_with_one_process():
    like = torch.zeros(())
    draw = [Processes(index, 3).masks(GeneratorMasks(7)) for index in range(3)]
    whole = GeneratorMasks(7)
    for shape in [(2, 5), (2, 4, 3)]:
        parts = torch.cat([masks("residual", 0.5, torch.Size(shape), like) for masks in draw])
        assert torch.equal(parts, whole("residual", 0.5, torch.Size((6, *shape[1:])), like))


def test_nothing_is_joined_up_where_nothing_was_launched(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert launched_processes.__wrapped__("cpu") is ALONE
    assert in_main_process()
    code = "import sys, workbench.training as t; t.launched_processes('cpu'); sys.exit('accelerate' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_command_under_accelerate_launch(tmp_path):
    """The loss is a float32, at 3.5 spaced 2.4e-7, and the two sums of halves differ from the whole in the last bits."""
    words = shlex.split("train othello --board 6 --layers 1 --heads 2 --width 8 --head-width 4 --mlp-width 16 --batch 128")
    words += shlex.split("--steps 4000 --log-every 10 --save-every 100000")
    run = tmp_path / "run"
    accelerate = [str(Path(sys.executable).parent / "accelerate"), "launch", "--multi_gpu", "--num_processes", "2"]
    command = [*accelerate, "--main_process_port", "0", "-m", "workbench", *words, "--out", str(run)]
    launched = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    while not (run / "metrics.jsonl").exists() or len(list(read_metrics(run))) < 5:
        assert launched.poll() is None, launched.stderr.read()
        time.sleep(0.1)
    launched.send_signal(signal.SIGINT)
    output, _ = launched.communicate(timeout=60)
    assert output.count("stopped; the same command goes on") == 1
    (folder,) = run_checkpoints(run)
    step = read_card(folder).step
    config = config_from_options("othello", read_options(words) | {"steps": step})
    train(config, tmp_path / "alone")
    assert losses(run) == pytest.approx(losses(tmp_path / "alone")[: len(losses(run))], rel=0, abs=2e-6)
    rows = [{key: row[key] for key in row if key != "tokens_per_s"} for row in read_metrics(run)]
    assert rows[0]["illegal_mass"] == pytest.approx(list(read_metrics(tmp_path / "alone"))[0]["illegal_mass"], abs=1e-6)
    train(config.model_copy(update={"steps": step + 10}), run)
    assert read_card(run_checkpoints(run)[-1]).step == step + 10


def read_options(words: list[str]) -> dict:
    flags = words[2:]
    return {flag[2:].replace("-", "_"): int(value) for flag, value in zip(flags[::2], flags[1::2], strict=True)}


def test_who_is_asked_to_stop_once_all_agreed_to_go_on_goes_on_too():
    """A signal between the agreement and the step: the others are in the step already, and wait for this one."""
    stop = threading.Event()

    class Agreed(Processes):
        def any(self, flag):
            stop.set()
            return flag

    assert not _stops(stop, Agreed(0, 2))
    assert _stops(stop, Agreed(0, 2))
