"""The checkpoints that are open in an explorer, each loaded when it is first looked at."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from models.checkpoint import find_checkpoint, read_card
from models.config import WeightsName
from models.othello.board import Board, board_of_size
from workbench.widgets.othello_explorer.lens import Lens, open_lens


@dataclass(frozen=True)
class Lenses:
    """Lenses by name, `checkpoint, weights`; made by `open_lenses`."""

    addresses: dict[str, tuple[str, WeightsName]]
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
        lens = open_lens(*self.addresses[name], self.probes)
        if name in self._lenses:
            lens.probe = self._lenses[name].probe
        return lens


def open_lenses(checkpoints: Sequence[str | Path], probes: Sequence[str | Path] = ()) -> Lenses:
    """The weights of some Othello checkpoints (folders, runs or bundled names) and saved probes that may fit them.

    Raises CheckpointError for what is not there, and ValueError for none, for other tasks and for boards that differ.
    """
    cards = {str(path): read_card(find_checkpoint(path)) for path in checkpoints}
    if not cards:
        raise ValueError("no checkpoint was given; give at least one, such as 'othello-mini-none'")
    for path, card in cards.items():
        if card.task.name != "othello":
            raise ValueError(f"checkpoint {path} was trained on {card.task.name}; give checkpoints of Othello")
    sizes = {card.task.board or 8 for card in cards.values()}
    if len(sizes) > 1:
        raise ValueError(f"the checkpoints play on boards of sizes {sorted(sizes)}; give checkpoints of one size")
    titles = [card.name for card in cards.values()]
    steps = len(set(titles)) < len(titles)  # checkpoints of one run are told apart by step
    addresses = {
        f"{card.name}{f' step {card.step}' if steps else ''}, {weights}": (path, weights)
        for path, card in cards.items()
        for weights in card.weights
    }
    return Lenses(addresses, board_of_size(sizes.pop()), tuple(map(Path, probes)))
