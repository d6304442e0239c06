"""Two-layer nonlinear probes of the board: what can be read with one hidden layer that no linear reading sees.

For: the probe itself. It is fitted in `gradient_fit.py`, from the linear probe as its starting point.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class NonlinearProbe:
    """Scores = relu(stream @ hidden_weight + hidden_bias) @ weight + bias, as in arXiv 2210.13382."""

    hidden_weight: Float[Tensor, "layer width hidden"]
    hidden_bias: Float[Tensor, "layer hidden"]
    weight: Float[Tensor, "layer hidden square state"]
    bias: Float[Tensor, "layer square state"]

    def scores(self, layer: int, stream: Float[Tensor, "row width"]) -> Float[Tensor, "row square state"]:
        """The score of each state of each square, as logits."""
        hidden = torch.addmm(self.hidden_bias[layer], stream, self.hidden_weight[layer]).relu()
        flat = torch.addmm(self.bias[layer].flatten(), hidden, self.weight[layer].flatten(1))
        return flat.unflatten(1, self.bias.shape[1:])
