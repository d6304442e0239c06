"""Boards: what the model predicts, attends to and believes, square by square.

For: pure functions from numbers to SVG. On green boards a game is played; on pale ones something is measured. Legal and illegal
differ by shape (disc, diamond) as well as by colour, own and other moves by colour and by letter.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from models.othello.board import Board
from models.othello.notation import square_text
from probes.intervention import EMPTY
from workbench.figures.theme import INK, MUTED
from workbench.widgets.othello_explorer.game import Edit, Position
from workbench.widgets.othello_explorer.svg import (
    BLUE,
    ORANGE,
    PINK,
    SKY,
    button,
    diamond,
    drawing,
    element,
    grid,
    muted,
    percent,
    signed,
    text,
)

FELT, FELT_LINE, PALE, PALE_LINE = "#2f7d5d", "#1f5a42", "#f6f5f1", "#d5d3cc"
MINE, THEIRS = BLUE, ORANGE
SHADES = 12
"""Shades of the attention at a glance."""
COLOURS = ("black", "white", "empty")
SEEN = 0.005
"""Least probability that is drawn on the board; the list has all."""
LABELLED = 0.025
"""Least probability that has its number on the board."""
TARGET_RADIUS = 0.27
"""Radius of the ring in squares: a disc fills it where the probability is exactly the target."""


class Grid:
    """Where the squares of a board of a given cell size are."""

    def __init__(self, board: Board, cell: float, top: float = 0, coordinates: bool = True):
        self.board, self.cell = board, cell
        self.left, self.top = (16.0 if coordinates else 1.0), top + (16.0 if coordinates else 1.0)
        self.side = cell * board.size
        self.width, self.height = self.left + self.side + 2, self.top + self.side + 2
        self._coordinates = coordinates

    def centre(self, square: int) -> tuple[float, float]:
        """The middle of a square."""
        row, column = divmod(square, self.board.size)
        return self.left + (column + 0.5) * self.cell, self.top + (row + 0.5) * self.cell

    def at(self, square: int) -> tuple[int, int]:
        """Its row and column."""
        return divmod(square, self.board.size)

    def name(self, square: int) -> str:
        """Its name, as f5."""
        return square_text(square, self.board)

    def cover(self, square: int, **attributes: Any) -> str:
        """A rectangle over a square."""
        x, y = self.centre(square)
        half = self.cell / 2
        return element("rect", x=x - half, y=y - half, width=self.cell, height=self.cell, **attributes)

    def ground(self, fill: str = FELT, stroke: str = FELT_LINE) -> str:
        """The empty board with its coordinates."""
        cell, size = self.cell, self.board.size
        edge = element("rect", x=self.left, y=self.top, width=self.side, height=self.side, fill=fill, stroke=stroke, rx=2)
        path = "".join(
            f"M{self.left + step * cell:g} {self.top:g}v{self.side:g}M{self.left:g} {self.top + step * cell:g}h{self.side:g}"
            for step in range(1, size)
        )
        lines = element("path", d=path, stroke=stroke, stroke_width=1)
        if not self._coordinates:
            return edge + lines
        places = [self.left + (step + 0.5) * cell for step in range(size)]
        letters = "".join(
            muted(x, self.top - 5, letter, anchor="middle") for x, letter in zip(places, "abcdefgh", strict=False)
        )
        rows = [self.top + (step + 0.5) * cell + 4 for step in range(size)]
        return edge + lines + letters + "".join(muted(4, y, str(row)) for row, y in enumerate(rows, start=1))

    def disc(self, square: int, colour: int, share: float = 0.42, **attributes: Any) -> str:
        """A black (0) or white (1) disc; nothing for 2."""
        if colour == EMPTY:
            return ""
        x, y = self.centre(square)
        look = {"fill": ("#16181a", "#f8f7f2")[colour], "stroke": ("#000000", "#8f8d85")[colour], "stroke_width": 0.8}
        return element("circle", cx=x, cy=y, r=share * self.cell, **{**look, **attributes})

    def ring(self, square: int, share: float, stroke: str, **attributes: Any) -> str:
        """A circle around the middle of a square."""
        x, y = self.centre(square)
        return element("circle", cx=x, cy=y, r=share * self.cell, fill="none", stroke=stroke, **attributes)


def played_board(
    title: str,
    position: Position,
    believed: Position,
    edits: Sequence[Edit],
    mark: Callable[[Grid, int], str],
    tell: Callable[[int], str],
    cell: float = 46,
    prefix: str = "",
) -> str:
    """The board as it is played on: discs, last move, edits, a ring on every legal square, and a `mark` on each square.

    `believed` is the position with the edits, whose legal squares get the ring; moves are legal in `position`, and clicking one
    plays it. `tell` is what is read out of a square. `prefix` keeps keys of two boards apart.
    """
    places = Grid(position.board, cell, top=20)
    edited = {edit.square for edit in edits}
    squares = []
    for square, disc in enumerate(believed.discs):
        content = places.cover(square, fill="transparent") + places.disc(square, disc)
        if square == position.last:
            x, y = places.centre(square)
            content += element("circle", cx=x, cy=y, r=0.09 * cell, fill="#e8483f", stroke="white", stroke_width=1)
        if square in edited:
            content += places.ring(square, 0.45, PINK, stroke_width=3)
        if believed.is_legal(square):
            content += places.ring(square, TARGET_RADIUS, "#ffffff", stroke_width=1.6, stroke_dasharray="3 2")
        content += mark(places, square)
        step = "play" if position.is_legal(square) else None
        told = f"{places.name(square)}, {COLOURS[disc]}{', legal' if believed.is_legal(square) else ''}{tell(square)}"
        squares.append(button(f"{prefix}{square}", told, step, {"square": square}, places.at(square), content))
    content = text(places.left, 13, title, size=12, font_weight="600") + places.ground() + grid(title, *squares)
    return drawing(places.width, places.height, title, content)


def prediction_mark(probability: Float[np.ndarray, "vocab"], believed: Position) -> Callable[[Grid, int], str]:
    """Area for probability: a disc on legal squares, which fills the ring at the target, a diamond on illegal ones."""
    count = max(1, int(believed.legal_tokens.sum()))

    def mark(places: Grid, square: int) -> str:
        share = probability[believed.board.token_of_square[square]] if believed.board.token_of_square[square] else 0.0
        if share < SEEN:
            return ""
        x, y = places.centre(square)
        radius = _radius(share, count, places.cell)
        label = _label(places, x, y, f"{100 * share:.0f}") if share >= LABELLED else ""
        if believed.is_legal(square):
            return element("circle", cx=x, cy=y, r=radius, fill=SKY, fill_opacity=0.95) + label
        return diamond(x, y, radius, fill="#ff9d5c", stroke="#7a2f00", stroke_width=1) + label

    return mark


def difference_mark(difference: Float[np.ndarray, "vocab"], believed: Position) -> Callable[[Grid, int], str]:
    """Area for the change of probability: sky blue with a plus for more than the other model, orange with a minus for less."""
    count = max(1, int(believed.legal_tokens.sum()))

    def mark(places: Grid, square: int) -> str:
        token = believed.board.token_of_square[square]
        change = difference[token] if token else 0.0
        if abs(change) < SEEN:
            return ""
        x, y = places.centre(square)
        radius = _radius(abs(change), count, places.cell)
        edge = {"stroke": "#7a2f00", "stroke_width": 1}
        shape = (
            element("circle", cx=x, cy=y, r=radius, fill=SKY) if change > 0 else diamond(x, y, radius, fill="#ff9d5c", **edge)
        )
        return shape + (_label(places, x, y, signed(100 * change, 0)) if abs(change) >= LABELLED else "")

    return mark


def _label(places: Grid, x: float, y: float, words: str) -> str:
    size = max(8.5, 0.25 * places.cell)
    return text(x, y + 0.35 * size, words, size, "#06283d", "middle", font_weight="600")


def _radius(share: float, count: int, cell: float) -> float:
    """Radius for a probability where `count` moves are legal; a diamond of it just fits the square."""
    return float(min(0.39, TARGET_RADIUS * np.sqrt(share * count)) * cell)


def attention_board(
    title: str,
    position: Position,
    squares: Sequence[int],
    weights: Float[np.ndarray, "move"],
    mine: Sequence[bool],
) -> str:
    """Each earlier move at its square, filled by the weight on it: blue M where the side to move played it, orange T otherwise.

    `squares`, `weights` and `mine` are of the moves so far, in order.
    """
    cell = 42
    places = Grid(position.board, cell, top=20)
    top = max(float(weights.max()), 1e-9) if len(weights) else 1.0
    content = []
    for square, disc in enumerate(position.discs):
        number = squares.index(square) + 1 if square in squares else 0
        parts = places.cover(square, fill="transparent")
        told = f"{places.name(square)}, {COLOURS[disc]}"
        if number:
            weight = float(weights[number - 1])
            own = mine[number - 1]
            x, y = places.centre(square)
            parts += places.cover(square, fill=MINE if own else THEIRS, fill_opacity=0.92 * weight / top)
            dark = own and weight > 0.55 * top
            parts += text(
                x - cell / 2 + 3, y - cell / 2 + 10, f"{number}{'M' if own else 'T'}", 8.5, "white" if dark else MUTED
            )
            if weight >= 0.01:
                parts += text(x, y + 6, f"{100 * weight:.0f}", 12, "white" if dark else INK, "middle", font_weight="600")
            told += f", move {number}, {'mine' if own else 'theirs'}, attention {percent(weight)}"
        edge = {"fill": "none", "stroke": "#e8483f", "stroke_width": 2.5}
        parts += places.cover(square, **edge) if square == position.last else ""
        parts += places.disc(square, disc, 0.1, transform=f"translate({0.33 * cell:g} {0.33 * cell:g})")
        content.append(button(f"attention{square}", told, None, {}, places.at(square), parts))
    head = text(places.left, 13, title, size=12, font_weight="600")
    return drawing(places.width, places.height, title, head + places.ground(PALE, PALE_LINE) + grid(title, *content))


def small_attention(
    board: Board,
    squares: Sequence[int],
    weights: Float[np.ndarray, "move"],
    mine: Sequence[bool],
    corner: tuple[float, float],
    cell: int,
) -> str:
    """The same at a glance, without words, at a place in another picture."""
    (x, y), side, top = corner, cell * board.size, max(float(weights.max()), 1e-9) if len(weights) else 1.0
    shades: dict[tuple[bool, int], str] = {}  # squares of one shade are one path: a browser draws it much faster
    for square, weight, own in zip(squares, weights, mine, strict=True):
        row, column = divmod(square, board.size)
        shade = (own, round(SHADES * float(weight) / top))
        if shade[1]:
            shades[shade] = shades.get(shade, "") + f"M{x + column * cell:g} {y + row * cell:g}h{cell}v{cell}h-{cell}z"
    filled = (
        element("path", d=path, fill=MINE if own else THEIRS, fill_opacity=shade / SHADES)
        for (own, shade), path in shades.items()
    )
    return element("rect", x=x, y=y, width=side, height=side, fill=PALE, stroke=PALE_LINE) + "".join(filled)


def decoded_board(title: str, position: Position, decoded: Int[np.ndarray, "square"], chosen: bool = False) -> str:
    """The board that a probe reads (0 mine, 1 theirs, 2 empty, for the side to move), with every wrong square ringed."""
    places = Grid(position.board, 20, top=18, coordinates=False)
    turn = (0, 1, 2) if position.black_moves else (1, 0, 2)
    parts = [text(places.left, 12, title, size=11, font_weight="700" if chosen else "500"), places.ground()]
    for square, (read, true) in enumerate(zip(decoded, position.mine, strict=True)):
        disc = places.disc(square, turn[int(read)])
        if read != true:
            wrong = f"{places.name(square)}: read {COLOURS[turn[int(read)]]}, is {COLOURS[turn[true]]}"
            ring = places.cover(square, fill="#ff9d5c", fill_opacity=0.55) + disc
            ring += places.ring(square, 0.44, "#c42e00", stroke_width=2.4)
            disc = element("g", element("title", wrong), ring)
        parts.append(disc)
    return drawing(places.width, places.height, title, *parts)


def asked_board(title: str, believed: Position, chosen: int | None) -> str:
    """The board to ask about any move by clicking, legal or not; a click on the one asked about takes that back."""
    places = Grid(believed.board, 30, top=20)
    squares = []
    for square, disc in enumerate(believed.discs):
        token = believed.board.token_of_square[square]
        content = places.cover(square, fill="transparent") + places.disc(square, disc)
        if believed.is_legal(square):
            content += places.ring(square, TARGET_RADIUS, "#ffffff", stroke_width=1.4, stroke_dasharray="3 2")
        if token and token == chosen:
            content += places.cover(square, fill="none", stroke=SKY, stroke_width=3)
        told = f"{places.name(square)}, {COLOURS[disc]}{', legal' if believed.is_legal(square) else ''}"
        told += ", asked about" if token and token == chosen else ""
        step = {"move": None if token == chosen else token}
        squares.append(button(f"ask{square}", told, "ask" if token else None, step, places.at(square), content))
    head = text(places.left, 13, title, size=12, font_weight="600")
    return drawing(places.width, places.height, title, head + places.ground() + grid(title, *squares))


def edit_board(title: str, believed: Position, edits: Sequence[Edit]) -> str:
    """The board to edit by clicking: edited squares have a pink ring, and clicking one again takes its edit back."""
    places = Grid(believed.board, 30, top=20)
    edited = {edit.square: edit.method for edit in edits}
    squares = []
    for square, disc in enumerate(believed.discs):
        content = places.cover(square, fill="transparent") + places.disc(square, disc)
        if square in edited:
            content += places.ring(square, 0.44, PINK, stroke_width=3.5)
        told = f"{places.name(square)}, {COLOURS[disc]}" + (f", {edited[square]} edited" if square in edited else "")
        squares.append(button(f"edit{square}", told, "edit", {"square": square}, places.at(square), content))
    content = text(places.left, 13, title, size=12, font_weight="600") + places.ground() + grid(title, *squares)
    return drawing(places.width, places.height, title, content)
