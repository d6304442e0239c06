"""One model on its way: the optimiser step, the averages, and the state that a resume starts from.

Not the loop: `workbench/training.py` decides when to log, save and stop.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from itertools import count

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from models.checkpoint import DropoutKernel, TrainerState
from models.config import WeightsName
from models.random_stream import draw_scalar
from models.streams import Draw
from models.task import Task
from models.tasks import make_task
from models.transformer import GeneratorMasks, Transformer
from workbench.averaging import WeightAverager
from workbench.optimizers import Optimizers
from workbench.processes import ALONE, Processes
from workbench.training_config import TrainingConfig


def step_batches(
    config: TrainingConfig, task: Task, first_step: int, processes: Processes = ALONE
) -> Iterator[Int64[Tensor, "batch train_length_plus_1"]]:
    """The batches of steps first_step, first_step + 1, ...: step t (from 1) holds sequences (t-1) batch .. t batch - 1.

    Of several processes each gets its own rows of them. On a GPU the next batch is made on a thread and a stream of its own
    while the present one trains.
    """
    own = processes.rows(config.batch)

    def make(step: int) -> Tensor:
        start = (step - 1) * config.batch + own.start
        return task.sequences(config.seed, start, len(own), device=config.device)[:, : config.train_length + 1]

    if config.device == "cpu":
        return map(make, count(first_step))
    return _made_ahead(make, first_step)


def _made_ahead(make: Callable[[int], Tensor], step: int) -> Iterator[Tensor]:
    stream = torch.cuda.Stream()  # in the stream of the training a copy to the GPU would wait for the step before it

    def make_aside(step: int) -> tuple[Tensor, torch.cuda.Event]:
        with torch.cuda.stream(stream):
            return make(step), stream.record_event()

    with ThreadPoolExecutor(max_workers=1) as pool:
        upcoming = pool.submit(make_aside, step)
        while True:
            batch, made = upcoming.result()
            torch.cuda.current_stream().wait_event(made)
            batch.record_stream(torch.cuda.current_stream())  # its memory is not used again before the step is done
            step += 1
            upcoming = pool.submit(make_aside, step)
            yield batch


def dropout_seed(seed: int, step: int, process: int = 0) -> int:
    """The seed of the dropout masks of optimiser step `step` of a run, below 2**63 as torch's generators want."""
    return draw_scalar(Draw.DROPOUT.stream(seed), step, process) >> 1


