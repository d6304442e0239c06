"""The set-complement task as a stream of sequences and a legality mask."""

from typing import SupportsIndex

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from models.random_stream import draws, numbers
from models.token_input import require_token_matrix


class SetComplementTask:
    """Predict the tokens that have not appeared yet.

    A sequence is a uniformly random permutation of the vocabulary 0 .. v-1; every prefix of length s < v is an input, and its
    legal next tokens are the v - s absent ones. (Task of arXiv 2510.08341; drawing training sequences as prefixes of random
    permutations is our reading, the paper's sampling is not known to us.)
    """

    name = "set-complement"
    pad: int | None = None

    def __init__(self, vocab: int):
        """`vocab` is v >= 3, the number of tokens."""
        if not isinstance(vocab, SupportsIndex) or vocab < 3:
            raise ValueError(
                f"the set-complement task got vocab {vocab}, expected v >= 3; with fewer tokens nothing is to be told apart"
            )
        self.vocab = vocab
        self.longest = vocab - 1

    def sequences(self, seed: int, start: int, count: int, device: torch.device | str = "cpu") -> Int64[Tensor, "count vocab"]:
        """Permutations start .. start + count - 1 of stream `seed`: the order of v random 64-bit keys a sequence."""
        return draws(seed, numbers(start, count, device), self.vocab).argsort(dim=-1, stable=True)

    def legal(self, tokens: Int64[Tensor, "batch position"]) -> Bool[Tensor, "batch position vocab"]:
        """True for the tokens absent from the prefix that ends at each position.

        Raises ValueError for an empty input, for more than v - 1 tokens (nothing would be legal), for a token outside
        0 .. v-1 and for a repeated token.
        """
        require_token_matrix(tokens)
        _, length = tokens.shape
        if not 1 <= length <= self.longest:
            raise ValueError(
                f"input of length {length}: a set-complement input over {self.vocab} tokens has 1 to {self.longest} tokens, "
                "so that at least one is left to predict; shorten it or use a larger vocabulary"
            )
        if bool(((tokens < 0) | (tokens >= self.vocab)).any()):
            row, position = ((tokens < 0) | (tokens >= self.vocab)).nonzero()[0].tolist()
            raise ValueError(
                f"token {int(tokens[row, position])} at position {position} of sequence {row} is outside "
                f"0 .. {self.vocab - 1}; use tokens of the task's vocabulary"
            )
        times_seen = torch.nn.functional.one_hot(tokens, self.vocab).cumsum(dim=1)
        if bool((times_seen > 1).any()):
            row, position, token = (times_seen > 1).nonzero()[0].tolist()
            raise ValueError(
                f"token {token} is repeated at position {position} of sequence {row}; "
                "a set-complement input holds every token at most once"
            )
        return times_seen == 0

    def token_label(self, token: int) -> str:
        """The token's number."""
        return str(token)
