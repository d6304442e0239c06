"""The page: which pictures a state shows, where, and the words beside them.

For: `pictures(look)`, the HTML of each part of the page, which the widget, the page without a kernel and export share. Not for:
numbers (`look.py`), nor how a picture is drawn (`boards.py`, `charts.py`).
"""

import base64
import html
import re
from collections.abc import Callable, Sequence

import numpy as np

from workbench.figures.theme import FONT, INK, MUTED
from workbench.metrics import METRICS
from workbench.widgets.othello_explorer import boards, charts
from workbench.widgets.othello_explorer.effects import Effects
from workbench.widgets.othello_explorer.lens import Part
from workbench.widgets.othello_explorer.look import Look, direct_of
from workbench.widgets.othello_explorer.state import Tab
from workbench.widgets.othello_explorer.svg import (
    BLUE,
    REFERENCE,
    button,
    drawing,
    element,
    grid,
    muted,
    percent,
    signed,
    text,
)
from workbench.widgets.othello_explorer.tables import part_name


def pictures(look: Look) -> dict[str, str]:
    """The HTML of every part of the page."""
    silent = look.why_silent
    return {
        "boards": _boards(look),
        "ranking": _note(silent) if silent else _ranking(look),
        "lengths": _lengths(look),
        "panel": _PANELS[look.state.tab](look) if not silent or look.state.tab == "many positions" else _note(silent),
    }


def standalone(look: Look) -> str:
    """All of it as one HTML fragment, for where there is no kernel, and for files."""
    shown = pictures(look)
    title = f"{look.state.model}, {look.moves} moves"
    style = f"font:13px {FONT};color:{INK};background:white;padding:12px;max-width:960px"
    board, beside = f"<div>{shown['boards']}</div>", f'<div style="width:410px">{shown["ranking"]}</div>'
    side = f'<div style="display:flex;gap:18px;flex-wrap:wrap">{board}{beside}</div>'
    return f'<div style="{style}"><b>{html.escape(title)}</b>{side}{shown["lengths"]}{shown["panel"]}</div>'


def still(look: Look) -> str:
    """The same with every drawing as an image, which notebooks that are not trusted show too."""

    def image(found: re.Match[str]) -> str:
        drawing, label = found[0], re.search('aria-label="([^"]*)"', found[0])
        size = "width:100%" if 'width="100%"' in drawing[: drawing.index(">")] else "max-width:100%"
        data = base64.b64encode(drawing.encode()).decode()
        return f'<img alt="{label[1] if label else ""}" style="{size}" src="data:image/svg+xml;base64,{data}">'

    return re.sub("<svg.*?</svg>", image, standalone(look), flags=re.DOTALL)


def _note(words: str) -> str:
    return f'<p class="oe-note" style="color:{MUTED};max-width:72ch">{html.escape(words)}</p>'


def _row(*drawings: str) -> str:
    return f'<div class="oe-row" style="display:flex;gap:18px;flex-wrap:wrap;align-items:flex-start">{"".join(drawings)}</div>'


def _boards(look: Look) -> str:
    position, believed, edits = look.position, look.believed, look.state.edits
    side = "black" if position.black_moves else "white"
    whose = "the game is over" if position.over else f"{side} to move"
    moves = "1 move" if look.moves == 1 else f"{look.moves} moves"
    title = f"{moves}, {whose}{', as edited' if edits else ''}"

    def board(
        title: str, mark: Callable[[boards.Grid, int], str], tell: Callable[[int], str], cell: float = 46, key: str = "here"
    ) -> str:
        return boards.played_board(title, position, believed, edits, mark, tell, cell, key)

    if look.why_silent:
        return board(title, lambda places, square: "", lambda square: "")
    here, other = look.probability, look.reference_probability

    def telling(shares: np.ndarray) -> Callable[[int], str]:
        return lambda square: (
            f", {percent(float(shares[token]))}" if (token := look.lenses.board.token_of_square[square]) else ""
        )

    if other is None or look.state.view == "one board":
        return board(title, boards.prediction_mark(here, believed), telling(here))
    assert look.reference is not None
    if look.state.view == "difference":
        told = f"{title}: change from {look.reference[0]}"
        return board(told, boards.difference_mark(here - other, believed), telling(here))
    left = board(look.state.model, boards.prediction_mark(here, believed), telling(here), cell=27)
    return _row(left, board(look.reference[0], boards.prediction_mark(other, believed), telling(other), cell=27, key="other"))


def _ranking(look: Look) -> str:
    legal = look.believed.legal_tokens
    here, other = look.probability, look.reference_probability
    count, illegal = int(legal.sum()), float(here[~legal].sum())
    head = f"<b>{percent(illegal)}</b> on illegal moves"
    if other is not None and look.reference is not None:
        head += f' (<span style="color:{REFERENCE};font-weight:600">{html.escape(look.reference[0])}</span>: '
        head += f"{percent(float(other[~legal].sum()))})"
    variation = float(np.abs(here - look.believed.target).sum() / 2)
    head += f" · total variation {variation:.2f} · {count} legal"
    if look.state.edits:
        before, after, sham = look.errors
        head += f"<br>errors of the top {count} against the edited board: <b>{after}</b>; "
        head += f"unedited {before}, pushed at random {sham}"
    picture = charts.ranking(look.lenses.board, here, legal, other, look.state.move)
    return f'<p class="oe-head" style="margin:2px 0 6px">{head}</p>{picture}'


