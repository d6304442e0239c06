import json
import math
import os
import subprocess
import sys
import threading
from contextlib import suppress

import pytest
import torch

from models.checkpoint import CheckpointError, read_card, read_weights, run_checkpoints
from workbench.config_options import config_from_options
from workbench.folder_lock import FolderError
from workbench.run import Run, RunError, RunRecord, read_metrics, read_run
from workbench.trainer import Trainer, step_batches
from workbench.training import train


def small(**options):
    return config_from_options(
        "set-complement",
        {"vocab": 8, "width": 16, "head_width": 16, "batch": 32, "steps": 60, "save_every": 20, "log_every": 10} | options,
    )


def files(run):
    return {path.relative_to(run): path.read_bytes() for path in run.rglob("*") if path.suffix in (".safetensors", ".json")}


def test_it_learns_the_task(tmp_path):
    run = train(
        small(vocab=6, train_length=5, steps=1500, batch=128, learning_rate=3e-3, save_every=1500, log_every=100),
        tmp_path / "run",
    )
    rows = list(read_metrics(run))
    assert rows[0]["illegal_mass"] > 0.1
    assert rows[-1]["illegal_mass"] < 0.02
    assert rows[-1]["loss"] == pytest.approx(sum(math.log(6 - s) for s in range(1, 6)) / 5, abs=0.03)


def test_a_run_holds_what_the_house_says(tmp_path):
    run = train(small(dropout_attention=0.1), tmp_path / "run")
    assert [folder.name for folder in run_checkpoints(run)] == ["step_00000020", "step_00000040", "step_00000060"]
    card = read_card(run_checkpoints(run)[-1])
    assert card.sequences_seen == 60 * 32
    assert card.dropout_kernel == "explicit masks"
    assert card.averaging.schedule == "constant"
    assert [row["step"] for row in read_metrics(run)] == [10, 20, 30, 40, 50, 60]
    assert read_run(run).config == small(dropout_attention=0.1)
    raw, ema, bema = (read_weights(run_checkpoints(run)[-1], name) for name in ("raw", "ema", "bema"))
    assert all(not torch.equal(raw["embed.W_E"], other["embed.W_E"]) for other in (ema, bema))


@pytest.mark.parametrize("targets", ["hard", "soft"])
@pytest.mark.parametrize(
    "options", [{}, {"dropout_embedding": 0.1, "dropout_attention": 0.2, "dropout_residual": 0.3}], ids=["none", "all"]
)
def test_a_stopped_run_ends_bit_identical_to_an_undisturbed_one(tmp_path, targets, options):
    config = small(targets=targets, **options)
    whole = train(config, tmp_path / "whole" / "run")
    stop = threading.Event()
    train(config, tmp_path / "parts" / "run", stop=stop, on_log=lambda trainer, row: stop.set() if row["step"] == 30 else None)
    parts = tmp_path / "parts" / "run"
    assert [folder.name for folder in run_checkpoints(parts)] == ["step_00000020", "step_00000030"]
    train(config, parts)
    last = "checkpoints/step_00000060"
    for path in (whole / last).iterdir():
        assert path.read_bytes() == (parts / last / path.name).read_bytes(), path.name
    strip = [{key: value for key, value in row.items() if key != "tokens_per_s"} for row in read_metrics(whole)]
    assert [{key: value for key, value in row.items() if key != "tokens_per_s"} for row in read_metrics(parts)] == strip


def test_an_exception_in_a_step_leaves_a_run_that_goes_on(tmp_path):
    config = small()

    def fail(trainer, row):
        if row["step"] == 50:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "run", on_log=fail)
    train(config, tmp_path / "run")
    whole = train(config, tmp_path / "whole" / "run")
    last = "checkpoints/step_00000060/raw.safetensors"
    assert (tmp_path / "run" / last).read_bytes() == (whole / last).read_bytes()


def test_a_run_killed_right_after_step_0_goes_on(tmp_path):
    stop = threading.Event()
    stop.set()
    config = small(save_at="0,5", steps=20)
    train(config, tmp_path / "run", stop=stop)
    assert [read_card(folder).step for folder in run_checkpoints(tmp_path / "run")] == [0]
    train(config, tmp_path / "run")
    assert [read_card(folder).step for folder in run_checkpoints(tmp_path / "run")] == [0, 5, 20]


def test_fewer_steps_than_a_run_has_are_refused(tmp_path):
    run = train(small(steps=40), tmp_path / "run")
    before = files(run)
    with pytest.raises(RunError, match="is at step 40 already, beyond the 20 asked for"):
        train(small(steps=20), run)
    assert files(run) == before


def test_diverged_weights_are_never_saved(tmp_path):
    with pytest.raises(FloatingPointError, match="training diverged"):
        train(small(learning_rate=1e30, warmup=0, gradient_clip=1e9, log_every=60, save_every=10), tmp_path / "run")
    for folder in run_checkpoints(tmp_path / "run"):
        assert all(bool(value.isfinite().all()) for value in read_weights(folder, "raw").values())


