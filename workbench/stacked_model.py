"""The general path of a fleet: losses and gradients of M plain models of one shape, for any shape.

`torch.func` maps the plain model's own forward pass over stacked parameters, so there is no second copy of it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.func import functional_call, grad_and_value, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from models.config import DropoutRates, ModelConfig
from models.transformer import Transformer

Stacked = Mapping[str, Tensor]
"""Parameters by name, each with a leading axis for the member."""


class StackedModel:
    """Losses and gradients of all members at once."""

    def __init__(self, model: ModelConfig, rates: DropoutRates, device: torch.device | str):
        """`rates` is above 0 at the sites that masks will be given for; how much each member drops is in the masks."""
        # with explicit masks the rate itself enters nowhere; without attention dropout a mapped fused kernel would be slow
        self.model = Transformer(model.model_copy(update={"dropout": rates})).to(device).train().requires_grad_(False)
        mapped = vmap(grad_and_value(self._loss))
        self._mapped = compiled_anew(mapped) if torch.device(device).type == "cuda" else mapped

    def _loss(
        self,
        parameters: Stacked,
        tokens: Int64[Tensor, "batch position"],
        shares: Float[Tensor, "batch position vocab"],
        masks: Sequence[Tensor],
    ) -> Float[Tensor, ""]:
        upcoming = iter(masks)
        with sdpa_kernel(SDPBackend.MATH):  # the fused kernels have no batching rule
            logits = functional_call(self.model, dict(parameters), (tokens, lambda site, rate, shape, like: next(upcoming)))
        return -(logits.log_softmax(dim=-1) * shares).sum()

    def losses_and_gradients(
        self,
        parameters: Stacked,
        tokens: Int64[Tensor, "member batch position"],
        shares: Float[Tensor, "member batch position vocab"],
        masks: Sequence[Float[Tensor, "member batch ..."]],
    ) -> tuple[Float[Tensor, "member"], dict[str, Tensor]]:
        """Each member's loss in nats a position, and its gradient by parameter name."""
        gradients, losses = self._mapped(dict(parameters), tokens, shares, list(masks))
        return losses, gradients


def compiled_anew(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """`torch.compile`, after which all that was compiled before is compiled again where it is still called.

    Torch compiles the code of one function 8 times at most, and all functions that `vmap` returns share theirs: the ninth fleet
    of a process would go uncompiled.
    """
    torch.compiler.reset()
    return torch.compile(function, **options)
