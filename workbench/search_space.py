"""What a random search draws from, and the draw itself: the parameters of trial `number` are a pure function of (seed, number).

So a search that is stopped, resumed or spread over machines neither repeats nor changes a parameter set. Not for: training
them (`workbench/search.py`), nor for who trains which (`workbench/search_ledger.py`).
"""

import hashlib
import itertools
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import Field

from models.config import AveragingConfig, Config, DropoutRates, ModelConfig, TaskConfig
from models.random_stream import draw_scalar
from models.streams import SEEDS, Draw
from workbench.training_config import TrainingConfig

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

SITES = ("embedding", "attention", "residual")
NORMS = ("none", "branch", "final")
"""none; LayerNorm on what attention writes (branch); LayerNorm of the residual stream before the unembedding (final)."""
SOFT_SHARE = 0.3
"""Share of trials that train on the uniform target instead of a sampled token: the control without label noise."""
Parameter = float | int | str

BATCHES = (32, 128)
DROPOUT = (0.01, 0.5)
"""Range of a rate where the site is on, log-uniform."""
LEARNING_RATE = (3e-4, 1e-2)
WEIGHT_DECAY = (1e-4, 1.0)
KAPPA = (0.3, 0.8)
ETA = (0.1, 1.0)

DRAWS = (
    *(f"{site} {what}" for site in SITES for what in ("on", "rate")),
    *("learning rate", "weight decay", "targets", "schedule", "kappa", "horizon", "eta", "training seed"),
)
"""Which draw of a trial's stream is which: append, never reorder, or old searches change."""


@dataclass(frozen=True)
class _Draws:
    """The draws of one trial by name."""

    seed: int
    number: int

    def uniform(self, name: str) -> float:
        """Uniform over [0, 1)."""
        return (draw_scalar(Draw.SEARCH.stream(self.seed), self.number, DRAWS.index(name)) >> 11) * 2.0**-53

    def between(self, name: str, low: float, high: float, log: bool = False) -> float:
        """Uniform or log-uniform over [low, high), to four significant digits so that it can be typed."""
        share = self.uniform(name)
        return float(f"{low * (high / low) ** share if log else low + (high - low) * share:.4g}")

    def integer(self, name: str, end: int) -> int:
        """Uniform over 0 .. end - 1."""
        return int(self.uniform(name) * end)


