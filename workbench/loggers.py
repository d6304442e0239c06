"""Where the lines of `metrics.jsonl` go as well, on request: TensorBoard files, Weights & Biases.

Nothing goes over a network unasked. Neither package is imported before it is asked for; the extra `[loggers]` installs both.
"""

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, get_args

from models.durable import write_file
from models.plain_file import read_plain
from workbench.run import Run, RunError

LoggerName = Literal["tensorboard", "wandb"]
Row = dict[str, float | int]
Log = Callable[[Row], None]

MAX_ID_BYTES = 64
"""Of a name at Weights & Biases."""


def refuse_missing(names: Sequence[LoggerName]) -> None:
    """Raises ValueError for an unknown name and ImportError for a package that is not installed; imports nothing."""
    if not isinstance(names, Sequence):
        raise ValueError(f"loggers {names!r:.60} are no list; give a list of any of {', '.join(get_args(LoggerName))}")
    for name in names:
        if name not in get_args(LoggerName):
            raise ValueError(f"logger '{name}' is unknown; choose from {', '.join(get_args(LoggerName))}")
        if find_spec(name) is None:
            raise ImportError(
                f"--{name} needs the package {name}, which is not installed; run pip install 'legal-tokens-workbench[loggers]'"
            )


@contextmanager
def open_loggers(names: Sequence[LoggerName], run: Run, step: int) -> Iterator[Log]:
    """What logs a row to each of `names`; none is fine. `step` is where the run goes on from, 0 for a new one.

    Raises RuntimeError where W&B refuses the run, and RunError where its name there cannot be read.
    """
    with ExitStack() as stack:
        openers = {"tensorboard": _tensorboard, "wandb": _wandb}
        logs = [stack.enter_context(openers[name](run, step)) for name in names]

        def log_everywhere(row: Row) -> None:
            for log in logs:
                log(row)

        yield log_everywhere


@contextmanager
def _tensorboard(run: Run, step: int) -> Iterator[Log]:
    """Event files in the run's folder `tensorboard/`; what an interrupted run logged beyond `step` is dropped from view."""
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(run.folder / "tensorboard", purge_step=step + 1) as writer:

        def log(row: Row) -> None:
            for name, value in row.items():
                if name != "step":
                    writer.add_scalar(name, value, row["step"])

        yield log


@contextmanager
def _wandb(run: Run, step: int) -> Iterator[Log]:
    """A run of Weights & Biases, which goes on when ours does; environment variables such as WANDB_MODE=offline hold."""
    import wandb

    identifier = _wandb_id(run.folder / "wandb-id")
    try:
        logged = wandb.init(
            project="legal-tokens-workbench",
            name=run.folder.name,
            id=identifier,
            resume="allow",
            dir=run.folder,
            config=run.record.config.model_dump(mode="json"),
        )
    except wandb.Error as error:
        raise RuntimeError(f"Weights & Biases refused the run ({error}); run wandb login, or set WANDB_MODE=offline") from error
    logged.define_metric("*", step_metric="step")  # a run that goes on logs some steps again
    with logged:
        yield logged.log


def _wandb_id(file: Path) -> str:
    """Under which name a run goes on at Weights & Biases, made where there is none. Raises RunError where it cannot be read."""
    if not file.exists():
        write_file(file, secrets.token_hex(4).encode())
    try:
        return read_plain(file, MAX_ID_BYTES).decode("ascii")
    except (OSError, UnicodeDecodeError) as error:
        problem = error.strerror if isinstance(error, OSError) else "it is no ASCII text"
        raise RunError(f"cannot read {file}: {problem}; delete it to log under a new one, or leave --wandb out") from error
