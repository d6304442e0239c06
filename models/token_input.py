"""What every function that takes tokens, logits, or which tokens are legal, refuses first: another type, shape or device."""

import torch
from torch import Tensor, int32, int64


def require_token_matrix(tokens: Tensor) -> None:
    """Raises ValueError for what is no int64 or int32 tensor of [batch, position] that has values."""
    _require_tensor("tokens", tokens, "torch.tensor(tokens)")
    if tokens.dtype not in (int64, int32):
        raise ValueError(f"the tokens are of type {tokens.dtype}, expected torch.int64; convert them with tokens.long()")
    if tokens.ndim != 2:
        raise ValueError(
            f"the tokens have shape {tuple(tokens.shape)}, expected [batch, position]; give one sequence as tokens[None]"
        )
    if tokens.is_meta:
        raise ValueError("the tokens are on the device meta, where nothing has a value; give them on cpu, or cuda")


def require_logits(logits: Tensor) -> None:
    """Raises ValueError for what is no tensor of [batch, position, vocab] that has values."""
    _require_tensor("logits", logits, "model(tokens)")
    if logits.ndim != 3 or logits.is_meta:
        raise ValueError(
            f"the logits have shape {tuple(logits.shape)} on {logits.device}, expected [batch, position, vocab] and values; "
            "give model(tokens)"
        )


def require_legal(legal: Tensor, logits: Tensor) -> None:
    """Raises ValueError for what is no bool tensor of the shape of the logits, [batch, position, vocab], on their device."""
    _require_tensor("legal tokens", legal, "task.legal(tokens)")
    if legal.dtype != torch.bool or legal.shape != logits.shape:
        raise ValueError(
            f"the legal tokens are of type {legal.dtype} and shape {tuple(legal.shape)}, expected torch.bool and the logits' "
            f"{tuple(logits.shape)}; give task.legal(tokens)"
        )
    if legal.device != logits.device:
        raise ValueError(
            f"the legal tokens are on the device {legal.device}, expected {logits.device} as the logits; give "
            "task.legal(tokens).to(logits.device)"
        )


def _require_tensor(what: str, given: object, remedy: str) -> None:
    if not isinstance(given, Tensor):
        raise ValueError(f"the {what} are a {type(given).__name__}, expected a tensor; give {remedy}")
