"""A small GPT-shaped model with random weights, plain and hooked, and two batches of tokens."""

import torch

from models.hooked import HookedTransformer, hook
from models.transformer import Transformer

from ..gpt_shape import GPT

CLEAN, CORRUPTED = torch.randint(0, 11, (2, 4, 9), generator=torch.Generator().manual_seed(2))


def plain_and_hooked() -> tuple[Transformer, HookedTransformer]:
    """In float32, whose matrices are larger than at initialisation, so that attention is not uniform."""
    plain = Transformer(GPT, seed=1).eval()
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.mul_(10)
    return plain, hook(GPT, plain.state_dict())
