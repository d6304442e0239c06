"""Many models of one shape trained together: each as `workbench train` would train it alone, all in one step.

Small models leave a processor idle; a random search over them does not have to. Not for: one model (`workbench/training.py`),
nor for the search itself, which only picks configurations.
"""

import os
import signal
import threading
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from tqdm.auto import tqdm

from models.checkpoint import Card, save_checkpoint
from models.config import WEIGHTS, WeightsName
from models.device import usable_device
from models.tasks import make_task
from models.transformer import Transformer
from models.whole_numbers import require_whole
from workbench import folded_model
from workbench.averaging import bema
from workbench.fleet_batches import MemberBatches, MemberMasks
from workbench.fleet_checkpoint import read_fleet, write_fleet
from workbench.fleet_optimizer import FleetOptimizer, StackedParameters
from workbench.fleet_threads import torch_threads
from workbench.run import package_versions
from workbench.stacked_model import StackedModel
from workbench.training import command_line
from workbench.training_config import TrainingConfig

SHARED = ("task", "train_length", "steps", "batch", "precision", "threads")
"""Fields that are equal for all members, beside those of the model other than its dropout rates."""

HEAP_KEPT = 31 << 20
"""Bytes. Once glibc has freed a block of this size it keeps smaller ones, and twice as much in all, instead of giving them
back to the system after every step, which costs a tenth of the time."""


def fleet_key(config: TrainingConfig, device: Literal["cpu", "cuda"] = "cpu") -> Hashable:
    """What members of one fleet have in common: configurations of equal keys can train together, and do so at full speed.

    On a CPU configurations whose keys differ only in whether the embedding and the residual drop can share a fleet as well, but
    then all of them take the longer way of those that do. On a GPU, which a small fleet leaves idle, they have one key.
    """
    shared, dropout = tuple(_shared(config).values()), config.model.dropout
    return shared if device == "cuda" else (*shared, dropout.embedding > 0, dropout.residual > 0)


def _shared(config: TrainingConfig) -> dict[str, object]:
    model = {name: value for name, value in config.model if name != "dropout"}
    return {**{name: getattr(config, name) for name in SHARED}, **model}


