"""What a task is: a stream of token sequences plus a legality mask.

The right answer at every position is the uniform distribution over the legal next tokens; that is all that training,
evaluation, comparison and ablation know of a task. A new organism is one new file (or folder) under `models/` with a class
that has these members, its name in `models/config.py`, and a line each in `models/tasks.py` and `models/default_models.py`;
`docs/how-to/add-an-organism.md` goes through one.
"""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Int64
from torch import Tensor


@runtime_checkable
class Task(Protocol):
    """A stream of token sequences and the tokens that may legally come next.

    `length` s, everywhere: how many tokens the model has seen, from 1. The prediction for token s + 1 sits at index s - 1.
    """

    name: str
    """The word used on the command line, on cards and in tables: `set-complement`, `othello`."""
    vocab: int
    """Number of tokens, of the input and of the prediction alike; tokens are 0 .. vocab - 1."""
    longest: int
    """The greatest length at which a next token can be legal."""
    pad: int | None
    """The token that fills the end of a short sequence, never legal and never predicted; None where none is needed."""

    def sequences(
        self, seed: int, start: int, count: int, device: torch.device | str = "cpu"
    ) -> Int64[Tensor, "count longest_plus_1"]:
        """Sequences start .. start + count - 1 of stream `seed`: a pure function of (seed, index), on every device.

        Each has `longest` + 1 tokens, so that columns [:, :s] are an input of length s and column s is a sample from the
        uniform distribution over its legal next tokens (or `pad`, where there is none).
        """
        ...

    def legal(self, tokens: Int64[Tensor, "batch position"]) -> Bool[Tensor, "batch position vocab"]:
        """True where a token may legally follow the prefix ending at that position; all False after the end of a sequence.

        Raises ValueError, naming the sequence, position and token, for tokens that are no valid input.
        """
        ...

    def token_label(self, token: int) -> str:
        """How figures name a token: `7`, `f5`."""
        ...
