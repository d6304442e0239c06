"""What every function that takes tokens, or which of them are legal, refuses first: another type, or another shape."""

from collections.abc import Sequence

import torch
from torch import Tensor, int32, int64


def require_token_matrix(tokens: Tensor) -> None:
    """Raises ValueError for what is no int64 or int32 tensor of [batch, position] that has values."""
    if not isinstance(tokens, Tensor):
        raise ValueError(f"the tokens are a {type(tokens).__name__}, expected a tensor; give torch.tensor(tokens)")
    if tokens.dtype not in (int64, int32):
        raise ValueError(f"the tokens are of type {tokens.dtype}, expected torch.int64; convert them with tokens.long()")
    if tokens.ndim != 2:
        raise ValueError(
            f"the tokens have shape {tuple(tokens.shape)}, expected [batch, position]; give one sequence as tokens[None]"
        )
    if tokens.is_meta:
        raise ValueError("the tokens are on the device meta, where nothing has a value; give them on cpu, or cuda")


def require_legal(legal: Tensor, shape: Sequence[int]) -> None:
    """Raises ValueError for what is no bool tensor of the shape of the logits, [batch, position, vocab]."""
    if not isinstance(legal, Tensor):
        raise ValueError(f"the legal tokens are a {type(legal).__name__}, expected a tensor; give task.legal(tokens)")
    if legal.dtype != torch.bool or tuple(legal.shape) != tuple(shape):
        raise ValueError(
            f"the legal tokens are of type {legal.dtype} and shape {tuple(legal.shape)}, expected torch.bool and the logits' "
            f"{tuple(shape)}; give task.legal(tokens)"
        )