class Fleet:
    """Members of one shape, batch, train length and number of steps, with all else their own.

    Member i has the trajectory of its configuration trained alone, up to rounding (on a GPU with dropout: that of a run with
    the same masks). A member whose loss or gradient is no longer finite is marked in `diverged` and keeps the weights it had
    before that step; the others go on.

    On the CPU one-layer attention-only models of the set complement take the path of `workbench/folded_model.py` where it pays,
    all else that of `workbench/stacked_model.py`.
    """

    def __init__(self, configs: Sequence[TrainingConfig], device: Literal["cpu", "cuda"] = "cpu"):
        """Starts at step 0; all members train on `device`, whatever their configurations say.

        Raises ValueError, naming the difference, for configurations that cannot share a fleet, and for a device that is unknown
        or not usable here.
        """
        usable_device(device)
        _check(configs)
        self.configs = tuple(config.model_copy(update={"device": device}) for config in configs)
        first = self.configs[0]
        self.step = 0
        self.task = make_task(first.task)
        self.parameters = StackedParameters(
            [dict(Transformer(config.model, seed=config.seed).named_parameters()) for config in self.configs], device
        )
        self.optimizer = FleetOptimizer(self.configs, self.parameters)
        self.batches = MemberBatches(self.configs, self.task)
        self.masks = MemberMasks(self.configs, self.parameters.flat.dtype)
        shape = (first.model, self.masks.rates, first.batch, first.train_length)
        self.folded = device == "cpu" and folded_model.folds(first.model, first.task) and folded_model.pays(*shape)
        self.stacked_model = StackedModel(first.model, self.masks.rates, device)

    @property
    def diverged(self) -> list[int | None]:
        """For each member the step at which it diverged, or None."""
        return [step or None for step in self.optimizer.diverged.tolist()]

    def run(self, steps: int | None = None, progress: bool = False) -> None:
        """Trains up to step `steps` (the configurations' own when not given).

        Ctrl-C raises KeyboardInterrupt between two steps, so that the fleet can be saved, or run on. Raises ValueError for no
        whole number, and for more steps than configured, which the learning rate's schedule has no rate for.
        """
        config = self.configs[0]
        last = config.steps if steps is None else steps
        require_whole("steps", last, least=0)
        if last > config.steps:
            raise ValueError(f"the fleet was asked to run to step {last}, its members have {config.steps}; ask for fewer")
        bar = tqdm(total=last, initial=self.step, unit="step", disable=not progress, desc=f"{len(self.configs)} models")
        with torch_threads(config.threads), bar, _interrupts_held() as interrupted:
            if config.device == "cpu":
                torch.empty(HEAP_KEPT, dtype=torch.uint8)  # freed at once; see HEAP_KEPT
            while self.step < last:
                self._take_step(self.step + 1)
                self.step += 1
                bar.update()
                if interrupted.is_set():
                    raise KeyboardInterrupt

    def _take_step(self, step: int) -> None:
        sequences, masks = self.batches.draw(step), self.masks.draw(step)
        parameters = self.parameters.views(self.parameters.flat)
        if self.folded:
            by_site = {site: mask for (site, _), mask in zip(self.masks.calls, masks, strict=True)}
            arguments = (self.configs[0].model, parameters, sequences, self.batches.soft, by_site)
            losses, gradients = folded_model.losses_and_gradients(*arguments)
        else:
            targets = self.batches.targets(sequences, self.parameters.flat.dtype)
            losses, gradients = self.stacked_model.losses_and_gradients(parameters, sequences[:, :, :-1], targets, masks)
        self.optimizer.step(step, losses, torch.cat([gradients[name].flatten(1) for name in parameters], dim=1))

    def state(self, member: int, weights: WeightsName = "raw") -> dict[str, Tensor]:
        """A copy of one member's weights, in the plain model's keys: at the present step, or before the one it diverged at.

        Raises ValueError for a member that there is not, and for unknown weights.
        """
        self._require_member(member)
        raw, ema = self.parameters.flat[member], self.optimizer.ema[member]
        match weights:
            case "raw":
                flat = raw
            case "ema":
                flat = ema
            case "bema":
                averaging, initial = self.configs[member].averaging, self.optimizer.initial[member]
                flat = bema(averaging, self._steps_of(member), ema, raw, initial)
            case _:
                raise ValueError(f"weights {weights!r:.60} are unknown; give one of {', '.join(WEIGHTS)}")
        return {name: tensor.clone() for name, tensor in self.parameters.views(flat).items()}

    def _require_member(self, member: int) -> None:
        if member not in range(len(self.configs)):
            raise ValueError(f"the fleet has members 0 .. {len(self.configs) - 1}, got {member!r:.60}; give one of those")

    def _steps_of(self, member: int) -> int:
        """Steps that the member's weights have taken."""
        diverged = self.diverged[member]
        return self.step if diverged is None else diverged - 1

    def save_member(self, member: int, folder: str | os.PathLike[str], name: str) -> Card:
        """Writes one member as an ordinary checkpoint (raw, ema, bema) with the card of a run called `name`, and returns that.

        It is only to be read: it holds no trainer state. Raises FileExistsError where the folder exists, and ValueError for a
        member that there is not.
        """
        self._require_member(member)
        config, step = self.configs[member], self._steps_of(member)
        card = Card(
            name=name,
            model=config.model,
            task=config.task,
            train_length=config.train_length,
            seed=config.seed,
            step=step,
            sequences_seen=step * config.batch,
            averaging=config.averaging,
            dropout_kernel="none" if config.model.dropout.label == "none" else "explicit masks",
            command=command_line(config, Path(name)),
            versions={**package_versions(), "device": f"{config.device}, in a fleet of {len(self.configs)}"},
        )
        return save_checkpoint(folder, card, {weights: self.state(member, weights) for weights in WEIGHTS})

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes the whole fleet, over what was saved there before; a reader finds the one or the other, never half."""
        write_fleet(Path(folder), self.step, self.configs, self.optimizer.state())

    @classmethod
    def resume(cls, folder: str | os.PathLike[str], device: Literal["cpu", "cuda"] = "cpu") -> "Fleet":
        """The fleet that `save` wrote; on the CPU it goes on bit for bit. Raises CheckpointError."""
        record, tensors = read_fleet(Path(folder))
        fleet = cls(record.configs, device)
        fleet.step = record.step
        for name, tensor in fleet.optimizer.state().items():
            tensor.copy_(tensors[name])
        return fleet


def _check(configs: Sequence[TrainingConfig]) -> None:
    if not configs:
        raise ValueError("a fleet got no configurations, expected at least one; give the members' configurations")
    for config in configs:
        if not isinstance(config, TrainingConfig):
            raise ValueError(f"{config!r:.60} is no configuration; give a TrainingConfig for each member")
    if configs[0].precision != "float32":
        raise ValueError(f"a fleet trains in float32, got precision {configs[0].precision}; leave it out")
    first = _shared(configs[0])
    for member, config in enumerate(configs):
        if config.optimizer != "adamw":
            raise ValueError(f"a fleet trains by adamw, member {member} asks for {config.optimizer}; train it alone")
        for name, value in _shared(config).items():
            if value != first[name]:
                raise ValueError(
                    f"member {member} of the fleet has {name} {value}, member 0 has {first[name]}; "
                    "train members of unequal fleet_key in fleets of their own"
                )


@contextmanager
def _interrupts_held() -> Iterator[threading.Event]:
    """Within, Ctrl-C only sets the event. A caller's own handler is left in place, and only the main thread gets signals."""
    interrupted = threading.Event()
    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not usual or threading.current_thread() is not threading.main_thread():
        yield interrupted
        return
    signal.signal(signal.SIGINT, lambda number, frame: interrupted.set())
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