def _lengths(look: Look) -> str:
    if not look.tokens:
        return ""
    metric = METRICS[look.state.measure]
    colours = {"this": (look.state.model, BLUE), "reference": (look.reference[0] if look.reference else "", REFERENCE)}
    curves = {colours[which][0]: (colours[which][1], values[metric.name]) for which, values in look.metrics().items()}
    form = percent if metric.high == 1 else lambda value: f"{value:.2f}"
    low = 0.0 if np.isfinite(metric.low) else None
    title = f"{metric.axis}, this game"
    return charts.over_length(title, curves, look.moves, look.longest, look.lens.train_length, form, low)


def _attention(look: Look) -> str:
    layer, head = look.state.part
    overview = _overview(look)
    if head is None:
        return _row(overview, _note(f"{part_name(look.state.part)} attends to nothing; its strength can be set all the same."))
    weights, mine = look.attention(layer, head), look.mine
    squares = look.state.game.squares[: look.moves]
    board = boards.attention_board(f"attention of layer {layer} head {head}, in %", look.position, squares, weights, mine)
    own = float(weights[np.array(mine, dtype=bool)].sum())
    words = (
        f"From the last move (red frame) to each move so far. <b style='color:{boards.MINE}'>M</b>: made by the side to move, "
        f"<b>{percent(own)}</b> together; <b style='color:#a86b00'>T</b>: by the other, <b>{percent(1 - own)}</b>."
    )
    effective = look.effective_tokens()[layer, head]
    uniform = np.arange(1, len(effective) + 1)
    curves = {"this head": (BLUE, effective), "uniform": ("#999999", uniform)}
    title = f"moves attended to by layer {layer} head {head} (exp of entropy)"
    spread = charts.over_length(
        title, curves, look.moves, look.longest, look.lens.train_length, lambda value: f"{value:.1f}", key="effective"
    )
    return _row(f"<div>{board}<p class='oe-caption' style='max-width:360px'>{words}</p></div>", overview) + spread


def _overview(look: Look) -> str:
    """Every head's attention at a glance, with the strengths that are not 1."""
    board, squares = look.lenses.board, look.state.game.squares[: look.moves]
    cell = 7 if look.lens.model.cfg.n_heads <= 5 else 5
    side = cell * board.size
    strengths = dict(look.state.strengths)
    heads = look.lens.model.cfg.n_heads
    cells = []
    for layer, head in look.lens.parts:
        column = heads if head is None else head
        x, y = 26 + column * (side + 14), 38 + layer * (side + 18)
        if head is None:
            inner = element("rect", x=x, y=y, width=side, height=side, fill="#f6f5f1", stroke="#d5d3cc")
            inner += text(x + side / 2, y + side / 2 + 4, "MLP", 11, MUTED, "middle")
        else:
            inner = boards.small_attention(board, squares, look.attention(layer, head), look.mine, (x, y), cell)
        chosen = (layer, head) == look.state.part
        strength = strengths.get((layer, head), 1.0)
        colour, weight = ("#e8483f", 2.6) if chosen else (REFERENCE, 2) if strength != 1 else ("none", 0)
        inner += element(
            "rect", x=x - 3, y=y - 3, width=side + 6, height=side + 6, fill="none", stroke=colour, stroke_width=weight
        )
        if strength != 1:
            number = f"{strength:g}".replace("-", "−")
            inner += element("rect", x=x + side - 22, y=y - 9, width=28, height=14, rx=7, fill=REFERENCE)
            inner += text(x + side - 8, y + 2, f"×{number}", 10, "white", "middle", font_weight="600")
        told = f"{part_name((layer, head))}, strength {strength:g}"
        step = {"layer": layer, "head": head}
        cells.append(button(f"part{layer}-{column}", told, "part", step, (layer, column), inner, chosen=chosen))
    layers = look.lens.model.cfg.n_layers
    sides = "".join(muted(2, 38 + layer * (side + 18) + side / 2, f"L{layer}") for layer in range(layers))
    tops = "".join(muted(26 + head * (side + 14) + side / 2, 28, f"H{head}", anchor="middle") for head in range(heads))
    title = text(2, 12, "all heads: click one, then set its strength above", 12, font_weight="600")
    width, height = 30 + (heads + (not look.lens.model.cfg.attn_only)) * (side + 14), 40 + layers * (side + 18)
    return drawing(max(width, 300), height, "all heads", title, tops, sides, grid("layers and heads", *cells))


