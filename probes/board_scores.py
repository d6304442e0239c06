"""How well the board is read: accuracy by layer and length, square or board, and F1 by state; with intervals over games.

For: streaming what any reader of the board says, a probe or a guess, against what is there, into a tidy frame. Not for: fits.
`accuracy` is the share of squares read right, `board_accuracy` the share of positions with every square right, `f1` of a state
is 2 TP / (2 TP + FP + FN) over squares and positions. All are in [0, 1].
"""

from collections.abc import Callable, Sequence

import pandas as pd
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from models.othello.labels import STATES
from probes.clustered_means import ClusteredMeans
from probes.harvest import Positions, Target

Reader = Callable[[int, Float[Tensor, "row width"], Positions], Int64[Tensor, "row square"]]
"""From a layer, the stream there and the positions (of which it may use the length) to the states it reads."""

COLUMNS = ("layer", "length", "square", "state", "metric", "value", "ci_low", "ci_high", "sequences")


class BoardScores:
    """Running scores of one reader at every layer."""

    def __init__(self, target: Target, layers: int, longest: int, squares: int):
        """Memory does not depend on the number of games."""
        self.target = target
        self.layers = layers
        self._overall = {name: ClusteredMeans(layers) for name in ("accuracy", "board_accuracy")}
        self._by_length = {name: ClusteredMeans(layers, longest) for name in ("accuracy", "board_accuracy")}
        self._by_square = ClusteredMeans(layers, squares)
        self._f1 = ClusteredMeans(layers, 3)

    def add(self, layer: int, read: Int64[Tensor, "row square"], positions: Positions) -> None:
        """Adds a batch of whole games at one layer."""
        state = positions.states[self.target].long()
        right = (read == state).double()
        squares = right.shape[1]
        shares = {"accuracy": (right.sum(1), squares), "board_accuracy": ((right.sum(1) == squares).double(), 1)}
        for name, (total, weight) in shares.items():
            weights = torch.full_like(total, weight)
            total, weights = (self._by_game_and_length(values, positions) for values in (total, weights))
            self._by_length[name].add(total, weights, layer)
            self._overall[name].add(total.sum(1), weights.sum(1), layer)
        played = _by_game(torch.ones_like(right), positions)
        self._by_square.add(_by_game(right, positions), played, layer)
        is_state, reads_state = ([which == value for value in range(3)] for which in (state, read))
        hits = torch.stack([(there & said).sum(1) for there, said in zip(is_state, reads_state, strict=True)], dim=1)
        either = torch.stack([there.sum(1) + said.sum(1) for there, said in zip(is_state, reads_state, strict=True)], dim=1)
        self._f1.add(2 * _by_game(hits.double(), positions), _by_game(either.double(), positions), layer)

    def _by_game_and_length(self, values: Float[Tensor, "row"], positions: Positions) -> Float[Tensor, "game length"]:
        longest = self._by_length["accuracy"].means().shape[1]
        dense = values.new_zeros(len(positions.tokens), longest)
        return dense.index_put((positions.game, positions.length - 1), values)

    def frame(self) -> pd.DataFrame:
        """One row a measurement, with columns `COLUMNS`; what a row is pooled over is missing in it.

        `sequences` is how many games the value was measured on, the unit of the intervals (Wilson's, `clustered_means.py`).
        """
        layer = range(self.layers)
        views = [_view(means, name, layer=layer) for name, means in self._overall.items()]
        for name, means in self._by_length.items():
            views.append(_view(means, name, layer=layer, length=range(1, means.means().shape[1] + 1)))
        views.append(_view(self._by_square, "accuracy", layer=layer, square=range(self._by_square.means().shape[1])))
        views.append(_view(self._f1, "f1", layer=layer, state=STATES[self.target.frame]))
        return pd.concat(views, ignore_index=True)


def _by_game(values: Float[Tensor, "row cell"], positions: Positions) -> Float[Tensor, "game cell"]:
    return values.new_zeros(len(positions.tokens), values.shape[1]).index_add(0, positions.game, values)


def _view(means: ClusteredMeans, metric: str, **axes: Sequence) -> pd.DataFrame:
    frame = means.frame(metric, shares=True, **axes).reindex(columns=list(COLUMNS))
    return frame.astype({"layer": "Int64", "length": "Int64", "square": "Int64", "state": "string"})
