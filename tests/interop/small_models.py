"""A small GPT-shaped model with random weights, plain and hooked, and two batches of tokens."""

import torch

from models.config import ModelConfig
from models.hooked import HookedTransformer, hook
from models.transformer import Transformer

GPT = ModelConfig(
    vocab=11,
    context=9,
    layers=3,
    heads=2,
    width=12,
    head_width=6,
    mlp_width=20,
    positions="learned",
    norm="pre",
    final_norm=True,
)
CLEAN, CORRUPTED = torch.randint(0, 11, (2, 4, 9), generator=torch.Generator().manual_seed(2))


def plain_and_hooked() -> tuple[Transformer, HookedTransformer]:
    """In float32, whose matrices are larger than at initialisation, so that attention is not uniform."""
    plain = Transformer(GPT, seed=1).eval()
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.mul_(10)
    return plain, hook(GPT, plain.state_dict())
