"""The one training loop: makes a run folder from a `TrainingConfig`, or goes on with one."""

import math
import os
import shlex
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from tqdm.auto import tqdm

from models.checkpoint import Card, TrainerState, read_card, read_trainer, read_weights, run_checkpoints, save_checkpoint
from models.plain_file import as_path
from workbench.config_options import command_options
from workbench.fleet_threads import torch_threads
from workbench.loggers import Log, LoggerName, Row, open_loggers, refuse_missing
from workbench.metrics import position_metrics
from workbench.processes import Processes, launched_processes
from workbench.run import Run, RunError, RunRecord, open_run, package_versions
from workbench.trainer import Trainer, step_batches
from workbench.training_config import TrainingConfig, changed_fields

LOGGED_SEQUENCES = 64
"""How many sequences of the present batch the logged illegal mass is measured on."""


def train(
    config: TrainingConfig,
    out: str | os.PathLike[str],
    *,
    stop: threading.Event | None = None,
    on_log: Callable[[Trainer, Row], None] | None = None,
    progress: bool = False,
    loggers: Sequence[LoggerName] = (),
) -> Path:
    """Trains one model to `config.steps`, from where the run `out` was left if it exists; returns the run folder.

    Checkpoints hold raw, ema and bema. The same configuration gives the same bits on the same machine and thread count, however
    often it was interrupted. Where `accelerate launch` started several processes, each takes its part of every step
    (`workbench/processes.py`).

    Args:
        config: the run; a field that differs from an existing run's is an error, but for `steps` and when to save and log.
        out: the run folder.
        stop: set it from another thread or a signal handler to save a checkpoint and return after the present step.
        on_log: called at every logged step with the trainer and the line written to `metrics.jsonl`.
        progress: show a bar with loss, illegal mass, tokens a second and time left.
        loggers: where the lines of `metrics.jsonl` go as well.

    Raises:
        RunError: `out` cannot be used for this run.
        ImportError: a logger's package is not installed.
        FloatingPointError: the loss is no longer finite; what was saved before stays.
    """
    out = as_path(out)
    if not isinstance(config, TrainingConfig):
        raise ValueError(
            f"{config!r:.60} is no configuration; give a TrainingConfig, such as config_from_options(task, options)"
        )
    refuse_missing(loggers)
    stop = stop or threading.Event()
    record = RunRecord(config=config, command=command_line(config, out), versions=package_versions())
    with ExitStack() as held:
        held.enter_context(torch_threads(config.threads))
        processes = launched_processes(config.device)
        trainer = Trainer(config, processes)  # first: what this machine cannot train leaves no folder
        run = processes.from_main(lambda: held.enter_context(open_run(out, record)))
        _resume(trainer, run)
        logs: list[Log] = []
        processes.from_main(lambda: logs.extend(held.enter_context(_open_logs(trainer, run, on_log, progress, loggers))))
        if trainer.step == 0 and config.saves(0):
            _save(trainer, run)
        batches = step_batches(config, trainer.task, trainer.step + 1, processes)
        clock = _Clock()
        while trainer.step < config.steps and not _stops(stop, processes):
            batch = next(batches)
            loss = trainer.take_step(batch)
            clock.tokens += batch[:, 1:].numel() * processes.count
            if trainer.step % config.log_every == 0 or trainer.step == config.steps:
                row = _row(trainer, batch, loss, clock)
                for log in logs:
                    log(row)
            if config.saves(trainer.step):
                _save(trainer, run)
        _save(trainer, run)  # stopped between two saves
    return out


def _stops(stop: threading.Event, processes: Processes) -> bool:
    """Whether any process was asked to stop: then all were.

    Asked a moment after the processes agreed to go on, one must go on too: the others wait for it in the next step.
    """
    asked = processes.any(stop.is_set())
    if asked:
        stop.set()
    return asked


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


