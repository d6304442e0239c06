"""The sequences that probes measure on: a stream of their own, a pure function of (seed, number), in batches.

For: every probe that averages over random sequences of either task. Not for: the labels of Othello positions (`harvest.py`).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int64
from torch import Tensor
from tqdm.auto import tqdm

from models.streams import Draw, require_seed
from models.task import Task
from models.whole_numbers import require_whole
from probes.subject import Subject


@dataclass(frozen=True)
class Drawn:
    """A batch of inputs, on the device of the model."""

    tokens: Int64[Tensor, "batch position"]
    """the inputs, of the greatest length asked for"""
    present: Bool[Tensor, "batch position"]
    """True where a next token is legal; False in padding and after the end of a game"""
    number: Int64[Tensor, "batch"]
    """which sequences of the stream"""


def batches(start: int, stop: int, batch: int) -> list[tuple[int, int]]:
    """First and last + 1 number of each batch of start .. stop - 1.

    No batch is of one, since controls take something from another sequence of the batch: one that would be alone at the end
    joins the batch before it. Raises ValueError for a batch < 1.
    """
    require_whole("sequences a batch", batch)
    edges = list(range(start, stop, max(batch, 2)))
    if stop - edges[-1] == 1:
        edges.pop()
    return list(zip(edges, [*edges[1:], stop], strict=True))


def whole_sequences(
    task: Task, sequences: int, seed: int, batch: int, progress: bool = False, description: str = "sequences"
) -> Iterator[Int64[Tensor, "batch longest_plus_1"]]:
    """Sequences 0 .. sequences - 1 of the stream of `seed`, whole, whatever a model takes. Raises as `drawn_sequences`."""
    require_seed(seed)
    require_whole("sequences", sequences, least=2)
    with tqdm(total=sequences, unit=" sequences", desc=description, disable=not progress) as bar:
        for first, end in batches(0, sequences, batch):
            yield task.sequences(Draw.PROBES.stream(seed), first, end - first)
            bar.update(end - first)


def drawn_sequences(
    subject: Subject, sequences: int, seed: int, batch: int, progress: bool = False, description: str = "sequences"
) -> Iterator[Drawn]:
    """Sequences 0 .. sequences - 1 of the stream of `seed`, as long as the task poses and the model takes.

    Raises ValueError for a seed out of range and for fewer than two sequences, which show no spread.
    """
    first = 0
    for whole in whole_sequences(subject.task, sequences, seed, batch, progress, description):
        tokens = whole[:, : subject.longest]
        present = subject.task.legal(tokens).any(-1)
        yield Drawn(tokens.to(subject.device), present.to(subject.device), torch.arange(first, first + len(tokens)))
        first += len(tokens)
