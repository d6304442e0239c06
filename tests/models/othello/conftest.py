"""The reference that shares nothing with the engine: Othello by walking over a dictionary of squares, in plain Python."""

import pytest

from models.random_stream import draw_scalar


class NaiveGame:
    """One game on a board of any even side, moves and states in squares; +1 is black, the first mover."""

    def __init__(self, size: int):
        low, high = size // 2 - 1, size // 2
        self.size = size
        self.discs = {(low, low): -1, (high, high): -1, (low, high): 1, (high, low): 1}
        self.mover = 1

    def turned_by(self, place: tuple[int, int], mover: int) -> list[tuple[int, int]]:
        if place in self.discs:
            return []
        turned = []
        for down, right in [(d, r) for d in (-1, 0, 1) for r in (-1, 0, 1) if d or r]:
            row, column, line = place[0] + down, place[1] + right, []
            while self.discs.get((row, column)) == -mover:
                line.append((row, column))
                row, column = row + down, column + right
            if self.discs.get((row, column)) == mover:
                turned += line
        return turned

    def _options(self, mover: int) -> list[int]:
        places = [(row, column) for row in range(self.size) for column in range(self.size)]
        return [self.size * row + column for row, column in places if self.turned_by((row, column), mover)]

    def legal(self) -> list[int]:
        return self._options(self.mover)

    def play(self, square: int) -> list[int]:
        """Play a move, hand the turn over or not, and return the squares of the discs that were turned."""
        place = divmod(square, self.size)
        turned = self.turned_by(place, self.mover)
        assert turned, f"square {square} is illegal"
        self.discs |= dict.fromkeys([place, *turned], self.mover)
        self.mover = -self.mover
        if not self.legal() and self._options(-self.mover):
            self.mover = -self.mover
        return sorted(self.size * row + column for row, column in turned)

    def board(self) -> list[int]:
        """+1, -1 or 0 of each square."""
        return [self.discs.get(divmod(square, self.size), 0) for square in range(self.size**2)]

    @classmethod
    def random_moves(cls, size: int, seed: int, index: int) -> list[int]:
        """The squares of game `index` of stream `seed`, from the words of its definition."""
        game, moves = cls(size), []
        while options := game.legal():
            draw = draw_scalar(seed, index, len(moves))
            moves.append(options[((draw >> 32) * len(options)) >> 32])
            game.play(moves[-1])
        return moves


@pytest.fixture(scope="session")
def naive_game() -> type[NaiveGame]:
    return NaiveGame
