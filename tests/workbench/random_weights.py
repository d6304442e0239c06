"""Hooked models of the table of configurations with every parameter random, and tokens for them."""

import torch

from models.config import ModelConfig
from models.hooked import HookedTransformer, hook
from models.transformer import Transformer


def random_hooked(config: ModelConfig, dtype: torch.dtype = torch.float64) -> HookedTransformer:
    """Biases and norms included, with standard deviation 0.4; the same every time."""
    generator = torch.Generator().manual_seed(0)
    state = Transformer(config).state_dict()
    return hook(config, {name: (torch.randn(t.shape, generator=generator) * 0.4).to(dtype) for name, t in state.items()})


def random_tokens(count: int, length: int = 9, seed: int = 0, vocab: int = 11) -> torch.Tensor:
    """Any tokens, repeated ones too: for models without a task."""
    return torch.randint(0, vocab, (count, length), generator=torch.Generator().manual_seed(seed))