def test_more_steps_go_on_with_a_finished_run(tmp_path):
    train(small(), tmp_path / "run")
    train(small(steps=80), tmp_path / "run")
    assert read_card(run_checkpoints(tmp_path / "run")[-1]).step == 80
    assert list(read_metrics(tmp_path / "run"))[-1]["step"] == 80


def test_a_gpu_that_is_not_there_is_one_sentence_whose_remedy_holds(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    told = "device cuda was asked for and torch finds no GPU; use --device cpu or install a CUDA build of torch"
    with pytest.raises(RuntimeError, match=told):
        train(small(device="cuda"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert read_card(run_checkpoints(train(small(device="cpu", steps=10), tmp_path / "run"))[-1]).step == 10


def test_another_configuration_is_refused_by_name(tmp_path):
    train(small(steps=20), tmp_path / "run")
    before = files(tmp_path / "run")
    with pytest.raises(RunError, match="another configuration .*seed: 0 -> 1.*give the same options"):
        train(small(steps=20, seed=1), tmp_path / "run")
    with pytest.raises(RunError, match="steps: 20 -> 30"):
        train(small(steps=20, schedule="cosine"), tmp_path / "cosine")
        train(small(steps=30, schedule="cosine"), tmp_path / "cosine")
    assert files(tmp_path / "run") == before


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(RunError, match="holds files that are no run of ours"):
        train(small(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("name", ["run.lock", "run.json"])
def test_a_folder_with_another_programs_file_of_that_name_is_left_alone(tmp_path, name):
    for file in (name, "thesis.tex", ".writing-mine"):
        (tmp_path / file).write_text("precious")
    with pytest.raises(RunError, match="holds files that are no run of ours|run.json"):
        train(small(), tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == dict.fromkeys(
        (name, "thesis.tex", ".writing-mine"), "precious"
    )


def test_a_checkpoint_of_another_training_is_not_gone_on_with(tmp_path):
    run, other = (train(small(steps=20 + 20 * seed, seed=seed), tmp_path / f"seed{seed}") for seed in (0, 1))
    theirs = run_checkpoints(other)[-1]
    (run / "checkpoints" / theirs.name).mkdir()
    for file in theirs.iterdir():
        (run / "checkpoints" / theirs.name / file.name).write_bytes(file.read_bytes())
    with pytest.raises(RunError, match="step_00000040|seed: 1 -> 0.*delete that checkpoint"):
        train(small(steps=60), run)
    (other / "run.json").unlink()
    with pytest.raises(RunError, match=r"is not of this training \(.*learning_rate: 0.001 -> 0.5.*delete that checkpoint"):
        train(small(steps=60, seed=1, learning_rate=0.5), other)
    assert read_card(run_checkpoints(train(small(steps=60, seed=1), other))[-1]).step == 60


def test_a_checkpoint_under_the_name_of_another_step_is_not_gone_on_with(tmp_path):
    run = train(small(steps=40), tmp_path / "run")
    run_checkpoints(run)[-2].rename(run / "checkpoints" / "step_00000050")
    with pytest.raises(RunError, match="step_00000050 holds step 20 of training .* says step 20; give it its own name"):
        train(small(), run)


def test_what_is_no_run_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="file is a file; give a folder for the run"):
        train(small(), tmp_path / "file")
    with pytest.raises(RunError, match="cannot read .*run.json: No such file or directory; give a folder made by"):
        read_run(tmp_path)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(RunError, match=r"run.json is no valid run record \(config: Field required\); restore it or"):
        read_run(tmp_path)


def test_a_second_writer_is_refused_naming_the_first(tmp_path):
    hold = (
        "import pathlib, sys\nfrom workbench.run import *\nfrom workbench.config_options import config_from_options\n"
        "record = RunRecord(config=config_from_options('set-complement', {'vocab': 8}), command='', versions={})\n"
        "with open_run(pathlib.Path(sys.argv[1]), record):\n    print('held', flush=True)\n    sys.stdin.read()"
    )
    first = subprocess.Popen(
        [sys.executable, "-c", hold, str(tmp_path / "run")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert first.stdout.readline() == "held\n"
        with pytest.raises(FolderError, match=f"is being written by process {first.pid} on "):
            train(small(), tmp_path / "run")
    finally:
        first.communicate()


def test_leftovers_of_a_kill_are_removed(tmp_path):
    run = train(small(steps=20), tmp_path / "run")
    for folder in (run, run / "checkpoints"):
        (folder / ".writing-0123456789abcdef").mkdir()
        (folder / ".writing-0123456789abcdef" / "raw.safetensors").write_bytes(b"half")
    (run / "metrics.jsonl").open("a").write('{"step": 30, "lo')
    train(small(), run)
    assert not list(run.rglob(".writing-*"))
    assert [row["step"] for row in read_metrics(run)] == [10, 20, 30, 40, 50, 60]


def test_a_loss_that_is_not_finite_is_an_error_that_keeps_what_was_saved(tmp_path):
    with pytest.raises(FloatingPointError, match=r"training diverged: at step .* learning rate below 1e\+30"):
        train(small(learning_rate=1e30, warmup=25, gradient_clip=1e9, save_at="1"), tmp_path / "run")
    assert [read_card(folder).step for folder in run_checkpoints(tmp_path / "run")] == [1]


def test_batches_are_the_tasks_sequences_in_order():
    config = small(train_length=3)
    trainer = Trainer(config)
    batches = step_batches(config, trainer.task, first_step=5)
    expected = trainer.task.sequences(config.seed, 4 * 32, 64)[:, :4]
    assert torch.equal(torch.cat([next(batches), next(batches)]), expected)


def test_soft_targets_have_the_gradient_of_the_mean_over_legal_tokens():
    config = small(targets="soft", train_length=4)
    trainer = Trainer(config)
    batch = next(step_batches(config, trainer.task, 1))
    logits = torch.randn(32, 4, 8, generator=torch.Generator().manual_seed(0), requires_grad=True)
    trainer._loss(logits, batch).backward()
    legal = trainer.task.legal(batch[:, :-1]).float()
    expected = (logits.detach().softmax(dim=-1) - legal / legal.sum(dim=-1, keepdim=True)) / (32 * 4)
    torch.testing.assert_close(logits.grad, expected)


def test_learning_rate_schedules():
    constant = small(warmup=10, learning_rate=0.5)
    assert [constant.learning_rate_at(step) for step in (1, 5, 10, 60)] == [0.05, 0.25, 0.5, 0.5]
    cosine = small(warmup=10, learning_rate=0.5, schedule="cosine")
    assert [cosine.learning_rate_at(step) for step in (10, 35, 60)] == pytest.approx([0.5, 0.25, 0.0])


def test_a_games_padding_is_not_learnt(tmp_path):
    config = config_from_options(
        "othello", {"layers": 1, "heads": 1, "width": 8, "head_width": 8, "mlp_width": 8, "steps": 1, "batch": 4}
    )
    trainer = Trainer(config)
    batch = next(step_batches(config, trainer.task, 1)).clone()
    logits = torch.zeros(4, config.train_length, 61)
    full = trainer._loss(logits, batch)
    batch[:, 30:] = 0
    changed = logits.clone()
    changed[:, 30:] = torch.randn(4, config.train_length - 30, 61)
    assert float(trainer._loss(changed, batch)) == pytest.approx(float(full), rel=1e-6)


def test_soft_targets_leave_out_where_a_game_is_over():
    shape = {"layers": 1, "heads": 1, "width": 8, "head_width": 8, "mlp_width": 8}
    config = config_from_options("othello", {"board": 6, "targets": "soft", "steps": 1, "batch": 64} | shape)
    trainer = Trainer(config)
    batch = next(step_batches(config, trainer.task, 1))
    legal = trainer.task.legal(batch[:, :-1])
    assert not legal.any(-1).all()
    logits = torch.randn(legal.shape, generator=torch.Generator().manual_seed(0))
    log_probability = logits.log_softmax(-1)
    each = [-log_probability[row, at, legal[row, at]].mean() for row, at in legal.any(-1).nonzero().tolist()]
    assert float(trainer._loss(logits, batch)) == pytest.approx(float(torch.stack(each).mean()), rel=1e-6)


def test_the_command_on_the_card_makes_the_configuration_again(tmp_path):
    config = small(dropout_residual=0.1, save_at="3,5", final_norm=True, targets="soft")
    run = train(config.model_copy(update={"steps": 1}), tmp_path / "run")
    command = read_card(run_checkpoints(run)[-1]).command
    assert command.startswith("workbench train set-complement --out run --vocab 8 ")
    assert "--final-norm" in command
    assert json.loads((run / "run.json").read_text())["command"] == command


@pytest.mark.parametrize("name", ["run.lock", "metrics.jsonl"])
def test_nothing_is_written_through_a_link_or_into_a_pipe(tmp_path, name):
    mine, run = tmp_path / "mine.txt", train(small(steps=10), tmp_path / "run")
    mine.write_text("mine")
    (run / name).unlink(missing_ok=True)
    (run / name).symlink_to(mine)
    with suppress(OSError):  # a lock that is a link is refused, metrics that are one are replaced
        train(small(steps=20), run)
    assert mine.read_text() == "mine"
    (run / name).unlink()
    os.mkfifo(run / name)
    with pytest.raises((OSError, RunError)):
        train(small(steps=20), run)


def test_half_a_checkpoint_is_named_before_any_work(tmp_path):
    run = train(small(steps=10), tmp_path / "run")
    (run / "checkpoints" / "step_00000020").mkdir()
    with pytest.raises(CheckpointError, match="step_00000020 is a checkpoint without card.json"):
        train(small(steps=20), run)


def test_metrics_of_a_foreign_line_are_dropped(tmp_path):
    run = Run(tmp_path, RunRecord(config=small(), command="", versions={}))
    run.append_metrics({"step": 1})
    run.append_metrics({"step": 9})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('[1]\n{"step": "two"}\n{"step": 1')
    assert list(read_metrics(tmp_path)) == [{"step": 1}, {"step": 9}]
    run.forget_metrics_after(5)
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1}\n'
