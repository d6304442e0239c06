"""The bracket task as a stream of sequences and a legality mask: prefixes of a bracket language (Dyck words).

The third organism, in one file: what a task must offer and no more. The v2 of arXiv 2510.08341 turns to formal languages; how
that paper draws its sequences is not known to us, the choices below are ours.
"""

from typing import SupportsIndex

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from models.config import BRACKET_LONGEST
from models.random_stream import draws, numbers
from models.token_input import require_token_matrix


class BracketTask:
    """Predict which brackets may come next: any opening one while the depth is below its bound, and the one that closes.

    Tokens 0 .. kinds - 1 open, kinds .. 2 kinds - 1 close, in the same order of kinds. A sequence starts at depth 0 and every
    token is uniform over the legal ones, so the right prediction is uniform over them: `kinds` openings (unless the depth is
    at its bound) and one closing bracket (unless it is 0). Something is always legal; a word never has to end.
    """

    name = "brackets"
    pad: int | None = None
    longest = BRACKET_LONGEST
    """the language has no longest word; the stream is cut one token after this"""

    def __init__(self, kinds: int, depth: int):
        """`kinds` >= 2 of brackets, nested `depth` >= 1 deep at most."""
        whole = isinstance(kinds, SupportsIndex) and isinstance(depth, SupportsIndex)
        if not whole or kinds < 2 or depth < 1:
            raise ValueError(f"the bracket task got {kinds} kinds and depth {depth}, expected at least 2 and 1; give more")
        self.kinds, self.depth = kinds, depth
        self.vocab = 2 * kinds

    def sequences(
        self, seed: int, start: int, count: int, device: torch.device | str = "cpu"
    ) -> Int64[Tensor, "count longest_plus_1"]:
        """Prefixes start .. start + count - 1 of stream `seed`: each token is one draw modulo the number of legal ones.

        The modulo favours no token by more than one part in 2**57.
        """
        drawn = draws(seed, numbers(start, count, device), self.longest + 1) & ((1 << 63) - 1)
        stack = _OpenBrackets(self, count, device)
        tokens = []
        for draw in drawn.unbind(dim=1):
            opening = torch.where(stack.depth < self.depth, self.kinds, 0)
            choice = draw % (opening + (stack.depth > 0))
            tokens.append(torch.where(choice < opening, choice, stack.innermost + self.kinds))
            stack.read(tokens[-1])
        return torch.stack(tokens, dim=1)

    def legal(self, tokens: Int64[Tensor, "batch position"]) -> Bool[Tensor, "batch position vocab"]:
        """True for the brackets that may follow the prefix that ends at each position.

        Raises ValueError for an empty input, more than `longest` tokens, a token outside 0 .. vocab - 1, a closing bracket that
        closes nothing or another kind, and an opening one beyond the bound.
        """
        require_token_matrix(tokens)
        batch, length = tokens.shape
        self._require_length(length)
        self._require_tokens(tokens)
        stack = _OpenBrackets(self, batch, tokens.device)
        masks = []
        mask = stack.legal()
        for position, token in enumerate(tokens.unbind(dim=1)):
            allowed = mask.gather(1, token[:, None])[:, 0]
            if not bool(allowed.all()):
                row = int((~allowed).nonzero()[0])
                label = self.token_label(int(token[row]))
                raise ValueError(
                    f"token {int(token[row])} ({label}) at position {position} of sequence {row} is no legal bracket at "
                    f"depth {int(stack.depth[row])}; give prefixes of words at most {self.depth} deep"
                )
            stack.read(token)
            mask = stack.legal()
            masks.append(mask)
        return torch.stack(masks, dim=1)

    def depths(self, tokens: Int64[Tensor, "batch position"]) -> Int64[Tensor, "batch position"]:
        """How many brackets are open after each token, 0 .. depth: the state a model has to keep. Raises as `legal` does."""
        self.legal(tokens)
        return torch.where(tokens < self.kinds, 1, -1).cumsum(dim=1)

    def token_label(self, token: int) -> str:
        """`(`, `)`, `[`, ...; from the fifth kind on `<5`, `5>`."""
        kind, closes = token % self.kinds, token >= self.kinds
        if kind < 4:
            return "([{<"[kind] if not closes else ")]}>"[kind]
        return f"{kind + 1}>" if closes else f"<{kind + 1}"

    def _require_length(self, length: int) -> None:
        if not 1 <= length <= self.longest:
            raise ValueError(f"input of length {length}: a bracket input has 1 to {self.longest} tokens; shorten it")

    def _require_tokens(self, tokens: Int64[Tensor, "batch position"]) -> None:
        outside = ((tokens < 0) | (tokens >= self.vocab)).nonzero()
        if len(outside):
            row, position = outside[0].tolist()
            raise ValueError(
                f"token {int(tokens[row, position])} at position {position} of sequence {row} is outside "
                f"0 .. {self.vocab - 1}; use tokens of the task's vocabulary"
            )


class _OpenBrackets:
    """The kinds of the open brackets of a batch of prefixes, outermost first."""

    def __init__(self, task: BracketTask, batch: int, device: torch.device | str):
        self.task = task
        self.depth = torch.zeros(batch, dtype=torch.int64, device=device)
        self._kinds = torch.zeros(batch, task.depth + 1, dtype=torch.int64, device=device)  # one to spare, at index 0

    @property
    def innermost(self) -> Int64[Tensor, "batch"]:
        """The kind that the next closing bracket must have; 0 where none is open."""
        return self._kinds.gather(1, self.depth[:, None])[:, 0]

    def read(self, token: Int64[Tensor, "batch"]) -> None:
        """Takes the next token of each prefix, which must be legal."""
        opens = token < self.task.kinds
        self.depth = self.depth + torch.where(opens, 1, -1)
        here = self.depth[:, None]
        self._kinds = self._kinds.scatter(1, here, torch.where(opens[:, None], token[:, None], self._kinds.gather(1, here)))

    def legal(self) -> Bool[Tensor, "batch vocab"]:
        kinds = torch.arange(self.task.kinds, device=self.depth.device)
        opening = (self.depth < self.task.depth)[:, None].expand(-1, self.task.kinds)
        closing = (self.depth > 0)[:, None] & (kinds == self.innermost[:, None])
        return torch.cat([opening, closing], dim=1)
