"""The lengths at which a model can be asked, and the ones that a user chose of them."""

from collections.abc import Collection
from typing import SupportsIndex

from models.task import Task


def possible_lengths(task: Task, vocab: int, context: int) -> range:
    """The lengths at which a model of that vocabulary and context can be asked on a task: 1 to the smaller limit.

    Raises ValueError for a model of another vocabulary than the task's.
    """
    if vocab != task.vocab:
        raise ValueError(f"the model has {vocab} tokens, its task {task.name} has {task.vocab}; use a model that fits the task")
    return range(1, min(task.longest, context) + 1)


def chosen_lengths(possible: range, lengths: Collection[SupportsIndex] | None) -> tuple[int, ...]:
    """The lengths to report, in order; all that are possible for None. Raises ValueError for another one, and for no length."""
    if lengths is None:
        return tuple(possible)
    if not isinstance(lengths, Collection):
        raise ValueError(f"lengths {lengths!r} are no list; give a list of them, such as [5, 10]")
    wrong = [length for length in lengths if length not in possible]
    if wrong or not len(lengths):
        raise ValueError(
            f"length {wrong[0] if wrong else 'list is empty'}: expected lengths in 1 .. {possible[-1]}, which is what the task "
            "and the model's context allow; leave out the others"
        )
    return tuple(sorted({int(length) for length in lengths}))  # numpy's would not go into JSON
