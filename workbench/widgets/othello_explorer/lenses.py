"""The checkpoints that are open in an explorer, each loaded when it is first looked at."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from models.config import WeightsName
from models.othello.board import Board, board_of_size
from workbench.found_checkpoints import find_checkpoints
from workbench.widgets.othello_explorer.lens import Lens, open_lens


@dataclass(frozen=True)
class Lenses:
    """Lenses by name, `checkpoint, weights`; made by `open_lenses`."""

    addresses: dict[str, tuple[Path, WeightsName]]
    board: Board
    probes: tuple[Path, ...] = ()
    _lenses: dict[str, Lens] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """The names that can be chosen."""
        return list(self.addresses)

    def lens(self, name: str) -> Lens:
        """The lens of that name; a ValueError for another one."""
        if name not in self.addresses:
            raise ValueError(f"model '{name}' is not open; choose one of: {'; '.join(self.addresses)}")
        if name not in self._lenses:
            self._lenses[name] = self.fresh(name)
        return self._lenses[name]

    def fresh(self, name: str) -> Lens:
        """A lens of its own, for another thread; it has the probe that is in place."""
        lens = open_lens(name, *self.addresses[name], self.probes)
        if name in self._lenses:
            lens.probe = self._lenses[name].probe
        return lens


def open_lenses(checkpoints: Sequence[str | Path], probes: Sequence[str | Path] = ()) -> Lenses:
    """The weights of some Othello checkpoints (folders, runs, bundled names), in this order, and saved probes that may fit.

    They are named as tables name them; checkpoints of one name (of one run) are told apart by their step. Raises
    CheckpointError for none and for what is not there, and ValueError for other tasks and for boards that differ.
    """
    found = {checkpoint.folder.resolve(): checkpoint for checkpoint in find_checkpoints(checkpoints)}
    given = {one.folder.resolve(): None for path in checkpoints for one in find_checkpoints([path])}
    ordered = [found[folder] for folder in given]
    for checkpoint in ordered:
        task = checkpoint.card.task.name
        if task != "othello":
            raise ValueError(f"checkpoint {checkpoint.folder} was trained on {task}; give checkpoints of Othello")
    sizes = {checkpoint.card.task.board or 8 for checkpoint in ordered}
    if len(sizes) > 1:
        raise ValueError(f"the checkpoints play on boards of sizes {sorted(sizes)}; give checkpoints of one size")
    shared = Counter(checkpoint.name for checkpoint in ordered)
    titles = [f"{one.name} step {one.card.step}" if shared[one.name] > 1 else one.name for one in ordered]
    addresses = {
        f"{title}, {weights}": (checkpoint.folder, weights)
        for title, checkpoint in zip(titles, ordered, strict=True)
        for weights in checkpoint.card.weights
    }
    return Lenses(addresses, board_of_size(sizes.pop()), tuple(map(Path, probes)))