class SearchSpace(Config):
    """A random search of the set-complement task: what all its trials have in common."""

    vocab: int = Field(16, ge=8)
    """number of tokens v (>= 8)"""
    steps: int = Field(5000, ge=1)
    """optimiser steps of every trial"""
    seed: int = Field(0, ge=0, lt=SEEDS)
    """fixes every trial's parameters and training seed"""

    def parameters(self, number: int) -> dict[str, Parameter]:
        """The parameters of trial `number` >= 0, in the words of `distributions`.

        Drawn independently, but for the shape: every `len(shapes)` trials in a row go through all shapes once, in random
        order. Each dropout site is off with probability 1/2, else its rate is log-uniform. Of `averaging_decay` and
        `averaging_kappa` only the one that the averaging schedule uses is there.
        """
        draw = _Draws(self.seed, number)
        shapes = self.shapes
        cycle, place = divmod(number, len(shapes))
        order = sorted(range(len(shapes)), key=lambda shape: draw_scalar(Draw.SEARCH.stream(self.seed), cycle, 1 << 20 | shape))
        parameters: dict[str, Parameter] = dict(shapes[order[place]])
        for site in SITES:
            on, rate = draw.uniform(f"{site} on") < 0.5, draw.between(f"{site} rate", *DROPOUT, log=True)
            parameters[f"dropout_{site}"] = rate if on else 0.0
        parameters["learning_rate"] = draw.between("learning rate", *LEARNING_RATE, log=True)
        parameters["weight_decay"] = draw.between("weight decay", *WEIGHT_DECAY, log=True)
        parameters["targets"] = "soft" if draw.uniform("targets") < SOFT_SHARE else "hard"
        parameters["averaging_schedule"] = "power" if draw.uniform("schedule") < 0.5 else "constant"
        if parameters["averaging_schedule"] == "power":
            parameters["averaging_kappa"] = draw.between("kappa", *KAPPA)
        else:
            parameters["averaging_horizon"] = draw.between("horizon", *self.horizons, log=True)
        parameters["averaging_eta"] = draw.between("eta", *ETA)
        return parameters

    @property
    def shapes(self) -> list[dict[str, Parameter]]:
        """What makes up a fleet: every width, batch, train length and norm, norm none twice as often (it has certificates)."""
        names = ("width", "batch", "train_length", "norm")
        choices = (self.widths, BATCHES, self.train_lengths, ("none", *NORMS))
        return [dict(zip(names, shape, strict=True)) for shape in itertools.product(*choices)]

    @property
    def widths(self) -> tuple[int, int]:
        """Of the residual stream and of the head alike: v, just above the v - 1 that a solution needs, and 2 v."""
        return self.vocab, 2 * self.vocab

    @property
    def train_lengths(self) -> tuple[int, int]:
        """A quarter and half of v."""
        return self.vocab // 4, self.vocab // 2

    @property
    def horizons(self) -> tuple[float, float]:
        """Steps that the constant average looks back, 1 / (1 - decay), log-uniform: up to a fifth of the training."""
        return 5.0, max(10.0, self.steps / 5)

    def config(self, number: int) -> TrainingConfig:
        """Trial `number` as what `workbench train` would train; its seed is drawn like its parameters."""
        drawn = self.parameters(number)
        averaging = {"schedule": drawn["averaging_schedule"], "eta": drawn["averaging_eta"]}
        if "averaging_kappa" in drawn:
            averaging["kappa"] = drawn["averaging_kappa"]
        else:
            averaging["decay"] = 1 - 1 / float(drawn["averaging_horizon"])
        model = ModelConfig(
            vocab=self.vocab,
            context=self.vocab - 1,
            width=int(drawn["width"]),
            head_width=int(drawn["width"]),
            norm="branch" if drawn["norm"] == "branch" else "none",
            final_norm=drawn["norm"] == "final",
            dropout=DropoutRates(**{site: float(drawn[f"dropout_{site}"]) for site in SITES}),
        )
        return TrainingConfig(
            task=TaskConfig(name="set-complement", vocab=self.vocab),
            model=model,
            averaging=AveragingConfig.model_validate(averaging),
            train_length=int(drawn["train_length"]),
            targets="soft" if drawn["targets"] == "soft" else "hard",
            steps=self.steps,
            batch=int(drawn["batch"]),
            learning_rate=float(drawn["learning_rate"]),
            weight_decay=float(drawn["weight_decay"]),
            warmup=min(100, self.steps // 10),
            seed=_Draws(self.seed, number).integer("training seed", SEEDS),
            save_every=self.steps,
        )

    @property
    def fingerprint(self) -> str:
        """Tells searches apart whose ranges differ because the workbench that drew them did."""
        drawn = {**{name: str(one) for name, one in self.distributions().items()}, "first": self.parameters(0)}
        return hashlib.sha256(json.dumps(drawn, sort_keys=True).encode()).hexdigest()[:12]

    def distributions(self) -> dict[str, "BaseDistribution"]:
        """Optuna's words for the space, by parameter. Conditional parameters are among them."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution

        return {
            "width": CategoricalDistribution(self.widths),
            "batch": CategoricalDistribution(BATCHES),
            "train_length": CategoricalDistribution(self.train_lengths),
            "norm": CategoricalDistribution(NORMS),
            **{f"dropout_{site}": FloatDistribution(0, DROPOUT[1]) for site in SITES},
            "learning_rate": FloatDistribution(*LEARNING_RATE, log=True),
            "weight_decay": FloatDistribution(*WEIGHT_DECAY, log=True),
            "targets": CategoricalDistribution(("hard", "soft")),
            "averaging_schedule": CategoricalDistribution(("constant", "power")),
            "averaging_kappa": FloatDistribution(*KAPPA),
            "averaging_horizon": FloatDistribution(*self.horizons, log=True),
            "averaging_eta": FloatDistribution(*ETA),
        }
