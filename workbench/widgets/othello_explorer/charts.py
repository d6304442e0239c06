"""The list of moves, curves over length and depth, and maps of layers by heads.

For: pure functions from numbers to SVG. Not for: boards (`boards.py`), nor what stands where on the page (`page.py`).
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import chain, repeat

import numpy as np
from jaxtyping import Bool, Float, Num

from models.othello.board import Board
from models.othello.notation import square_text
from workbench.figures.theme import INK, MUTED
from workbench.widgets.othello_explorer.lens import Part
from workbench.widgets.othello_explorer.svg import (
    BLUE,
    FAINT,
    ILLEGAL,
    LEGAL,
    REFERENCE,
    button,
    diamond,
    drawing,
    element,
    grid,
    line,
    muted,
    percent,
    signed,
    text,
)

LISTED = 14
"""Moves in the list: all that are legal, and the most probable others up to this many."""
ROW = 19
WIDTH = 900


def ranking(
    board: Board,
    probability: Float[np.ndarray, "vocab"],
    legal: Bool[np.ndarray, "vocab"],
    reference: Float[np.ndarray, "vocab"] | None,
    chosen: int | None,
) -> str:
    """The most probable moves and every legal one: bar, target as a dark tick, and a thin bar for what it is compared with."""
    order = sorted(range(1, board.vocab), key=lambda token: (-probability[token], token))
    listed = [token for rank, token in enumerate(order) if legal[token] or (rank < LISTED and probability[token] > 1e-4)]
    target = 1 / max(1, legal.sum())
    top = max(probability.max(), target, 0 if reference is None else reference.max())
    left, width = 84, 210

    def row(number: int, token: int) -> str:
        y, name, share = 26 + number * ROW, square_text(board.square(token), board), float(probability[token])
        colour = LEGAL if legal[token] else ILLEGAL
        mark = element("circle", cx=74, cy=y + 8, r=4.5, fill=colour) if legal[token] else diamond(74, y + 8, 4.5, fill=colour)
        bar = element("rect", x=left, y=y + 2, width=max(0.5, width * share / top), height=9, fill=colour, rx=1)
        aim = target if legal[token] else 0.0
        told = f"{name}, {'legal' if legal[token] else 'illegal'}, {percent(share)}, target {percent(aim)}"
        delta = ""
        if reference is not None:
            other = float(reference[token])
            bar += element("rect", x=left, y=y + 12, width=max(0.5, width * other / top), height=3.5, fill=REFERENCE)
            delta = muted(left + width + 112, y + 12, signed(100 * (share - other), 1), anchor="end")
            told += f", compared with {percent(other)}"
        at = left + width * aim / top
        tick = element("line", x1=at, x2=at, y1=y + 1, y2=y + 16, stroke=INK, stroke_width=2)
        back = element("rect", x=0, y=y, width=408, height=ROW - 1, rx=3, fill="#fdf1dc" if token == chosen else "transparent")
        words = muted(22, y + 12, str(order.index(token) + 1), anchor="end") + text(34, y + 13, name, 13, font_weight="600")
        share_text = text(left + width + 60, y + 12, percent(share), 11.5, anchor="end")
        content = back + words + mark + bar + tick + share_text + delta
        step = {"move": None if token == chosen else token}  # a second click asks about the legal moves again
        return button(f"move{token}", told, "ask", step, (number, 0), content, chosen=token == chosen)

    heads = (
        muted(22, 14, "rank", anchor="end")
        + muted(34, 14, "move")
        + muted(left, 14, f"probability (tick: target {percent(target)})")
    )
    heads += muted(left + width + 112, 14, "change, %", anchor="end") if reference is not None else ""
    rows = grid("moves by probability", *(row(number, token) for number, token in enumerate(listed)))
    return drawing(410, 30 + ROW * len(listed), "moves by probability", heads, rows)


class Axes:
    """Where values are on a chart, and its axes."""

    def __init__(self, box: tuple[float, float, float, float], x: tuple[float, float], y: tuple[float, float]):
        """`box` is left, top, width and height."""
        self.left, self.top, self.width, self.height = box
        self._x, self._y = x, (y[0], y[1] if y[1] > y[0] else y[0] + 1)

    def x(self, value: float) -> float:
        """The place of a value, in px."""
        return self.left + self.width * (value - self._x[0]) / max(1e-9, self._x[1] - self._x[0])

    def y(self, value: float) -> float:
        """The place of a value, kept on the chart."""
        share = (value - self._y[0]) / (self._y[1] - self._y[0])
        return self.top + self.height * (1 - min(max(share, 0), 1))

    def points(self, values: Sequence[float] | Num[np.ndarray, "point"], first: float = 0) -> list[tuple[float, float]]:
        """The places of values at first, first + 1, ...; those that are no number are left out."""
        return [(self.x(first + at), self.y(float(value))) for at, value in enumerate(values) if np.isfinite(value)]

    def frame(self, title: str, form: Callable[[float], str]) -> str:
        """Title, base line, and the least, middle and greatest value on the left."""
        values = [self._y[0], sum(self._y) / 2, self._y[1]]
        lines = "".join(
            element("line", x1=self.left, x2=self.left + self.width, y1=self.y(value), y2=self.y(value), stroke=FAINT)
            + muted(self.left - 5, self.y(value) + 4, form(value), anchor="end")
            for value in values
        )
        return text(self.left, self.top - 8, title, 12, font_weight="600") + lines


def over_length(
    title: str,
    curves: Mapping[str, tuple[str, Sequence[float] | Num[np.ndarray, "position"]]],
    now: int,
    longest: int,
    train_length: int | None,
    form: Callable[[float], str],
    low: float | None = 0.0,
    key: str = "length",
) -> str:
    """Curves over the number of moves played, with the training length and where the board is; clicking goes to a position.

    `curves` are a colour and values from 1 move on, by name; the first is solid, others dashed. `low` None fits the axis.
    """
    finite = [float(value) for _, values in curves.values() for value in values if np.isfinite(value)] or [0.0]
    least = min(finite) if low is None else low
    axes = Axes((58, 26, WIDTH - 70, 76), (1, max(2, longest)), (least, max(finite)))
    bottom, step = axes.top + axes.height, axes.width / max(1, longest - 1)
    parts = [axes.frame(title, form)]
    if train_length is not None and train_length < longest:
        parts += _beyond(axes, axes.x(train_length) + step / 2, train_length)
    looks = [
        dict(stroke=colour, stroke_width=2, stroke_dasharray=dash)
        for (colour, _), dash in zip(curves.values(), chain((None, "5 3"), repeat("2 2")), strict=False)
    ]
    parts += [line(axes.points(values, 1), **look) for (_, values), look in zip(curves.values(), looks, strict=True)]
    parts += [muted(axes.x(tick), bottom + 14, str(tick), anchor="middle") for tick in range(10, longest + 1, 10)]
    if now:
        parts.append(
            element("line", x1=axes.x(now), x2=axes.x(now), y1=axes.top - 3, y2=bottom + 3, stroke="#e8483f", stroke_width=2)
        )
    hits = []
    for at in range(1, longest + 1):
        told = f"{at} moves" + "".join(
            f", {name} {form(float(values[at - 1]))}"
            for name, (_, values) in curves.items()
            if at <= len(values) and np.isfinite(values[at - 1])
        )
        area = element("rect", x=axes.x(at) - step / 2, y=axes.top - 4, width=step, height=axes.height + 8, fill="transparent")
        hits.append(button(f"{key}{at}", told, "show", {"moves": at}, (0, at), area, chosen=at == now))
    x = axes.left + 8.0 * len(title)
    for name, look in zip(curves, looks, strict=True):
        parts += [line([(x, 14), (x + 22, 14)], **look), muted(x + 27, 18, name)]
        x += 44 + 6.2 * len(name)
    return drawing(WIDTH, bottom + 20, title, *parts, grid(f"{title}, by length", *hits), stretch=True)


def _beyond(axes: Axes, at: float, train_length: int) -> list[str]:
    """What lies beyond the training length, in another ground."""
    right, bottom = axes.left + axes.width, axes.top + axes.height
    return [
        element("rect", x=at, y=axes.top, width=right - at, height=axes.height, fill="#f1ede4"),
        element("line", x1=at, x2=at, y1=axes.top, y2=bottom, stroke=MUTED, stroke_dasharray="8 3 2 3"),
        muted(at + 4, axes.top + 10, f"beyond training ({train_length})"),
    ]


def through_depth(
    depths: Sequence[str],
    lens: Float[np.ndarray, "depth"],
    probability: Float[np.ndarray, "depth"],
    illegal_mass: Float[np.ndarray, "depth"],
    tops: Sequence[tuple[str, bool]] = (),
    ranks: Sequence[int] = (),
    asked: str = "",
) -> str:
    """What would be predicted if the model stopped after each half block: advantage, probabilities, the top move of each."""
    step = max(30.0, 333 / len(depths))
    width = 62 + step * (len(depths) - 1) + 24
    upper = Axes((52, 26, width - 76, 88), (0, len(depths) - 1), (min(0.0, lens.min()), max(0.1, lens.max())))
    lower = Axes((52, 154, width - 76, 88), (0, len(depths) - 1), (0, max(0.1, probability.max(), illegal_mass.max())))
    parts = [upper.frame("logit lens: advantage, in logits", lambda value: f"{value:.1f}"), lower.frame("probability", percent)]
    parts += [
        line(upper.points(lens), stroke=BLUE, stroke_width=2),
        line(lower.points(probability), stroke=BLUE, stroke_width=2),
    ]
    parts.append(line(lower.points(illegal_mass), stroke=ILLEGAL, stroke_width=2, stroke_dasharray="5 3"))
    right = lower.left + lower.width
    parts.append(
        text(right - 118, 148, f"● {asked}", 11, BLUE, "end") + text(right, 148, "◆ all illegal moves", 11, ILLEGAL, "end")
    )
    for at, name in enumerate(depths):
        x = lower.x(at)
        told = f"{name}: advantage {lens[at]:.2f}, probability {percent(probability[at])}, illegal {percent(illegal_mass[at])}"
        parts.append(element("g", element("title", told), element("circle", cx=x, cy=upper.y(float(lens[at])), r=4, fill=BLUE)))
        parts.append(
            element("g", element("title", told), element("circle", cx=x, cy=lower.y(float(probability[at])), r=4, fill=BLUE))
        )
        parts.append(element("g", element("title", told), diamond(x, lower.y(float(illegal_mass[at])), 3.4, fill=ILLEGAL)))
        parts.append(
            text(x, 258, name.split()[0], 10, MUTED, "middle") + text(x, 269, " ".join(name.split()[1:]), 10, MUTED, "middle")
        )
    height = 276.0
    if tops:
        height += 34
        parts.append(muted(4, 289, "top") + muted(4, 304, "rank" if ranks else ""))
        for at, (name, is_legal) in enumerate(tops):
            parts.append(text(lower.x(at), 289, name, 11.5, LEGAL if is_legal else ILLEGAL, "middle", font_weight="600"))
            parts.append(muted(lower.x(at), 304, str(ranks[at]) if ranks else "", anchor="middle"))
    return drawing(width, height, "logit lens through depth", *parts)


def diverging(value: float, most: float) -> tuple[str, str]:
    """Fill and ink of a signed value: blue below zero, orange above, white at zero."""
    share = min(1.0, abs(value) / most) if most > 0 and np.isfinite(value) else 0.0
    end = (0, 92, 158) if value < 0 else (214, 104, 0)
    fill = "#" + "".join(f"{round(255 + (channel - 255) * share):02x}" for channel in end)
    return fill, "white" if share > 0.62 else INK


def parts_map(
    title: str,
    note: str,
    parts: Sequence[Part],
    values: Sequence[float] | Float[np.ndarray, "part"],
    form: Callable[[float], str],
    chosen: Part,
    key: str,
) -> str:
    """One number for each head and MLP, layers down and heads across; the greatest is ringed, and clicking chooses a part."""
    cell, tall = 40, 30
    heads = max((head for _, head in parts if head is not None), default=0) + 1
    most = max((abs(float(value)) for value in values if np.isfinite(value)), default=0.0)
    cells = []
    for (layer, head), value in zip(parts, values, strict=True):
        column = heads if head is None else head
        x, y = 30 + column * cell + (8 if head is None else 0), 50 + layer * tall
        fill, ink = diverging(float(value), most)
        ring = abs(value) == most and most > 0
        stroke, weight = ("#e8483f", 3) if ring else (INK, 2.4) if (layer, head) == chosen else ("#c9c7c0", 0.8)
        box = element(
            "rect", x=x + 1, y=y + 1, width=cell - 3, height=tall - 3, fill=fill, stroke=stroke, stroke_width=weight, rx=3
        )
        told = f"layer {layer} {'MLP' if head is None else f'head {head}'}: {form(float(value))}"
        content = box + text(x + cell / 2, y + 19, form(float(value)), 10.5, ink, "middle")
        cells.append(button(f"{key}{layer}-{column}", told, "part", {"layer": layer, "head": head}, (layer, column), content))
    mlps = any(head is None for _, head in parts)
    tops = "".join(muted(30 + (head + 0.5) * cell, 44, f"H{head}", anchor="middle") for head in range(heads))
    tops += muted(38 + (heads + 0.5) * cell, 44, "MLP", anchor="middle") if mlps else ""
    layers = sorted({layer for layer, _ in parts})
    sides = "".join(muted(4, 50 + layer * tall + 19, f"L{layer}") for layer in layers)
    heading = text(4, 13, title, 12, font_weight="600") + muted(4, 28, note)
    width = max(44 + (heads + mlps) * cell, 240)
    return drawing(width, 56 + tall * len(layers), title, heading, tops, sides, grid(title, *cells))
