"""What a browser makes of a figure, made fit to be kept: of exact size, and the same bytes for the same figure."""

import re
import struct
import zlib

DATE = re.compile(rb"/(?:CreationDate|ModDate) \(D:[^)]*\)")
"""Both dates of a PDF are optional; they are blanked, so that the same figure gives the same file."""
PAGE = re.compile(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]")


def pdf_bytes(data: bytes, width: float) -> bytes:
    """A PDF of one page whose page is `width` points wide, without dates; no byte is moved, so its index of objects holds.

    The browser was given up to 2 px more, and put the figure into the top left corner; only the white beyond it is taken off.
    Raises ValueError for a PDF that has not one page, or one that is narrower or over 2 pt wider.
    """
    pages = list(PAGE.finditer(data))
    widths = [float(page.group(1)) for page in pages]
    if len(widths) != 1 or not width - 0.01 <= widths[0] <= width + 2:
        raise ValueError(f"expected a PDF of one page {width:g} pt wide, got {widths}; try another Chrome or Chromium")
    old = pages[0].group(0)
    new = b"/MediaBox [0 0 %s %s]" % (f"{width:g}".encode(), pages[0].group(2))
    return DATE.sub(lambda date: b" " * len(date.group(0)), data.replace(old, new.ljust(len(old))))


def svg_bytes(data: bytes) -> bytes:
    """An SVG whose ids are the same every time: plotly makes them of a random word for each figure, which becomes `figure`."""
    word = re.search(rb'id="defs-([0-9a-f]{6})"', data)
    return data.replace(word.group(1), b"figure") if word else data


def page_size(svg: bytes) -> tuple[float, float]:
    """Width and height in px of an SVG that plotly made."""
    size = re.search(rb'<svg[^>]* width="([\d.]+)" height="([\d.]+)"', svg)
    if size is None:
        raise ValueError("expected an SVG with its width and height in px, as plotly writes it")
    return float(size.group(1)), float(size.group(2))


def png_bytes(data: bytes, dpi: float) -> bytes:
    """A PNG that says how many dots an inch it has, so that it is placed at its true size."""
    per_metre = round(dpi / 0.0254)
    body = b"pHYs" + struct.pack(">IIB", per_metre, per_metre, 1)
    after_header = 8 + 25
    return data[:after_header] + struct.pack(">I", 9) + body + struct.pack(">I", zlib.crc32(body)) + data[after_header:]
