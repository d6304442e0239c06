"""What the HTML reports are made of: the page around their parts, its style, tables, figures, and how a number is written.

For: pages that open anywhere, without a network, and come out the same every time. What a page says is its own file's business.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from workbench.figures.export import figure_html
from workbench.figures.theme import FONT, INK

PACKAGES = ("torch", "transformer-lens", "numpy", "pandas", "plotly")
"""Whose versions a page gives."""

STYLE = (
    f"""
body {{ font: 15px/1.5 {FONT}; color: {INK}; }}"""
    + """
body { max-width: 1360px; margin: 2rem auto; padding: 0 1.5rem; }
h1 { font-size: 1.7rem; margin-bottom: 0.2rem; }
h2 { margin-top: 2.5rem; border-bottom: 1px solid #ccc; } h3 { margin-top: 1.8rem; }
p, li { max-width: 75ch; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 12.5px; margin: 0.6rem 0 1.2rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.3rem 0.5rem; border-bottom: 1px solid #e3e3e3; text-align: left; vertical-align: top; white-space: nowrap; }
th { font-weight: 600; border-bottom: 1px solid #888; } th.group { border-left: 1px solid #ccc; }
td.group { border-left: 1px solid #ccc; }
td small { display: block; color: #666; font-size: 11px; }
td.command { white-space: normal; min-width: 110ch; font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: 12px; }
code { background: #f4f4f4; padding: 0 0.25em; }
"""
)

_SUPERSCRIPT = str.maketrans("−0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def html_page(title: str, style: str, parts: Sequence[str]) -> str:
    """The whole page, with plotly in it for its figures.

    Args:
        title: of the browser's window, as plain text.
        style: CSS, `STYLE` and what the page adds to it.
        parts: HTML, from top to bottom.
    """
    from plotly.offline import get_plotlyjs

    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title><style>{style}</style>'
        f"<script>{get_plotlyjs()}</script></head>\n<body>\n" + "\n".join(parts) + "\n</body></html>\n"
    )


def html_figures(figures: Mapping[str, go.Figure]) -> list[str]:
    """Every figure, by name, as a part of a page."""
    return [f'<div class="scroll">{figure_html(figure, name, False)}</div>' for name, figure in figures.items()]


def html_table(table: pd.DataFrame, text: Callable[[Any], str]) -> str:
    """A frame as a table under the names of its columns; a column `command` is set in lines.

    `text` is how the page writes a value, as plain text.
    """
    head = "".join(f"<th>{escape(str(name).replace('_', ' '))}</th>" for name in table.columns)
    rows = (
        "".join(
            f"<td{' class=command' if name == 'command' else ''}>{escape(text(value))}</td>"
            for name, value in zip(table.columns, row, strict=True)
        )
        for row in table.itertuples(index=False)
    )
    return scrolling_table(f"<tr>{head}</tr>", "".join(f"<tr>{row}</tr>" for row in rows))


def scrolling_table(head: str, body: str) -> str:
    """Rows of HTML as a table that scrolls sideways where the window is narrower."""
    return f'<div class="scroll"><table><thead>{head}</thead><tbody>{body}</tbody></table></div>'


def number(value: float) -> str:
    """A number with three significant digits and a true minus sign: `0.0123`, `−4.1·10⁻⁵`; NaN is a dash."""
    if math.isnan(value):
        return "–"
    text = f"{value:.3g}".replace("-", "−")
    mantissa, _, exponent = text.partition("e")
    return f"{mantissa}·10{exponent.replace('+', '').replace('−0', '−').translate(_SUPERSCRIPT)}" if exponent else text