def _probe(look: Look) -> str:
    decoded = look.decoded
    title = "edit: click a square" if not look.state.edits else "the board as edited"
    true = boards.edit_board(title, look.believed, look.state.edits)
    if decoded is None:
        fitting = "The probe is being fitted on random games; this takes seconds for a small model, a minute for a large one."
        without = "There is no probe for this model; turn to another tab and back to fit one."
        return _row(true, _note(fitting if look.lens.fitting else without))
    names = ["embedding", *(f"after layer {layer}" for layer in range(len(decoded) - 1))]
    wrong = [int((layer != np.array(look.believed.mine)).sum()) for layer in decoded]
    read = [
        boards.decoded_board(f"{name}: {count} wrong", look.believed, layer, chosen=number in look.state.edit_layers)
        for number, (name, count, layer) in enumerate(zip(names, wrong, decoded, strict=True))
    ]
    words = (
        "What a linear probe reads off the residual stream; wrong squares are ringed on orange. Fitted on other games, mine "
        "and theirs by the side that truly moves. Edits move the stream at the layers in bold, at the last move alone: "
        "does the list above follow the edited board?"
    )
    errors = look.wrong_squares()
    assert errors is not None
    shades = ["#c9d8e6", "#9dbbd6", "#6a9bc4", "#0072B2"]
    last = [max(0, len(errors) - 4) + at for at in range(min(4, len(errors)))][::-1]
    curves = {names[layer]: (shades[::-1][at], errors[layer]) for at, layer in enumerate(last)}
    title = "wrong squares"
    lengths = charts.over_length(
        title, curves, look.moves, look.longest, look.lens.train_length, lambda value: f"{value:.0f}", key="wrong"
    )
    boxes = f'<div class="oe-row" style="display:flex;gap:14px;flex-wrap:wrap;flex:1">{"".join(read)}</div>'
    return f'<div style="display:flex;gap:18px">{true}{boxes}</div>' + f'<p class="oe-caption">{words}</p>' + lengths


def _one_move(look: Look) -> str:
    move, label = look.state.move, look.lens.subject.task.token_label
    board = boards.asked_board("ask: click a square", look.believed, move)
    if not look.favoured.any():
        return _row(board, _note("No move is legal on the edited board; take an edit back, or click a square."))
    if look.pending:
        return _row(board, _note(look.pending))
    asked = "the legal moves" if move is None else label(move)
    logits = look.depth_logits
    top = logits.argmax(-1)
    tops = [(label(int(token)), bool(look.believed.legal_tokens[token])) for token in top]
    ranks = [] if move is None else [int((row > row[move]).sum()) + 1 for row in logits]
    words = f"Asked: <b>{html.escape(asked)}</b> against all other moves (advantage: difference of mean logits)."
    words += " Click a move in the list or a square to ask about it" + (
        ", again to ask about the legal moves." if move else "."
    )
    lens = look.lens
    measured = _effects(look.effects(), lens.depths, lens.parts, look.state.part, "this move" if move else asked, tops, ranks)
    return f'<p class="oe-caption">{words}</p>' + _row(board, *measured)


def _effects(
    found: Effects,
    depths: list[str],
    parts: list[Part],
    chosen: Part,
    asked: str,
    tops: list[tuple[str, bool]] | None = None,
    ranks: list[int] | None = None,
) -> tuple[str, str, str]:
    """Depth; removal and direct attribution; removal and illegal mass: for one position or the mean over many."""
    depth = charts.through_depth(
        depths, found.mean("lens"), found.mean("probability"), found.mean("illegal_mass"), tops or (), ranks or (), asked
    )
    without, mass = found.mean("removed"), 100 * found.mean("removed_illegal_mass")
    direct = [direct_of(found, part) for part in parts]
    kinds = ("embedding", "positions", "attention bias", "bias", "total")
    rest = {
        kind: sum(value for (name, _, _), value in found.direct.items() if name == kind) / found.positions for kind in kinds
    }
    told = ", ".join(f"{kind} {signed(value)}" for kind, value in rest.items() if kind == "total" or abs(value) >= 0.005)

    def part_map(title: str, note: str, values: Sequence[float] | np.ndarray, digits: int = 2) -> str:
        return charts.parts_map(title, note, parts, values, lambda value: signed(value, digits), chosen, key=title)

    removed = part_map("without it: the advantage", "change, in logits; blue: it carries the answer", without)
    illegal = part_map("without it: the illegal mass", "change, in %; orange: it holds them down", mass, digits=1)
    wrote = part_map("what it writes directly", "share of the advantage, in logits", direct)
    wrote += f'<p class="oe-caption" style="max-width:270px;margin:0 0 0 4px;color:{MUTED}">beside it: {told}</p>'
    return depth, f'<div style="display:grid;gap:12px">{removed}{wrote}</div>', illegal


def _many(look: Look) -> str:
    scan = look.state.scan
    if scan is None:
        return _note(
            "The same questions over many positions: choose games, lengths and what to ask, and press Scan. It runs beside the "
            "notebook; everything else stays usable, and Stop ends it."
        )
    head = f'<p class="oe-caption"><b>{html.escape(scan.asked)}</b></p>'
    return head + _row(*_effects(scan.effects, scan.depths, scan.parts, look.state.part, scan.asked.split(" ·")[0]))


_PANELS: dict[Tab, Callable[[Look], str]] = {
    "attention": _attention,
    "probe": _probe,
    "one move": _one_move,
    "many positions": _many,
}
