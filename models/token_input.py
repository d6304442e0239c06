"""What every function that takes tokens refuses first: another type, or another number of axes."""

from torch import Tensor, int32, int64


def require_token_matrix(tokens: Tensor) -> None:
    """Raises ValueError for what is no int64 or int32 tensor of [batch, position]."""
    if tokens.dtype not in (int64, int32):
        raise ValueError(f"the tokens are of type {tokens.dtype}, expected torch.int64; convert them with tokens.long()")
    if tokens.ndim != 2:
        raise ValueError(
            f"the tokens have shape {tuple(tokens.shape)}, expected [batch, position]; give one sequence as tokens[None]"
        )
