"""One sequence read by one model: what it predicts and attends to at every length, from one forward pass."""

from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int64

from models.streams import Draw
from models.task import Task
from probes.attention_pattern import reading_patterns
from probes.residual_stream import Model, device_of
from probes.row_entropy import effective_tokens, row_entropy
from probes.subject import subject


@dataclass(frozen=True, eq=False)
class Example:
    """A model's reading of one sequence; the prediction at index s - 1 has seen s tokens."""

    tokens: Int64[np.ndarray, "position"]
    labels: list[str]
    """names of the tokens of the sequence"""
    vocabulary: list[str]
    """names of all tokens"""
    probability: Float[np.ndarray, "position vocab"]
    """of each next token, in [0, 1]"""
    legal: Bool[np.ndarray, "position vocab"]
    """whether a token may come next"""
    pattern: Float[np.ndarray, "layer head query key"]
    """attention weights; each row sums to 1 over the tokens seen"""
    entropy: Float[np.ndarray, "layer head query"]
    """of each row, in nats, in [0, ln s]"""

    @property
    def longest(self) -> int:
        """How many lengths have a legal next token."""
        return int(self.legal.any(axis=1).sum())

    def target(self, length: int) -> Float[np.ndarray, "vocab"]:
        """The uniform distribution over the legal tokens after `length` tokens."""
        legal = self.legal[length - 1]
        return legal / legal.sum()

    def effective_tokens(self) -> Float[np.ndarray, "layer head query"]:
        """exp(entropy) of each row, in [1, s]."""
        return effective_tokens(torch.from_numpy(self.entropy)).numpy()


def read_example(model: Model, task: Task, number: int) -> Example:
    """Reads sequence `number` (from 0) of the evaluation stream, which no training run has seen, at every length.

    Raises ValueError for a model in training mode or of another vocabulary than the task's.
    """
    longest = subject(model, task).longest
    tokens = task.sequences(Draw.EVALUATION.stream(0), number, 1)[:, :longest]
    layers: list[torch.Tensor] = []
    with torch.no_grad(), reading_patterns(model, lambda layer, pattern: layers.append(pattern)):
        logits = model(tokens.to(device_of(model)))
    pattern = rearrange(layers, "layer 1 head query key -> layer head query key").double().cpu()
    names = [task.token_label(token) for token in range(task.vocab)]
    return Example(
        tokens=tokens[0].numpy(),
        labels=[names[token] for token in tokens[0].tolist()],
        vocabulary=names,
        probability=logits[0].double().softmax(dim=-1).cpu().numpy(),
        legal=task.legal(tokens)[0].numpy(),
        pattern=pattern.numpy(),
        entropy=row_entropy(pattern).numpy(),
    )
