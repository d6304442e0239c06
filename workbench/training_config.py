"""What one training run is configured by: the pydantic model behind `workbench train`, its help and `run.json`.

Imports no torch, so that `workbench --help` stays fast.
"""

import math
from typing import Literal

from pydantic import Field, model_validator

from models.config import MOST, AveragingConfig, Config, ModelConfig, OptimizerName, TaskConfig
from models.streams import SEEDS
from models.whole_numbers import MOST_COUNTED

MOST_THREADS = 1024
"""CPU threads beyond which torch takes the process down with it."""


class TrainingConfig(Config):
    """One training run."""

    task: TaskConfig
    """the task"""
    model: ModelConfig
    """the model"""
    averaging: AveragingConfig = AveragingConfig()
    """how ema and bema follow the raw weights"""
    train_length: int = Field(ge=1)
    """longest input seen in training; the loss is the mean over lengths 1 .. train_length"""
    targets: Literal["hard", "soft"] = "hard"
    """hard: the sampled next token; soft: the uniform distribution over the legal ones (no label noise)"""
    steps: int = Field(20_000, ge=1, le=MOST_COUNTED)
    """optimiser steps in all"""
    batch: int = Field(256, ge=1, le=MOST)
    """sequences a step"""
    optimizer: OptimizerName = "adamw"
    """adamw, or muon for the matrices of the blocks and adamw for all else, at one learning rate and weight decay"""
    learning_rate: float = Field(1e-3, gt=0)
    """learning rate after the warm-up"""
    warmup: int = Field(100, ge=0, le=MOST_COUNTED)
    """steps of linear warm-up"""
    schedule: Literal["constant", "cosine"] = "constant"
    """learning rate after the warm-up: constant, or a cosine to 0 at the last step"""
    weight_decay: float = Field(0.01, ge=0)
    """decoupled weight decay, on matrices (embeddings included), not on biases and norms"""
    beta1: float = Field(0.9, ge=0, lt=1)
    """AdamW's decay of the gradient average"""
    beta2: float = Field(0.99, ge=0, lt=1)
    """AdamW's decay of the squared-gradient average"""
    gradient_clip: float = Field(1.0, gt=0)
    """largest norm of the whole gradient"""
    seed: int = Field(0, ge=0, lt=SEEDS)
    """fixes initial weights, sequences and dropout"""
    save_every: int = Field(1000, ge=1, le=MOST_COUNTED)
    """steps between checkpoints; the last step is always saved"""
    save_at: tuple[int, ...] = ()
    """further steps to save at, such as 100,200,500"""
    log_every: int = Field(50, ge=1, le=MOST_COUNTED)
    """steps between lines of metrics.jsonl"""
    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16: autocast forward and backward passes; weights and averages stay float32"""
    device: Literal["cpu", "cuda"] = "cpu"
    """where to train"""
    threads: int = Field(1, ge=1, le=MOST_THREADS)
    """CPU threads of torch; part of the configuration, since a run is bit-identical only at the same number"""

    @model_validator(mode="after")
    def _fits_task(self) -> "TrainingConfig":
        if self.train_length > self.model.context:
            raise ValueError(
                f"train length {self.train_length} is longer than {self.model.context}, the longest input with a "
                "legal next token; give a shorter one"
            )
        return self

    def learning_rate_at(self, step: int) -> float:
        """The learning rate of optimiser step `step` >= 1."""
        if step <= self.warmup:
            return self.learning_rate * step / self.warmup
        if self.schedule == "constant":
            return self.learning_rate
        share = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * share))

    def saves(self, step: int) -> bool:
        """Whether a checkpoint is written after `step` optimiser steps."""
        return step == self.steps or step in self.save_at or (step > 0 and step % self.save_every == 0)


MAY_CHANGE_ON_RESUME = {"steps", "save_every", "save_at", "log_every"}
"""Fields that a resumed run may give new values; `steps` only under the constant schedule."""


def changed_fields(before: TrainingConfig, now: TrainingConfig) -> list[str]:
    """What keeps `now` from going on with a run of `before`, as `field: old -> new`; empty where nothing does."""
    fixed = set(TrainingConfig.model_fields) - MAY_CHANGE_ON_RESUME
    if before.schedule == "cosine":
        fixed.add("steps")  # the cosine's length is part of the trajectory
    pairs = ((name, getattr(before, name), getattr(now, name)) for name in sorted(fixed))
    return [f"{name}: {old} -> {new}" for name, old, new in pairs if old != new]