class Trainer:
    """Model, optimiser and averages of one run.

    The weights are float32. The batch and the dropout masks of step t are pure functions of (seed, t), so the state has no
    random state in it and a resumed run is bit-identical to an uninterrupted one on the CPU at the same thread count.

    Of several processes each has a trainer, which takes the step of the whole batch from its own rows of it: all have the same
    weights at every step, and up to rounding those of one process (where fused attention draws its own dropout, other masks).
    """

    def __init__(self, config: TrainingConfig, processes: Processes = ALONE):
        """Starts at step 0; raises RuntimeError where the device asked for is absent, ValueError for an indivisible batch."""
        if config.device == "cuda" and not torch.cuda.is_available():
            raise RuntimeError(
                "device cuda was asked for and torch finds no GPU; use --device cpu or install a CUDA build of torch"
            )
        if config.batch % processes.count:
            raise ValueError(
                f"batch {config.batch} does not split evenly over {processes.count} processes; give a multiple of their number"
            )
        self.config = config
        self.processes = processes
        self.task = make_task(config.task)
        self.model = Transformer(config.model, seed=config.seed).to(config.device)
        self.parameters = dict(self.model.named_parameters())
        self.optimizers = Optimizers(config, self.parameters)
        self.averager = WeightAverager(config.averaging, self.parameters)
        self.step = 0
        # fused attention draws its own dropout, so the big models train fast; explicit masks are exact and portable
        self.explicit_masks = config.device == "cpu" or config.task.name == "set-complement"
        model = processes.averaging_gradients(self.model)
        self.forward = model if self.explicit_masks else torch.compile(model)

    @property
    def dropout_kernel(self) -> DropoutKernel:
        """How dropout is drawn, in the words of `Card.dropout_kernel`."""
        if self.config.model.dropout.label == "none":
            return "none"
        return "explicit masks" if self.explicit_masks else "fused attention"

    def take_step(self, batch: Int64[Tensor, "batch train_length_plus_1"]) -> Float[Tensor, ""]:
        """Trains on one batch, updates the averages, and returns the loss (mean nats a position, still on the device).

        Of several processes, each gives its own rows; the mean of what they return is the loss of the whole batch.
        """
        loss = self.begin_step(batch)
        loss.backward()
        self.update_weights()
        self.averager.update(self.step)
        return loss.detach()

    def begin_step(self, batch: Int64[Tensor, "batch train_length_plus_1"]) -> Float[Tensor, ""]:
        """The forward pass of the next step, and its loss."""
        self.step += 1
        self.model.train()
        masks = None
        if self.explicit_masks:
            masks = self.processes.masks(GeneratorMasks(dropout_seed(self.config.seed, self.step), self.config.device))
        elif self.dropout_kernel != "none":
            torch.cuda.manual_seed(dropout_seed(self.config.seed, self.step, self.processes.index))
        with self._autocast():
            logits = self.forward(batch[:, :-1], masks)
        loss = self._loss(logits.to(torch.promote_types(logits.dtype, torch.float32)), batch)
        if self.processes.count == 1 or self.task.pad is None:
            return loss
        learnt = (batch[:, 1:] != self.task.pad).sum().to(loss.dtype)
        return loss * learnt / self.processes.mean(learnt)  # short games leave the parts unequal numbers of positions

    def update_weights(self) -> None:
        """Clips the gradient, takes the optimisers' step and drops the gradient."""
        torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.config.gradient_clip, foreach=True)
        self.optimizers.step(self.config.learning_rate_at(self.step))
        self.model.zero_grad(set_to_none=True)

    def _autocast(self) -> AbstractContextManager:
        if self.config.precision == "float32":
            return nullcontext()
        return torch.autocast(self.config.device, dtype=torch.bfloat16)

    def _loss(
        self, logits: Float[Tensor, "batch position vocab"], batch: Int64[Tensor, "batch position_plus_1"]
    ) -> Float[Tensor, ""]:
        """Cross-entropy in nats, averaged over the positions that have a legal next token."""
        if self.config.targets == "hard":
            ignored = -100 if self.task.pad is None else self.task.pad
            return F.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten(), ignore_index=ignored)
        legal = self.task.legal(batch[:, :-1])
        log_probability = logits.log_softmax(dim=-1)
        legal_count = legal.sum(dim=-1)
        loss = -(log_probability * legal).sum(dim=-1) / legal_count.clamp(min=1)
        return loss.sum() / (legal_count > 0).sum()

    def weights(self) -> dict[WeightsName, dict[str, Tensor]]:
        """The three sets of weights at the present step, as live tensors or fresh ones: copy before the next step."""
        return {"raw": dict(self.parameters), "ema": self.averager.ema, "bema": self.averager.bema(self.step)}

    def state(self) -> TrainerState:
        """What `restore` needs, beyond the raw weights."""
        tensors: dict[str, Tensor] = {}
        for name, value in self.optimizers.state().items():
            tensors[f"optimiser.{name}"] = value
        for name in self.parameters:
            tensors[f"ema.{name}"] = self.averager.ema[name]
            tensors[f"initial.{name}"] = self.averager.initial[name]
        return TrainerState(tensors, {"step": self.step, "config": self.config.model_dump(mode="json")})

    @torch.no_grad()
    def restore(self, raw: dict[str, Tensor], state: TrainerState) -> None:
        """Puts the trainer where a checkpoint was taken."""
        self.step = int(state.facts["step"])  # type: ignore[arg-type]
        for name, parameter in self.parameters.items():
            parameter.copy_(raw[name].view_as(parameter))  # copy_ alone would spread a smaller one over it
            self.averager.ema[name].copy_(state.tensors[f"ema.{name}"].view_as(parameter))
            self.averager.initial[name].copy_(state.tensors[f"initial.{name}"].view_as(parameter))
        prefix = "optimiser."
        self.optimizers.restore(
            {name.removeprefix(prefix): value for name, value in state.tensors.items() if name.startswith(prefix)}
        )
