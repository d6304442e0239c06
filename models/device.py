"""Which device a model is put on: what torch can use here, or one sentence."""

import torch


def usable_device(device: torch.device | str) -> torch.device:
    """The device that is meant. Raises ValueError for an unknown one and for one that this machine or torch build lacks."""
    try:
        found = torch.device(device)
        torch.zeros(1, device=found).cpu()
    except (RuntimeError, AssertionError, TypeError) as error:  # an AssertionError: torch was built without CUDA
        given = str(device)[:60]
        raise ValueError(f"device '{given}' is unknown or not usable here; give cpu, or cuda where there is a GPU") from error
    return found
