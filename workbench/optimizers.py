"""How gradients change the weights of one run: AdamW, or Muon for the matrices of the blocks and AdamW for all else.

Not for the learning rate over steps: `training_config.learning_rate_at`. Not for fleets: `workbench/fleet_optimizer.py` has the
AdamW of many models at once.
"""

from collections.abc import Mapping

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from workbench.training_config import TrainingConfig

MATRICES = {
    "W_Q": ("head width d", "width (head d)"),
    "W_K": ("head width d", "width (head d)"),
    "W_V": ("head width d", "width (head d)"),
    "W_O": ("head d width", "(head d) width"),
    "W_in": ("width neuron", "width neuron"),
    "W_out": ("neuron width", "neuron width"),
}
"""The weights of a block that Muon takes: their axes, and how the heads of each lie side by side in one matrix."""


class BlockMuon(torch.optim.Muon):
    """torch's Muon (Jordan 2024) on the matrices of the blocks, `W_Q` to `W_out`, each with all heads of its layer in one.

    Orthogonalised updates are scaled to the size of AdamW's (`match_rms_adamw`; Liu et al. 2025, arXiv 2502.16982), so that
    both optimisers take one learning rate and weight decay. Momentum 0.95 (Nesterov), five Newton-Schulz steps in bfloat16.
    """

    def __init__(self, weights: Mapping[str, nn.Parameter], learning_rate: float, weight_decay: float):
        """`weights` by name, which ends in a key of `MATRICES`; they are changed in place."""
        self.weights = dict(weights)
        self.matrices = {name: _matrix(name, weight.detach()).clone() for name, weight in weights.items()}
        super().__init__(self.matrices.values(), lr=learning_rate, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")

    @staticmethod
    def takes(name: str) -> bool:
        """Whether the parameter of this name is a matrix of a block."""
        return name.startswith("blocks.") and _kind(name) in MATRICES

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step of every weight; each has its gradient."""
        for name, weight in self.weights.items():
            assert weight.grad is not None, f"{name} has no gradient"
            self.matrices[name].copy_(_matrix(name, weight))  # a resume may have changed it
            self.matrices[name].grad = _matrix(name, weight.grad)
        super().step()
        for name, weight in self.weights.items():
            axes, side_by_side = MATRICES[_kind(name)]
            sizes = {"head": len(weight)} if "head" in axes else {}
            weight.copy_(rearrange(self.matrices[name], f"{side_by_side} -> {axes}", **sizes))


def _kind(name: str) -> str:
    return name.rsplit(".", 1)[-1]


def _matrix(name: str, weight: Float[Tensor, "..."]) -> Float[Tensor, "row column"]:
    return rearrange(weight, " -> ".join(MATRICES[_kind(name)]))


class Optimizers:
    """The optimisers that a configuration asks for, over one model's parameters, as one."""

    def __init__(self, config: TrainingConfig, parameters: Mapping[str, nn.Parameter]):
        """`parameters` by name, in the model's order."""
        of_muon = {name: p for name, p in parameters.items() if config.optimizer == "muon" and BlockMuon.takes(name)}
        of_adamw = {name: p for name, p in parameters.items() if name not in of_muon}
        adamw = torch.optim.AdamW(
            [
                {"params": [p for p in of_adamw.values() if p.ndim >= 2], "weight_decay": config.weight_decay},
                {"params": [p for p in of_adamw.values() if p.ndim < 2], "weight_decay": 0.0},
            ],
            lr=config.learning_rate,
            betas=(config.beta1, config.beta2),
            fused=True,
        )
        self.each: list[torch.optim.Optimizer] = [adamw]
        self._keys: dict[str, tuple[torch.optim.Optimizer, Tensor]] = {name: (adamw, p) for name, p in of_adamw.items()}
        if of_muon:
            muon = BlockMuon(of_muon, config.learning_rate, config.weight_decay)
            self.each.append(muon)
            self._keys |= {name: (muon, matrix) for name, matrix in muon.matrices.items()}

    def step(self, learning_rate: float) -> None:
        """One step of every weight from its gradient."""
        for optimizer in self.each:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate
            optimizer.step()

    def state(self) -> dict[str, Tensor]:
        """What `restore` needs, live: `exp_avg.blocks.0.attn.W_Q`; empty before the first step."""
        return {
            f"{key}.{name}": value
            for name, (optimizer, tensor) in self._keys.items()
            for key, value in optimizer.state[tensor].items()
        }

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Goes on from what `state` gave."""
        for full_name, value in state.items():
            key, _, name = full_name.partition(".")
            optimizer, tensor = self._keys[name]
            wanted = ((), torch.float32) if key == "step" else (tensor.shape, tensor.dtype)
            if (value.shape, value.dtype) != wanted:  # the fused kernel would write beyond it
                raise ValueError(f"{full_name} is {value.dtype} of shape {tuple(value.shape)} instead of {wanted}")
            optimizer.state[tensor][key] = value.to(tensor.device, copy=True)
        for optimizer in self.each:
            if len({frozenset(optimizer.state[tensor]) for own, tensor in self._keys.values() if own is optimizer}) > 1:
                raise ValueError("the optimiser's state of some weights is missing")
