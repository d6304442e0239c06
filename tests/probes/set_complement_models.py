"""Small set-complement models for tests: random ones of many kinds and quickly trained ones, all in float64."""

import functools
import itertools

import numpy as np
import torch

from models.config import ModelConfig
from models.hooked import HookedTransformer, hook
from models.set_complement.task import SetComplementTask
from models.transformer import Transformer, with_weights


def config_of(vocab: int, **changes) -> ModelConfig:
    return ModelConfig(**{"vocab": vocab, "context": vocab - 1, "width": vocab + 1, "head_width": vocab, **changes})


def plain_model(vocab: int, seed: int, solved: float = 0.0, attention: float = 1.0, **changes) -> Transformer:
    """Random weights and biases; `solved` pushes present tokens down by that much, `attention` scales the attention logits."""
    config = config_of(vocab, **changes)
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, tensor in Transformer(config).double().state_dict().items():
        if ".ln" in name or name.startswith("ln"):
            state[name] = tensor
            continue
        state[name] = torch.randn(tensor.shape, generator=generator, dtype=torch.float64) / tensor.shape[-1] ** 0.5
    for name in ("W_Q", "b_Q"):
        state[f"blocks.0.attn.{name}"] *= attention
    if solved:
        # D becomes a multiple of -I plus noise: the pseudo-inverse of U stands before the value map
        embed, unembed = state["embed.W_E"], state["unembed.W_U"]
        wanted = -solved * torch.linalg.pinv(embed) @ torch.linalg.pinv(unembed.T).T
        state["blocks.0.attn.W_V"] = torch.eye(config.width, config.head_width, dtype=torch.float64)[None]
        state["blocks.0.attn.W_O"] = wanted[None, : config.head_width]
    return with_weights(config, state)


def random_model(vocab: int, seed: int, **changes) -> HookedTransformer:
    """`plain_model`, hooked."""
    plain = plain_model(vocab, seed, **changes)
    return hook(plain.config, plain.state_dict())


@functools.cache
def trained_model(vocab: int, seed: int, steps: int = 150, train_length: int | None = None) -> HookedTransformer:
    """Trained with Adam on hard labels at every prefix up to `train_length`; a fraction of a second."""
    config = config_of(vocab, width=16, head_width=16)
    task = SetComplementTask(vocab)
    model = Transformer(config, seed)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    length = train_length or vocab - 1
    for step in range(steps):
        tokens = task.sequences(seed, 64 * step, 64)[:, : length + 1]
        logits = model(tokens[:, :-1])
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return hook(config, model.double().state_dict())


def all_inputs(vocab: int, length: int) -> np.ndarray:
    """Every input of a length, in every order: [v! / (v - length)!, length]."""
    return np.array(list(itertools.permutations(range(vocab), length)))


def model_logits(model: HookedTransformer, tokens: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return model(torch.from_numpy(tokens))[:, -1].numpy()


def margins(logits: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """Min legal logit - max illegal logit of each input."""
    present = np.zeros(logits.shape, dtype=bool)
    np.put_along_axis(present, tokens, True, axis=1)
    return np.where(present, np.inf, logits).min(axis=1) - np.where(present, logits, -np.inf).max(axis=1)
