"""One model on its way: the optimiser step, the averages, and the state that a resume starts from.

Not the loop: `workbench/training.py` decides when to log, save and stop.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from models.checkpoint import DropoutKernel, TrainerState
from models.config import WeightsName
from models.random_stream import draw_scalar
from models.task import Task
from models.tasks import make_task
from models.transformer import GeneratorMasks, Transformer
from workbench.averaging import WeightAverager
from workbench.training_config import TrainingConfig

DROPOUT_STREAM = 1 << 40  # apart from every stream of sequences: training seeds and evaluation streams lie below it


def step_batches(config: TrainingConfig, task: Task, first_step: int) -> Iterator[Int64[Tensor, "batch train_length_plus_1"]]:
    """The batches of steps first_step, first_step + 1, ...: step t (from 1) holds sequences (t-1) batch .. t batch - 1.

    On a GPU the next batch is made on a thread while the present one trains.
    """

    def make(step: int) -> Tensor:
        sequences = task.sequences(config.seed, (step - 1) * config.batch, config.batch, device=config.device)
        return sequences[:, : config.train_length + 1]

    step = first_step
    if config.device == "cpu":
        while True:
            yield make(step)
            step += 1
    with ThreadPoolExecutor(max_workers=1) as pool:
        upcoming = pool.submit(make, step)
        while True:
            batch = upcoming.result()
            step += 1
            upcoming = pool.submit(make, step)
            yield batch


def dropout_seed(seed: int, step: int) -> int:
    """The seed of the dropout masks of optimiser step `step` of a run, below 2**63 as torch's generators want."""
    return draw_scalar(DROPOUT_STREAM + seed, step, 0) >> 1


class Trainer:
    """Model, optimiser and averages of one run.

    AdamW on float32 weights. The batch and the dropout masks of step t are pure functions of (seed, t), so the state has no
    random state in it and a resumed run is bit-identical to an uninterrupted one on the CPU at the same thread count.
    """

    def __init__(self, config: TrainingConfig):
        """Starts at step 0; raises RuntimeError where the device asked for is absent."""
        if config.device == "cuda" and not torch.cuda.is_available():
            raise RuntimeError(
                "device cuda was asked for and torch finds no GPU; use --device cpu or install a CUDA build of torch"
            )
        self.config = config
        self.task = make_task(config.task)
        self.model = Transformer(config.model, seed=config.seed).to(config.device)
        self.parameters = dict(self.model.named_parameters())
        self.optimiser = torch.optim.AdamW(
            [
                {"params": [p for p in self.parameters.values() if p.ndim >= 2], "weight_decay": config.weight_decay},
                {"params": [p for p in self.parameters.values() if p.ndim < 2], "weight_decay": 0.0},
            ],
            lr=config.learning_rate,
            betas=(config.beta1, config.beta2),
            fused=True,
        )
        self.averager = WeightAverager(config.averaging, self.parameters)
        self.step = 0
        # fused attention draws its own dropout, so the big models train fast; explicit masks are exact and portable
        self.explicit_masks = config.device == "cpu" or config.task.name == "set-complement"
        self.forward = self.model if self.explicit_masks else torch.compile(self.model)

    @property
    def dropout_kernel(self) -> DropoutKernel:
        """How dropout is drawn, in the words of `Card.dropout_kernel`."""
        if self.config.model.dropout.label == "none":
            return "none"
        return "explicit masks" if self.explicit_masks else "fused attention"

    def learning_rate(self, step: int) -> float:
        """The learning rate of optimiser step `step` >= 1."""
        return self.config.learning_rate_at(step)

    def take_step(self, batch: Int64[Tensor, "batch train_length_plus_1"]) -> Float[Tensor, ""]:
        """Trains on one batch, updates the averages, and returns the loss (mean nats a position, still on the device)."""
        self.step += 1
        self.model.train()
        mask_seed = dropout_seed(self.config.seed, self.step)
        masks = None
        if self.explicit_masks:
            masks = GeneratorMasks(mask_seed, self.config.device)
        elif self.dropout_kernel != "none":
            torch.cuda.manual_seed(mask_seed)
        with self._autocast():
            logits = self.forward(batch[:, :-1], masks)
        loss = self._loss(logits.to(torch.promote_types(logits.dtype, torch.float32)), batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.config.gradient_clip, foreach=True)
        for group in self.optimiser.param_groups:
            group["lr"] = self.learning_rate(self.step)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.averager.update(self.step)
        return loss.detach()

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
        for name, parameter in self.parameters.items():
            for key, value in self.optimiser.state[parameter].items():
                tensors[f"optimiser.{key}.{name}"] = value
            tensors[f"ema.{name}"] = self.averager.ema[name]
            tensors[f"initial.{name}"] = self.averager.initial[name]
        return TrainerState(tensors, {"step": self.step, "config": self.config.model_dump(mode="json")})

    @torch.no_grad()
    def restore(self, raw: dict[str, Tensor], state: TrainerState) -> None:
        """Puts the trainer where a checkpoint was taken."""
        self.step = int(state.facts["step"])  # type: ignore[arg-type]
        for name, parameter in self.parameters.items():
            parameter.copy_(raw[name])
            self.averager.ema[name].copy_(state.tensors[f"ema.{name}"])
            self.averager.initial[name].copy_(state.tensors[f"initial.{name}"])
        for full_name, value in state.tensors.items():
            kind, key, *path = full_name.split(".")
            if kind == "optimiser":
                parameter = self.parameters[".".join(path)]
                self.optimiser.state[parameter][key] = value.to(parameter.device, copy=True)
