"""The one training loop: makes a run folder from a `TrainingConfig`, or goes on with one."""

import math
import shlex
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from tqdm.auto import tqdm

from models.checkpoint import Card, read_trainer, read_weights, run_checkpoints, save_checkpoint
from workbench.cli_options import command_options
from workbench.metrics import position_metrics
from workbench.run import Run, RunError, RunRecord, open_run, package_versions
from workbench.trainer import Trainer, step_batches
from workbench.training_config import TrainingConfig

LOGGED_SEQUENCES = 64
"""How many sequences of the present batch the logged illegal mass is measured on."""

Row = dict[str, float | int]


def train(
    config: TrainingConfig,
    out: Path,
    *,
    stop: threading.Event | None = None,
    on_log: Callable[[Trainer, Row], None] | None = None,
    progress: bool = False,
) -> Path:
    """Trains one model to `config.steps`, from where the run `out` was left if it exists; returns the run folder.

    Checkpoints hold raw, ema and bema. The same configuration gives the same bits on the same machine and thread count, however
    often it was interrupted.

    Args:
        config: the run; a field that differs from an existing run's is an error, but for `steps` and when to save and log.
        out: the run folder.
        stop: set it from another thread or a signal handler to save a checkpoint and return after the present step.
        on_log: called at every logged step with the trainer and the line written to `metrics.jsonl`.
        progress: show a bar with loss, illegal mass, tokens a second and time left.

    Raises:
        RunError: `out` cannot be used for this run.
        FloatingPointError: the loss is no longer finite; what was saved before stays.
    """
    stop = stop or threading.Event()
    with (
        _threads(config.threads),
        open_run(out, RunRecord(config=config, command=command_line(config, out), versions=package_versions())) as run,
    ):
        trainer = Trainer(config)
        _resume(trainer, run)
        run.write_record()
        bar = tqdm(total=config.steps, initial=trainer.step, unit="step", disable=not progress, desc=out.name)
        if trainer.step == 0 and config.saves(0) and not run.checkpoint_folder(0).exists():
            _save(trainer, run)
        batches = step_batches(config, trainer.task, trainer.step + 1)
        clock = _Clock()
        while trainer.step < config.steps and not stop.is_set():
            batch = next(batches)
            loss = trainer.take_step(batch)
            clock.tokens += batch[:, 1:].numel()
            if trainer.step % config.log_every == 0 or trainer.step == config.steps:
                row = _log_row(trainer, batch, float(loss), clock)
                run.append_metrics(row)
                bar.update(trainer.step - bar.n)
                bar.set_postfix(
                    loss=f"{row['loss']:.4f}", illegal_mass=f"{row['illegal_mass']:.2e}", tok_s=f"{row['tokens_per_s']:.3g}"
                )
                if on_log is not None:
                    on_log(trainer, row)
            if config.saves(trainer.step):
                _save(trainer, run)
        if not run.checkpoint_folder(trainer.step).exists():
            _save(trainer, run)  # stopped between two saves
        bar.close()
    return out


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Clock:
    """Tokens since the last logged step, and how fast."""

    def __init__(self) -> None:
        self.tokens = 0
        self.since = time.perf_counter()

    def rate(self) -> float:
        """Tokens a second since the last call."""
        now = time.perf_counter()
        rate = self.tokens / max(now - self.since, 1e-9)
        self.tokens, self.since = 0, now
        return rate


@torch.no_grad()
def _log_row(trainer: Trainer, batch: torch.Tensor, loss: float, clock: _Clock) -> Row:
    if not math.isfinite(loss):
        raise _diverged(trainer)
    rate = clock.rate()
    inputs = batch[:LOGGED_SEQUENCES, :-1]
    trainer.model.eval()
    legal = trainer.task.legal(inputs.cpu()).to(inputs.device)
    metrics = position_metrics(trainer.model(inputs), legal)
    clock.since = time.perf_counter()  # what logging took is not the training's
    return {
        "step": trainer.step,
        "loss": loss,
        "illegal_mass": float(metrics["illegal_mass"].nanmean()),
        "learning_rate": trainer.learning_rate(trainer.step),
        "tokens_per_s": rate,
    }


def _diverged(trainer: Trainer) -> FloatingPointError:
    return FloatingPointError(
        f"training diverged: at step {trainer.step} loss or weights are no longer finite; start a new run with a learning rate "
        f"below {trainer.config.learning_rate:g}"
    )


def _resume(trainer: Trainer, run: Run) -> None:
    checkpoints = run_checkpoints(run.folder)
    if checkpoints:
        trainer.restore(read_weights(checkpoints[-1], "raw"), read_trainer(checkpoints[-1]))
    if trainer.step > trainer.config.steps:
        raise RunError(
            f"{run.folder} is at step {trainer.step} already, beyond the {trainer.config.steps} asked for; ask for more"
        )
    run.forget_metrics_after(trainer.step)


def _save(trainer: Trainer, run: Run) -> None:
    config = trainer.config
    if not all(bool(parameter.isfinite().all()) for parameter in trainer.parameters.values()):
        raise _diverged(trainer)  # a resume would start from it
    card = Card(
        name=run.folder.name,
        model=config.model,
        task=config.task,
        train_length=config.train_length,
        seed=config.seed,
        step=trainer.step,
        sequences_seen=trainer.step * config.batch,
        averaging=config.averaging,
        dropout_kernel=trainer.dropout_kernel,
        command=run.record.command,
        versions={**run.record.versions, "device": _device_name(config)},
    )
    save_checkpoint(run.checkpoint_folder(trainer.step), card, trainer.weights(), trainer.state())


def _device_name(config: TrainingConfig) -> str:
    return torch.cuda.get_device_name() if config.device == "cuda" else f"cpu, {config.threads} threads"


def command_line(config: TrainingConfig, out: Path) -> str:
    """The `workbench train` command that makes a run of this configuration."""
    return shlex.join(["workbench", "train", config.task.name, "--out", out.name, *command_options(config)])
