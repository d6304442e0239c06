"""Which type of numbers a model's weights may have."""

import torch

FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def require_float(dtype: torch.dtype) -> None:
    """Raises ValueError for what is none of `FLOATS`."""
    if dtype not in FLOATS:
        known = ", ".join(map(str, FLOATS))
        raise ValueError(f"weights cannot have the type {dtype!r}, expected one of {known}; give torch.float32")
