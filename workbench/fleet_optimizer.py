"""AdamW and EMA for all members of a fleet at once: gradient clipping, rates, decay and averaging of each member's own.

The formulas are those of `workbench/trainer.py` (torch's AdamW, `clip_grad_norm_`, `WeightAverager`). On the CPU one compiled
pass over each member's weights, on a GPU the same in torch, for torch.compile to fuse; a test holds the two together.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from workbench.fleet_kernels import kernel
from workbench.fleet_threads import for_members
from workbench.training_config import TrainingConfig

EPSILON = 1e-8  # torch's default, which the trainer uses
CLIP_EPSILON = 1e-6  # of torch.nn.utils.clip_grad_norm_


class StackedParameters:
    """The parameters of M equal models in one tensor [member, parameter], each member's side by side.

    Matrices come first, so that weight decay is for the first `decayed` columns.
    """

    def __init__(self, members: Sequence[Mapping[str, Tensor]], device: torch.device | str):
        """`members` are the named parameters of each model, of equal names and shapes."""
        names = sorted(members[0], key=lambda name: members[0][name].ndim < 2)  # stable: model order within each kind
        self.shapes = {name: members[0][name].shape for name in names}
        self.decayed = sum(shape.numel() for shape in self.shapes.values() if len(shape) >= 2)
        rows = [torch.cat([member[name].detach().flatten() for name in names]) for member in members]
        self.flat: Float[Tensor, "member parameter"] = torch.stack(rows).to(device)

    def views(self, flat: Float[Tensor, "*member parameter"]) -> dict[str, Tensor]:
        """A tensor laid out like `flat`, or one member's row of it, as named parameters that share its memory."""
        parts = flat.split([shape.numel() for shape in self.shapes.values()], dim=-1)
        return {name: part.unflatten(-1, shape) for (name, shape), part in zip(self.shapes.items(), parts, strict=True)}


class FleetOptimizer:
    """Moments, averages and divergence of all members; `step` updates the parameters in place."""

    def __init__(self, configs: Sequence[TrainingConfig], parameters: StackedParameters):
        """The present parameters become ema_0 and theta_0."""
        self.configs = configs
        self.parameters = parameters
        flat = parameters.flat
        self.first, self.second = torch.zeros_like(flat), torch.zeros_like(flat)
        self.ema, self.initial = flat.clone(), flat.clone()
        self.diverged: Int64[Tensor, "member"] = torch.zeros(len(configs), dtype=torch.int64, device=flat.device)
        """step of the first loss or gradient that was not finite; 0 for a member that is well"""
        self._update = torch.compile(update_members) if flat.is_cuda else update_members_compiled

    def step(self, step: int, losses: Float[Tensor, "member"], gradients: Float[Tensor, "member parameter"]) -> None:
        """Optimiser step `step` >= 1 of every member that is well; others are marked, and stay as they are."""
        rates = torch.tensor([member_rates(config, step) for config in self.configs], dtype=gradients.dtype)
        self._update(
            self.parameters.flat, gradients, self.first, self.second, self.ema, self.diverged,
            losses, rates.to(gradients.device, non_blocking=True), self.parameters.decayed, step,
        )  # fmt: skip

    def state(self) -> dict[str, Tensor]:
        """Every tensor that a resume needs, live."""
        names = ("first", "second", "ema", "initial", "diverged")
        return {"raw": self.parameters.flat, **{name: getattr(self, name) for name in names}}


def member_rates(config: TrainingConfig, step: int) -> tuple[float, ...]:
    """What one member's update at `step` is governed by: scale, shrink, beta1, beta2, root correction, clip, ema's beta.

    Scale and root correction take up AdamW's bias corrections; shrink is the decoupled decay's factor.
    """
    rate = config.learning_rate_at(step)
    return (
        rate / (1 - config.beta1**step),
        1 - rate * config.weight_decay,
        config.beta1,
        config.beta2,
        (1 - config.beta2**step) ** 0.5,
        config.gradient_clip,
        config.averaging.beta(step),
    )


def update_members(
    weights: Float[Tensor, "member parameter"],
    gradients: Float[Tensor, "member parameter"],
    first: Float[Tensor, "member parameter"],
    second: Float[Tensor, "member parameter"],
    ema: Float[Tensor, "member parameter"],
    diverged: Int64[Tensor, "member"],
    losses: Float[Tensor, "member"],
    rates: Float[Tensor, "member rate"],
    decayed: int,
    step: int,
) -> None:
    """One optimiser step of all members in torch, in place and without asking the device anything."""
    scale, shrink, beta1, beta2, root_correction, clip, ema_beta = rates[:, :, None].unbind(1)
    norm = gradients.norm(dim=1, keepdim=True)
    diverged.copy_(torch.where((diverged == 0) & ~(norm[:, 0].isfinite() & losses.isfinite()), step, diverged))
    well = (diverged == 0)[:, None]
    gradients = gradients * (clip / (norm + CLIP_EPSILON)).clamp(max=1)
    first.copy_(torch.where(well, first + (1 - beta1) * (gradients - first), first))
    second.copy_(torch.where(well, beta2 * second + (1 - beta2) * gradients * gradients, second))
    is_decayed = torch.arange(weights.shape[1], device=weights.device) < decayed
    moved = weights * torch.where(is_decayed, shrink, 1) - scale * first / (second.sqrt() / root_correction + EPSILON)
    weights.copy_(torch.where(well, moved, weights))
    ema.copy_(torch.where(well, ema + ema_beta * (weights - ema), ema))


def update_members_compiled(
    weights: Tensor, gradients: Tensor, first: Tensor, second: Tensor, ema: Tensor, diverged: Tensor,
    losses: Tensor, rates: Tensor, decayed: int, step: int,
) -> None:  # fmt: skip
    """`update_members` on the CPU, in one pass over each member's weights."""
    tensors = (weights, gradients, first, second, ema, diverged, losses, rates)
    for_members(_update_range, len(weights), *(tensor.numpy() for tensor in tensors), decayed, step)


@kernel
def _update_range(start, stop, weights, gradients, first, second, ema, diverged, losses, rates, decayed, step):
    count = weights.shape[1]
    one = weights.dtype.type(1)
    epsilon, clip_epsilon = weights.dtype.type(EPSILON), weights.dtype.type(CLIP_EPSILON)
    for member in range(start, stop):
        if diverged[member]:
            continue
        w, g, m, v, e = weights[member], gradients[member], first[member], second[member], ema[member]
        square = weights.dtype.type(0)
        for i in range(count):
            square += g[i] * g[i]
        norm = np.sqrt(square)
        if not (np.isfinite(norm) and np.isfinite(losses[member])):
            diverged[member] = step
            continue
        scale, shrink, beta1, beta2, root_correction, clip, ema_beta = rates[member]
        shorten = min(one, clip / (norm + clip_epsilon))
        for i in range(count):
            gradient = g[i] * shorten
            m[i] += (one - beta1) * (gradient - m[i])
            v[i] = beta2 * v[i] + (one - beta2) * gradient * gradient
            kept = w[i] * (shrink if i < decayed else one)
            w[i] = kept - scale * m[i] / (np.sqrt(v[i]) / root_correction + epsilon)
            e[i] += ema_beta * (w[i] - e[i])
