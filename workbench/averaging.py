"""Averaged weights along a training trajectory: EMA and bias-corrected EMA (BEMA), on the same iterates as the raw weights.

Their rates, the exponent of the correction among them, are `models.config.AveragingConfig`.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from models.config import AveragingConfig


def bema(
    config: AveragingConfig,
    step: int,
    ema: Float[Tensor, "*shape"],
    raw: Float[Tensor, "*shape"],
    initial: Float[Tensor, "*shape"],
) -> Float[Tensor, "*shape"]:
    """The bias-corrected average after optimiser step `step`: the EMA and a share of the distance travelled from the start."""
    return ema + config.alpha(step) * (raw - initial)


class WeightAverager:
    """Keeps `ema` and gives `bema`; formulas in `AveragingConfig`.

    bema is a function of (ema_t, theta_t, theta_0), so only ema and theta_0 are kept. Without training, theta_t = theta_0, all
    three are equal.
    """

    def __init__(self, config: AveragingConfig, parameters: Mapping[str, Tensor]):
        """`parameters` are the live ones, by name; their present values become theta_0 and ema_0."""
        self.config = config
        self.parameters = dict(parameters)
        self.initial = {name: tensor.detach().clone() for name, tensor in parameters.items()}
        self.ema = {name: tensor.detach().clone() for name, tensor in parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Folds in the weights after optimiser step `step` >= 1."""
        torch._foreach_lerp_(list(self.ema.values()), list(self.parameters.values()), self.config.beta(step))

    @torch.no_grad()
    def bema(self, step: int) -> dict[str, Tensor]:
        """The bias-corrected average after optimiser step `step`; `bema - ema` is the correction and nothing else."""
        return {
            name: bema(self.config, step, self.ema[name], theta, self.initial[name]) for name, theta in self.parameters.items()
        }
