"""The models that an explorer chooses among: every set of weights of some checkpoints, by name, loaded when first asked for."""

import os
from collections.abc import Sequence
from functools import lru_cache

import pandas as pd

from models.table_labels import labels
from models.tasks import make_task
from probes.residual_stream import Model
from probes.subject import subject
from workbench.comparison import Variant
from workbench.figures.curves import organisms
from workbench.found_checkpoints import find_checkpoints
from workbench.widgets.example import Example, read_example

KEPT_MODELS, KEPT_EXAMPLES = 4, 64


class Variants:
    """Sets of weights by the name that tables give them: `run, ema`; `first` is one of the path that was given first."""

    def __init__(self, paths: Sequence[str | os.PathLike[str]]):
        """All weights of all checkpoints that the paths mean; raises CheckpointError for a path that holds none."""
        found = [Variant(checkpoint, weights) for checkpoint in find_checkpoints(paths) for weights in checkpoint.card.weights]
        self.by_name = {variant.name: variant for variant in found}
        first = find_checkpoints(paths[:1])[0].folder
        self.first = next(variant.name for variant in found if variant.checkpoint.folder == first)
        self.model = lru_cache(KEPT_MODELS)(self._load)
        self.example = lru_cache(KEPT_EXAMPLES)(self._read)

    @property
    def names(self) -> list[str]:
        """Their names, in the order of `find_checkpoints`."""
        return list(self.by_name)

    @property
    def longest(self) -> int:
        """The longest input that any of them takes and its task poses."""
        cards = [variant.checkpoint.card for variant in self.by_name.values()]
        return max(min(make_task(card.task).longest, card.model.context) for card in cards)

    def require_one_organism(self) -> None:
        """Raises ValueError for checkpoints of several tasks or vocabularies, which no figure shows together."""
        cards = [variant.checkpoint.card for variant in self.by_name.values()]
        found = organisms(pd.DataFrame([labels(card, make_task(card.task), "raw") for card in cards]))
        if len(found) > 1:
            named = ", ".join(f"{name} ({', '.join(rows['checkpoint'].unique()[:3])})" for name, rows in found.items())
            raise ValueError(f"the checkpoints are of several tasks or vocabularies, {named}; give those of one")

    def _load(self, name: str) -> Model:
        variant = self.by_name[name]
        return subject(variant.checkpoint.folder, weights=variant.weights).model

    def _read(self, name: str, number: int) -> Example:
        return read_example(self.model(name), make_task(self.by_name[name].checkpoint.card.task), number)
