"""Runs of tiny random models on disk, and a hand-set model whose every metric is known in closed form."""

from pathlib import Path

import torch

from models.checkpoint import Card, save_checkpoint
from models.config import AveragingConfig, DropoutRates, ModelConfig, TaskConfig, WeightsName
from models.hooked import HookedTransformer, hook
from models.transformer import Transformer

NAMES: tuple[WeightsName, ...] = ("raw", "ema", "bema")


def save_run(
    root: Path,
    name: str,
    *,
    vocab: int = 8,
    train_length: int = 3,
    dropout: DropoutRates | None = None,
    seed: int | None = 0,
    steps: tuple[int, ...] = (100,),
    weights: tuple[WeightsName, ...] = NAMES,
    **shape,
) -> Path:
    """A run of the set-complement task, or of Othello where vocab is 61, with noise for training."""
    task = TaskConfig(name="othello") if vocab == 61 else TaskConfig(name="set-complement", vocab=vocab)
    config = ModelConfig(
        **{"vocab": vocab, "context": 59 if vocab == 61 else vocab - 1, "width": 12, "head_width": 12, **shape},
        dropout=dropout or DropoutRates(),
    )
    state = Transformer(config, seed=seed or 0).state_dict()
    generator = torch.Generator().manual_seed(sum(map(ord, name)))
    for step in steps:
        sets = {
            key: {part: tensor + 0.3 * torch.randn(tensor.shape, generator=generator) for part, tensor in state.items()}
            for key in weights
        }
        card = Card(
            name=name,
            model=config,
            task=task,
            train_length=train_length,
            seed=seed,
            step=step,
            averaging=AveragingConfig(),
            command=f"workbench train --out {name}",
        )
        save_checkpoint(root / name / "checkpoints" / f"step_{step:08d}", card, sets)
    return root / name


def gap_model(vocab: int, gamma: float, bias: float = 0.0) -> HookedTransformer:
    """Uniform attention, D = -gamma I, B = -bias I: at length s the gap is gamma / s, and more by `bias` for the last token."""
    config = ModelConfig(vocab=vocab, context=vocab - 1, width=2 * vocab, head_width=vocab)
    state = {name: torch.zeros_like(tensor).double() for name, tensor in Transformer(config).state_dict().items()}
    identity, nothing = torch.eye(vocab, dtype=torch.float64), torch.zeros(vocab, vocab, dtype=torch.float64)
    state["embed.W_E"] = torch.cat([identity, nothing], dim=1)  # tokens in the first half of the width
    state["blocks.0.attn.W_V"] = torch.cat([identity, nothing])[None]
    state["blocks.0.attn.W_O"] = torch.cat([nothing, identity], dim=1)[None]  # what was seen in the second half
    state["unembed.W_U"] = torch.cat([-bias * identity, -gamma * identity])
    return hook(config, state)
