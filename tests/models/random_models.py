"""Plain models with every parameter random, biases and norms included: freshly initialised ones would hide mistakes there."""

import torch

from models.config import ModelConfig
from models.transformer import Transformer


def random_model(config: ModelConfig, dtype: torch.dtype = torch.float64) -> Transformer:
    """A plain model in eval mode whose every parameter is normal with standard deviation 0.4; the same every time."""
    model = Transformer(config).to(dtype).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.4)
    return model