@contextmanager
def _open_logs(
    trainer: Trainer,
    run: Run,
    on_log: Callable[[Trainer, Row], None] | None,
    progress: bool,
    loggers: Sequence[LoggerName],
) -> Iterator[list[Log]]:
    """What the main process does with each row, in order."""
    run.forget_metrics_after(trainer.step)
    run.write_record()
    steps = trainer.config.steps
    with (
        tqdm(total=steps, initial=trainer.step, unit="step", disable=not progress, desc=run.folder.name) as bar,
        open_loggers(loggers, run, trainer.step) as log_elsewhere,
    ):

        def show(row: Row) -> None:
            bar.update(row["step"] - bar.n)
            figures = {"illegal_mass": f"{row['illegal_mass']:.2e}", "tok_s": f"{row['tokens_per_s']:.3g}"}
            bar.set_postfix(loss=f"{row['loss']:.4f}", **figures)

        logs: list[Log] = [run.append_metrics, log_elsewhere, show]
        yield logs if on_log is None else [*logs, lambda row: on_log(trainer, row)]


@torch.no_grad()
def _row(trainer: Trainer, batch: torch.Tensor, own_loss: torch.Tensor, clock: _Clock) -> Row:
    """The line of the present step; its illegal mass is of the first sequences of this process."""
    loss = float(trainer.processes.mean(own_loss))
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
        "learning_rate": trainer.config.learning_rate_at(trainer.step),
        "tokens_per_s": rate,
    }


def _diverged(trainer: Trainer) -> FloatingPointError:
    return FloatingPointError(
        f"training diverged: at step {trainer.step} loss or weights are no longer finite; start a new run with a learning rate "
        f"below {trainer.config.learning_rate:g}"
    )


def _resume(trainer: Trainer, run: Run) -> None:
    last = trainer.processes.from_main(lambda: _last_saved(run))  # other machines may not see the folder
    if last is not None:
        try:
            _require_same_training(trainer.config, last[1])
            trainer.restore(*last)
        except (LookupError, RuntimeError, TypeError, ValueError) as error:
            reason = " ".join(f"{type(error).__name__} {error}".split())
            raise RunError(
                f"the last checkpoint of {run.folder} is not of this training ({reason}); "
                "delete that checkpoint to go on from the one before"
            ) from error
    if trainer.step > trainer.config.steps:
        raise RunError(
            f"{run.folder} is at step {trainer.step} already, beyond the {trainer.config.steps} asked for; ask for more"
        )


def _require_same_training(config: TrainingConfig, saved: TrainerState) -> None:
    changes = changed_fields(TrainingConfig.model_validate(saved.facts["config"]), config)
    if changes:
        raise ValueError("; ".join(changes))


def _last_saved(run: Run) -> tuple[dict[str, torch.Tensor], TrainerState] | None:
    checkpoints = run_checkpoints(run.folder)
    if not checkpoints:
        return None
    folder = checkpoints[-1]
    card, state = read_card(folder), read_trainer(folder)
    step = _step_of(state)
    if card.step != step or folder.name != run.checkpoint_folder(step).name:
        raise RunError(
            f"{folder} holds step {step} of training and its card says step {card.step}; give it its own name, or delete it to "
            "go on from the checkpoint before"
        )
    return read_weights(folder, "raw", card), state


def _step_of(state: TrainerState) -> int:
    step = state.facts.get("step")
    return step if isinstance(step, int) else -1


def _save(trainer: Trainer, run: Run) -> None:
    """Writes the checkpoint of the present step, once, by the main process; all check that it is worth it."""
    config = trainer.config
    if not all(bool(parameter.isfinite().all()) for parameter in trainer.parameters.values()):
        raise _diverged(trainer)  # a resume would start from it
    folder = run.checkpoint_folder(trainer.step)
    if not trainer.processes.main or folder.exists():
        return
    card = Card(
        name=run.folder.name,
        model=config.model,
        task=config.task,
        train_length=config.train_length,
        seed=config.seed,
        step=trainer.step,
        sequences_seen=trainer.step * config.batch,
        optimizer=config.optimizer,
        averaging=config.averaging,
        dropout_kernel=trainer.dropout_kernel,
        command=run.record.command,
        versions={**run.record.versions, "device": _device_name(trainer)},
    )
    save_checkpoint(folder, card, trainer.weights(), trainer.state())


def _device_name(trainer: Trainer) -> str:
    config, processes = trainer.config, trainer.processes.count
    name = torch.cuda.get_device_name() if config.device == "cuda" else f"cpu, {config.threads} threads"
    return name if processes == 1 else f"{name}, {processes} processes"


def command_line(config: TrainingConfig, out: Path) -> str:
    """The `workbench train` command that makes a run of this configuration."""
    return shlex.join(["workbench", "train", config.task.name, "--out", out.name, *command_options(config)])
