"""Small Othello models and an independent reading of the rules, for the tests of the board probes."""

import math
from pathlib import Path

import numpy as np
import torch

from models.checkpoint import Card, save_checkpoint
from models.config import ModelConfig, TaskConfig
from models.transformer import Transformer

SMALL_BOARD = TaskConfig(name="othello", board=6)
SMALL = ModelConfig(
    vocab=33,
    context=31,
    layers=2,
    heads=2,
    width=24,
    head_width=12,
    mlp_width=32,
    positions="learned",
    norm="pre",
    final_norm=True,
)


def small_checkpoint(folder: Path, config: ModelConfig = SMALL, task: TaskConfig = SMALL_BOARD, state=None) -> Path:
    """A checkpoint of random weights, unless a state is given."""
    state = Transformer(config, seed=1).state_dict() if state is None else state
    save_checkpoint(folder, Card(name=folder.name, model=config, task=task, seed=1, step=0), {"raw": state})
    return folder


def played_squares_model() -> tuple[ModelConfig, dict[str, torch.Tensor]]:
    """A model that knows which squares were played, linearly, after its only block; before it, the last one only.

    Token t embeds on axis t of the first half; uniform attention copies the mean of those to the second half.
    """
    vocab = 33
    config = ModelConfig(vocab=vocab, context=31, width=2 * vocab, head_width=vocab, positions="none")
    state = {name: torch.zeros_like(tensor) for name, tensor in Transformer(config).state_dict().items()}
    state["embed.W_E"][:, :vocab] = torch.eye(vocab)
    state["blocks.0.attn.W_V"][0, :vocab] = torch.eye(vocab)
    state["blocks.0.attn.W_O"][0, :, vocab:] = torch.eye(vocab)
    return config, state


def legal_squares(board: np.ndarray, mover: int) -> set[int]:
    """Squares where `mover` (0 or 1) may move on board[row, column] of 0, 1 and 2 = empty, walking from each empty one."""
    size = len(board)
    found = set()
    for row, column in np.argwhere(board == 2):
        for down, right in ((a, b) for a in (-1, 0, 1) for b in (-1, 0, 1) if (a, b) != (0, 0)):
            distance, at = 0, (row + down, column + right)
            while 0 <= at[0] < size and 0 <= at[1] < size and board[at] == 1 - mover:
                distance, at = distance + 1, (at[0] + down, at[1] + right)
            if distance and 0 <= at[0] < size and 0 <= at[1] < size and board[at] == mover:
                found.add(int(row) * size + int(column))
    return found


def planted(squares: int, width: int, rows: int, seed: int = 0, noise: float = 0.0):
    """Boards whose squares are correlated, and streams that hold each square's state linearly: boards, streams, codes."""
    generator = torch.Generator().manual_seed(seed)
    mood = torch.randn(rows, 1, generator=generator)
    states = torch.bucketize(torch.randn(rows, squares, generator=generator) + mood, torch.tensor([-0.5, 0.6])).to(torch.int8)
    codes = torch.randn(squares, 3, width, generator=generator) / math.sqrt(width)
    streams = codes[torch.arange(squares), states.long()].sum(1) + noise * torch.randn(rows, width, generator=generator)
    return states, streams + 3.0, codes


def indicators(states: torch.Tensor) -> torch.Tensor:
    """Columns (state 0 or 1, square), as `Positions.indicators`."""
    return torch.cat([states == 0, states == 1], dim=1).float()
