"""The general path of a fleet: losses and gradients of M plain models of one shape, for any shape.

`torch.func` maps the plain model's own forward pass over stacked parameters, so there is no second copy of it. That spares
calling every operation once a member, but on a CPU the numbers of one member then stay less near the processor: models that are
few, or not small, are taken one after another there.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor
from torch.func import functional_call, grad_and_value, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from models.config import DropoutRates, ModelConfig
from models.transformer import Transformer

Stacked = Mapping[str, Tensor]
"""Parameters by name, each with a leading axis for the member."""

Targets = Int64[Tensor, "*member batch position"] | Float[Tensor, "*member batch position vocab"]

FEWEST_MAPPED = 4
MOST_NUMBERS_MAPPED = 1 << 14
"""On a CPU members are mapped from `FEWEST_MAPPED` on, where the residual stream of one [batch, position, width] has no more
numbers; else it is slower than one after another (`benchmarks/fleet.py`)."""


class StackedModel:
    """Losses and gradients of all members at once."""

    def __init__(self, model: ModelConfig, rates: DropoutRates, device: torch.device | str):
        """`rates` is above 0 at the sites that masks will be given for; how much each member drops is in the masks."""
        # with explicit masks the rate itself enters nowhere; without attention dropout a mapped fused kernel would be slow
        self.model = Transformer(model.model_copy(update={"dropout": rates})).to(device).train().requires_grad_(False)
        self.on_gpu = torch.device(device).type == "cuda"
        mapped = vmap(grad_and_value(self._mappable_loss))
        self._mapped = compiled_anew(mapped) if self.on_gpu else mapped

    def _loss(
        self,
        parameters: Stacked,
        tokens: Int64[Tensor, "batch position"],
        targets: Targets,
        masks: Sequence[Tensor],
    ) -> Float[Tensor, ""]:
        upcoming = iter(masks)
        logits = functional_call(self.model, dict(parameters), (tokens, lambda site, rate, shape, like: next(upcoming)))
        reduction = "sum" if targets.is_floating_point() else "mean"
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten(0, 1), reduction=reduction)

    def _mappable_loss(self, *arguments: Any) -> Float[Tensor, ""]:
        with sdpa_kernel(SDPBackend.MATH):  # the fused kernels have no batching rule
            return self._loss(*arguments)

    def losses_and_gradients(
        self,
        parameters: Stacked,
        tokens: Int64[Tensor, "member batch position"],
        targets: Targets,
        masks: Sequence[Float[Tensor, "member batch ..."]],
    ) -> tuple[Float[Tensor, "member"], dict[str, Tensor]]:
        """Each member's loss in nats a position, and its gradient by parameter name.

        Targets are the next tokens, -100 where there is none, or shares of all tokens in the member's loss, which sum to 1.
        """
        small = tokens[0].numel() * self.model.config.width <= MOST_NUMBERS_MAPPED
        if self.on_gpu or (small and len(tokens) >= FEWEST_MAPPED):
            gradients, losses = self._mapped(dict(parameters), tokens, targets, list(masks))
            return losses, gradients
        gradients = {name: torch.empty_like(tensor) for name, tensor in parameters.items()}
        losses = next(iter(gradients.values())).new_empty(len(tokens))
        for member in range(len(tokens)):
            own = {name: tensor[member].detach().requires_grad_() for name, tensor in parameters.items()}
            loss = self._loss(own, tokens[member], targets[member], [mask[member] for mask in masks])
            losses[member] = loss.detach()
            for name, gradient in zip(own, torch.autograd.grad(loss, list(own.values()), materialize_grads=True), strict=True):
                gradients[name][member] = gradient
        return losses, gradients


def compiled_anew(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """`torch.compile`, after which all that was compiled before is compiled again where it is still called.

    Torch compiles the code of one function 8 times at most, and all functions that `vmap` returns share theirs: the ninth fleet
    of a process would go uncompiled.
    """
    torch.compiler.reset()
    return torch.compile(function, **options)
