"""The numbers behind the pictures as tables, and what was looked at: what export writes as CSV.

For: `tables(look)`, which scripts may take too. Not for: how a number comes about (`look.py`, `effects.py`).
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from models.othello.notation import square_text
from workbench.widgets.othello_explorer.effects import Effects
from workbench.widgets.othello_explorer.lens import Part
from workbench.widgets.othello_explorer.look import Look, direct_of

DISCS = np.array(["mine", "theirs", "empty"])


def tables(look: Look) -> dict[str, pd.DataFrame]:
    """The data behind the pictures of all tabs, by name.

    `state` says what they are of; `game` holds its moves. Where the model predicts nothing there are no others but those of a
    scan; `probe_...` need a probe, `edit_errors` an edit. Effects are means over the positions counted beside them.
    """
    found = {"state": _state(look), "game": _game(look)}
    if look.why_silent is None:
        found |= {"predictions": _predictions(look), "lengths": _lengths(look)}
        found |= {"attention": _attention(look), "effective_tokens": _effective_tokens(look)}
        found |= _probe(look)
        if look.favoured.any():
            found |= _effects("", look.effects(), look.lens.parts, look.lens.depths)
            found["depth"] = found["depth"].assign(**_tops(look))
    scan = look.state.scan
    if scan is not None:
        found |= _effects("scan_", scan.effects, scan.parts, scan.depths)
    return found


def _label(look: Look, token: int) -> str:
    return look.lens.subject.task.token_label(token)


def part_name(part: Part) -> str:
    """A part of a model in words."""
    layer, head = part
    return f"layer {layer} {'MLP' if head is None else f'head {head}'}"


def _state(look: Look) -> pd.DataFrame:
    """What is shown, a row for each choice."""
    state, lens, board = look.state, look.lens, look.lenses.board
    shown = {
        "model": state.model,
        "checkpoint": str(lens.checkpoint),
        "weights": lens.weights,
        "sha256": lens.subject.sha256,
        "compared with": "nothing" if look.reference is None else look.reference[0],
        "moves": state.game.text[: 2 * look.moves],
        "tab": state.tab,
        "boards": state.view,
        "measure": state.measure,
        "chosen part": part_name(state.part),
        "strengths": "; ".join(f"{part_name(part)} x {strength:g}" for part, strength in state.strengths) or "all 1",
        "edits": "; ".join(f"{edit.method} {square_text(edit.square, board)}" for edit in state.edits) or "none",
        "edit layers": ", ".join(map(str, state.edit_layers)),
        "edit strength": f"{state.edit_strength:g}",
        "asked about": "legal moves" if state.move is None else _label(look, state.move),
        "pool": state.pool.name,
        "scan": "none" if state.scan is None else state.scan.asked,
    }
    return pd.DataFrame({"what": list(shown), "value": list(shown.values())})


def _game(look: Look) -> pd.DataFrame:
    tokens = look.state.game.tokens
    squares = [_label(look, token) for token in tokens]
    return pd.DataFrame({"move": range(1, len(tokens) + 1), "token": tokens, "square": squares})


def _predictions(look: Look) -> pd.DataFrame:
    label = [_label(look, token) for token in range(look.lenses.board.vocab)]
    columns = {"square": label, "legal": look.believed.legal_tokens, "target": look.believed.target}
    frame = pd.DataFrame({**columns, "probability": look.probability})
    return frame if look.reference_probability is None else frame.assign(reference=look.reference_probability)


def _lengths(look: Look) -> pd.DataFrame:
    frames = []
    for model, values in look.metrics().items():
        lengths = np.arange(1, len(next(iter(values.values()))) + 1)
        frames.append(pd.DataFrame({"model": model, "length": lengths, **values}))
    return pd.concat(frames)


def _heads(look: Look) -> Iterator[tuple[int, int]]:
    return ((layer, head) for layer, head in look.lens.parts if head is not None)


def _attention(look: Look) -> pd.DataFrame:
    """From the last move to each move so far."""
    moves = range(1, look.moves + 1)
    rows = (
        {"layer": layer, "head": head, "move": moves, "weight": look.attention(layer, head)} for layer, head in _heads(look)
    )
    return pd.concat(map(pd.DataFrame, rows))


def _effective_tokens(look: Look) -> pd.DataFrame:
    """exp(entropy) of each head's attention after every move of the game."""
    found = look.effective_tokens()
    lengths = range(1, found.shape[-1] + 1)
    rows = (
        {"layer": layer, "head": head, "length": lengths, "effective_tokens": found[layer, head]}
        for layer, head in _heads(look)
    )
    return pd.concat(map(pd.DataFrame, rows))


def _probe(look: Look) -> dict[str, pd.DataFrame]:
    """What the probe reads beside the true board, its errors over the game, and what an edit did to the predictions."""
    decoded, wrong = look.decoded, look.wrong_squares()
    if decoded is None or wrong is None:
        return {}
    board = look.lenses.board
    squares = [square_text(square, board) for square in range(board.squares)]
    true, edited = DISCS[list(look.position.mine)], DISCS[list(look.believed.mine)]
    boards = [
        pd.DataFrame({"layer": layer, "square": squares, "true": true, "edited": edited, "read": DISCS[read]})
        for layer, read in enumerate(decoded)
    ]
    lengths = range(1, wrong.shape[1] + 1)
    counts = [pd.DataFrame({"layer": layer, "length": lengths, "wrong": row}) for layer, row in enumerate(wrong)]
    read = pd.concat(boards)
    found = {"probe_boards": read.assign(wrong=read["read"] != read["edited"]), "probe_wrong_squares": pd.concat(counts)}
    if look.state.edits:
        legal, runs = int(look.believed.legal_tokens.sum()), ["unedited", "edited", "pushed at random"]
        found["edit_errors"] = pd.DataFrame({"run": runs, "errors": look.errors, "legal": legal})
    return found


def _effects(prefix: str, found: Effects, parts: Sequence[Part], depths: Sequence[str]) -> dict[str, pd.DataFrame]:
    """Removal and direct attribution by part, all direct shares, and the logit lens by depth."""
    named = pd.DataFrame(parts, columns=["layer", "head"]).astype("Int64")
    removed = {name: found.mean(name) for name in ("removed", "removed_illegal_mass")}
    effects = named.assign(**removed, direct=[direct_of(found, part) for part in parts])
    components = pd.DataFrame(list(found.direct), columns=["component", "layer", "head"]).astype(
        {"layer": "Int64", "head": "Int64"}
    )
    direct = components.assign(direct=found.mean_direct())
    depth = pd.DataFrame({"depth": depths, **{name: found.mean(name) for name in ("lens", "probability", "illegal_mass")}})
    frames = {"effects": effects, "direct": direct, "depth": depth}
    return {prefix + name: frame.assign(positions=found.positions) for name, frame in frames.items()}


def _tops(look: Look) -> dict[str, list[str] | list[int]]:
    """At each depth, the move that would be predicted, and the rank of the one asked about."""
    logits = look.depth_logits
    found: dict[str, list[str] | list[int]] = {"top": [_label(look, int(token)) for token in logits.argmax(-1)]}
    if look.state.move is not None:
        found["rank"] = [int((row > row[look.state.move]).sum()) + 1 for row in logits]
    return found
