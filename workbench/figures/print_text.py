"""Text at its size in print: how wide it is and where its lines break.

Estimates for Helvetica and its metric twins (Arial, Liberation Sans), in em, since no browser is asked.
"""

import re

TEXT_POINTS = 8
CSS_DPI = 96
PX_PER_POINT = CSS_DPI / 72
TEXT = TEXT_POINTS * PX_PER_POINT
"""8 pt in CSS pixels, the unit of plotly's layouts: 1 px is 1/96 in, 1 pt is 1/72 in."""
LINE = 1.3 * TEXT
"""From one line of text to the next, as plotly sets them."""
SUPERSCRIPT = 0.7

_WIDTHS = {
    "ijl'|": 0.22, "ft.,:;!/ ()[]I·": 0.29, "r-\"": 0.34, "cksvxyzJ": 0.5, "m": 0.84, "wO": 0.75, "−=+<>≤≥": 0.59, "M": 0.84,
    "ABEKPSVXY": 0.67, "CDHNRUGQ": 0.75, "FTZ": 0.62, "W": 0.95, "%@": 0.95,
}  # fmt: skip
_OTHER = 0.56
_WIDTH_OF = {character: width for characters, width in _WIDTHS.items() for character in characters}
_BOLD = 1.08


def text_width(text: str, bold: bool = False) -> float:
    """Width of the longest line in px; tags take no room and superscripts less."""
    return max(_line_width(line) for line in text.split("<br>")) * (_BOLD if bold else 1)


def _line_width(line: str) -> float:
    raised = "".join(re.findall(r"<sup>(.*?)</sup>", line))
    level = re.sub(r"<[^>]*>", "", re.sub(r"<sup>.*?</sup>", "", line))
    ems = [[_WIDTH_OF.get(character, _OTHER) for character in part] for part in (level, raised)]
    return TEXT * (sum(ems[0]) + SUPERSCRIPT * sum(ems[1]))


def wrapped(text: str, width: float, bold: bool = False) -> str:
    """The text with `<br>` between words where a line would be wider than `width` px; a longer word stays whole."""
    lines = [""]
    for word in text.replace("<br>", " ").split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and text_width(longer, bold) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return "<br>".join(lines)


def line_count(text: str | None) -> int:
    """How many lines a wrapped text has; 0 for none."""
    return text.count("<br>") + 1 if text else 0
