"""The processes that train one run together, each on its rows of every batch; one alone where nothing launched more.

    accelerate launch --multi_gpu --num_processes 8 -m workbench train othello --out RUN --device cuda ...

Accelerate (or torchrun) starts them and joins them up, over NCCL on GPUs and Gloo on CPUs, where `--multi_gpu` is its word for
"several processes" all the same; torch's DistributedDataParallel averages their gradients. Accelerate is imported in launched
processes only. The number of processes is no part of a run's configuration: a run goes on with another.
"""

import atexit
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

import torch
import torch.distributed as distributed
from jaxtyping import Float
from torch import Tensor, nn

from models.transformer import DropoutMasks, DropoutSite

T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """Which of how many processes this one is, and what they tell one another."""

    index: int = 0
    """from 0, the main process: it alone writes"""
    count: int = 1
    hosts: Any = None
    """the group over which flags and objects go, between CPUs: asking it waits for no GPU"""

    @property
    def main(self) -> bool:
        """Whether this is the process that writes."""
        return self.index == 0

    def rows(self, batch: int) -> range:
        """The rows of a batch that are this process's: as many for each, in order."""
        own = batch // self.count
        return range(self.index * own, (self.index + 1) * own)

    def averaging_gradients(self, model: nn.Module) -> nn.Module:
        """The model such that `backward` leaves the mean of all processes' gradients; alone, the model itself."""
        if self.count == 1:
            return model
        device = next(model.parameters()).device
        return nn.parallel.DistributedDataParallel(model, device_ids=[device] if device.type == "cuda" else None)

    def mean(self, value: Float[Tensor, ""]) -> Float[Tensor, ""]:
        """The mean over the processes of a number on the training device."""
        if self.count == 1:
            return value
        total = value.clone()
        distributed.all_reduce(total)
        return total / self.count

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process; all have to ask."""
        if self.count == 1:
            return flag
        flags = torch.tensor(int(flag))
        distributed.all_reduce(flags, group=self.hosts)
        return bool(flags)

    def from_main(self, make: Callable[[], T]) -> T:
        """What `make()` returns in the main process, which alone calls it, in all of them.

        Where it raises, the main process does, and the others end with exit code 1 and no word.
        """
        if self.count == 1:
            return make()
        box: list[Any] = [False, None]
        try:
            if self.main:
                box = [True, make()]
        finally:
            distributed.broadcast_object_list(box, src=0, group=self.hosts)
        made, value = box
        if not made:
            raise SystemExit(1)
        return value

    def masks(self, masks: DropoutMasks) -> DropoutMasks:
        """This process's rows of masks that are drawn for the whole batch: each row has those it has with one process."""
        if self.count == 1:
            return masks

        def own_rows(site: DropoutSite, rate: float, shape: torch.Size, like: Tensor) -> Tensor:
            whole = masks(site, rate, torch.Size((shape[0] * self.count, *shape[1:])), like)
            return whole[self.rows(len(whole)).start :][: shape[0]]

        return own_rows


ALONE = Processes()


@cache
def launched_processes(device: str) -> Processes:
    """The processes that `accelerate launch` or torchrun started with this one, joined up until it ends; else `ALONE`.

    `device` is "cpu" or "cuda"; on "cuda" each process gets the GPU of its local index as its current one.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return ALONE
    from accelerate import PartialState

    state = PartialState(cpu=device == "cpu")
    atexit.register(state.destroy_process_group)
    return Processes(state.process_index, state.num_processes, distributed.new_group(backend="gloo"))


def in_main_process() -> bool:
    """Whether this process is the one that writes and speaks."""
    return os.environ.get("RANK", "0") == "0"
