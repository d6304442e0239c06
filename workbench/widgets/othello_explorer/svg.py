"""SVG as text: the elements that every picture of the explorer is made of.

For: pictures that are the same in the widget, without a kernel, and in a file; so looks are attributes, not style sheets. What
can be clicked is a `button`, whose step the front end sends back. Not for: what is drawn (`boards.py`, `charts.py`).
"""

import html
import json
from collections.abc import Sequence
from typing import Any

from workbench.figures.theme import FONT, INK, MUTED, PALETTE

BLUE, VERMILION, GREEN, PINK, ORANGE, SKY = PALETTE[:6]
LEGAL, ILLEGAL, REFERENCE = BLUE, VERMILION, PINK
FAINT = "#e3e3e0"


def element(name: str, *content: str, **attributes: object) -> str:
    """An element; `stroke_width` is `stroke-width`, and attributes that are None are left out."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(_text(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return f"<{name}{written}>{''.join(content)}</{name}>" if content else f"<{name}{written}/>"


def _text(value: object) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def text(x: float, y: float, words: str, size: float = 11, fill: str = INK, anchor: str = "start", **attributes: object) -> str:
    """Words on one line; `anchor` is start, middle or end."""
    return element("text", html.escape(words), x=x, y=y, font_size=size, fill=fill, text_anchor=anchor, **attributes)


def drawing(width: float, height: float, label: str, *content: str, stretch: bool = False) -> str:
    """A whole picture with its name for those who do not see it; `stretch` lets it fill the width there is."""
    return element(
        "svg",
        *content,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width:g} {height:g}",
        width="100%" if stretch else f"{width:g}",
        height=None if stretch else f"{height:g}",
        role="group",
        aria_label=label,
        font_family=FONT,
        style="max-width:100%",
    )


def button(
    key: str, label: str, step: str | None, arguments: dict[str, Any], at: tuple[int, int], *content: str, chosen: bool = False
) -> str:
    """Content that can be reached by arrow keys in its grid, at (row, column), and takes a step when clicked.

    `label`, its title, is what is read out and what hovering shows; without a step it can be reached and read only.
    """
    return element(
        "g",
        element("title", html.escape(label)),
        *content,
        class_="oe-at" + (" oe-act" if step else ""),
        role="button" if step else "img",
        tabindex=-1,
        data_key=key,
        data_step=step,
        data_arguments=json.dumps(arguments) if step else None,
        data_row=at[0],
        data_column=at[1],
        data_chosen="true" if chosen else None,
    )


def grid(label: str, *content: str) -> str:
    """Buttons that arrow keys move among."""
    return element("g", *content, class_="oe-grid", role="group", aria_label=label)


def line(points: Sequence[tuple[float, float]], **attributes: object) -> str:
    """A line through points."""
    return element("polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in points), fill="none", **attributes)


def diamond(x: float, y: float, radius: float, **attributes: object) -> str:
    """A square on its tip of the area of a disc of that radius."""
    half = radius * 1.2533  # sqrt(pi / 2)
    corners = ((x, y - half), (x + half, y), (x, y + half), (x - half, y))
    return element("polygon", points=" ".join(f"{a:.1f},{b:.1f}" for a, b in corners), **attributes)


def percent(share: float) -> str:
    """12 %, 1.2 %, 0.03 %, <0.01 %, 0 %."""
    if share == 0 or share >= 0.0995:
        return f"{100 * share:.0f} %"
    return f"{100 * share:.1f} %" if share >= 0.00995 else f"{100 * share:.2f} %" if share >= 5e-5 else "<0.01 %"


def signed(value: float, digits: int = 2) -> str:
    """+1.20, −0.35, with the sign always there but at 0."""
    return f"{value:+.{digits}f}".replace("-", "−") if round(value, digits) else "0"


def muted(x: float, y: float, words: str, **attributes: Any) -> str:
    """A small grey note."""
    return text(x, y, words, fill=MUTED, **attributes)
