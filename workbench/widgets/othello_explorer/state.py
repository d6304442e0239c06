"""What an explorer shows, as one immutable value, and every step a user can take from it.

For: `act(lenses, state, "play", square=37)`, the one way in for clicks, keys, scripts and tests. A step is a pure function: the
same state and step give the same next state, random positions included. Not for: drawing (`page.py`).
"""

import operator
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from probes.intervention import EMPTY, Method
from probes.intervention_score import middle_layers
from workbench.metrics import POSITION_METRICS
from workbench.widgets.othello_explorer.game import Edit, Game, Position, random_game, read_game
from workbench.widgets.othello_explorer.lens import Changes, Part
from workbench.widgets.othello_explorer.lenses import Lenses
from workbench.widgets.othello_explorer.pool import SPANS, Pool, Scan, Span, random_pool, read_pool

View = Literal["one board", "side by side", "difference"]
Tab = Literal["attention", "probe", "one move", "many positions"]
Brush = Literal["flip", "erase", "add mine", "add theirs"]
NOTHING = "nothing"
STRENGTHS = (-2.0, 3.0)

CHOICES: dict[str, tuple[str, ...]] = {
    "view": get_args(View),
    "tab": get_args(Tab),
    "brush": get_args(Brush),
    "span": SPANS,
    "measure": tuple(name for name in POSITION_METRICS if name not in ("illegal_top1", "misordered")),
    "about": ("legal moves", "chosen move"),
}
"""What can be chosen by `act(..., "set", name=value)`."""


@dataclass(frozen=True)
class State:
    """Everything that decides the pictures; `start` makes the first."""

    model: str
    game: Game
    pool: Pool
    edit_layers: tuple[int, ...]
    shown: int = 0
    """how many moves of the game are on the board"""
    against: str = NOTHING
    """the name of the model it is compared with; with NOTHING a changed model is compared with itself, unchanged"""
    view: View = "one board"
    tab: Tab = "attention"
    measure: str = "illegal_mass"
    part: Part = (0, 0)
    strengths: tuple[tuple[Part, float], ...] = ()
    edits: tuple[Edit, ...] = ()
    brush: Brush = "flip"
    edit_strength: float = 1.0
    move: int | None = None
    """the token that is asked about"""
    span: Span = "all"
    about: str = "legal moves"
    """what a scan asks about"""
    scan: Scan | None = field(default=None, compare=False)
    draws: int = 0
    """how many random positions were drawn"""

    @property
    def position(self) -> Position:
        """The position on the board."""
        return self.game.positions[self.shown]

    @property
    def believed(self) -> Position:
        """The position with the edits on it."""
        return self.position.edited(self.edits)

    @property
    def changes(self) -> Changes:
        """What is done to the model."""
        edited = (self.edits, self.edit_layers, self.edit_strength) if self.edits else ()
        return Changes(self.strengths, *edited)

    @property
    def strength(self) -> float:
        """The strength of the chosen part."""
        return dict(self.strengths).get(self.part, 1.0)


def start(lenses: Lenses) -> State:
    """The first position that is drawn, read by the first model."""
    first = lenses.names[0]
    state = State(first, Game(lenses.board), random_pool(lenses.board), middle_layers(lenses.lens(first).model))
    return act(lenses, state, "random", by="uniform")


def act(lenses: Lenses, state: State, step: str, /, **arguments: Any) -> State:
    """The state after a step of `STEPS`; raises ValueError, in one sentence, for what cannot be done."""
    if step not in STEPS:
        raise ValueError(f"step '{step}' is unknown; choose one of {', '.join(STEPS)}")
    return STEPS[step](lenses, state, **arguments)


def _whole(name: str, value: int, allowed: str) -> int:
    """The value as an int; ValueError for what is no whole number. One that is not allowed is told by the step itself."""
    try:
        return operator.index(value)
    except TypeError:
        raise ValueError(f"{name} {value!r:.60} is no whole number; choose one of {allowed}") from None


def _square(lenses: Lenses, square: int) -> int:
    return _whole("square", square, f"0 .. {lenses.board.squares - 1}")


def _at(state: State, game: Game, shown: int) -> State:
    """On another position: edits were of the one before."""
    return replace(state, game=game, shown=min(max(shown, 0), len(game.tokens)), edits=())


def _play(lenses: Lenses, state: State, square: int) -> State:
    square = _square(lenses, square)
    tokens, token = state.game.tokens, lenses.board.token_of_square[square] if 0 <= square < lenses.board.squares else None
    if state.shown < len(tokens) and tokens[state.shown] == token:
        return _at(state, state.game, state.shown + 1)  # the move that was played: the rest of the game stays
    return _at(state, state.game.play(state.shown, square), state.shown + 1)


def _show(lenses: Lenses, state: State, moves: int) -> State:
    return _at(state, state.game, _whole("number of moves", moves, f"0 .. {len(state.game.tokens)}"))


def _undo(lenses: Lenses, state: State) -> State:
    return _at(state, state.game, state.shown - 1)


def _redo(lenses: Lenses, state: State) -> State:
    return _at(state, state.game, state.shown + 1)


def _new(lenses: Lenses, state: State) -> State:
    return _at(state, Game(lenses.board), 0)


def _random(lenses: Lenses, state: State, by: str) -> State:
    """A whole game, played by the model or uniformly, shown up to a random move."""
    if by == "model":
        game = lenses.lens(state.model).own_game(state.draws)
    elif by == "uniform":
        game = random_game(lenses.board, state.draws)
    else:
        raise ValueError(f"random moves cannot be drawn by '{by}'; choose model or uniform")
    longest = min(len(game.tokens), lenses.lens(state.model).subject.longest)
    shown = random.Random(state.draws).randint(min(6, longest), longest)
    return replace(_at(state, game, shown), draws=state.draws + 1, move=None)


def _transcript(lenses: Lenses, state: State, text: str) -> State:
    game = read_game(text, lenses.board)
    return _at(state, game, len(game.tokens))


def _model(lenses: Lenses, state: State, name: str) -> State:
    lens = lenses.lens(name)
    part = state.part if state.part in lens.parts else (0, 0)
    strengths = tuple((part, strength) for part, strength in state.strengths if part in lens.parts)
    edit_layers = state.edit_layers if max(state.edit_layers) <= lens.model.cfg.n_layers else middle_layers(lens.model)
    return replace(state, model=name, part=part, strengths=strengths, edit_layers=edit_layers, edits=())


def _against(lenses: Lenses, state: State, name: str) -> State:
    if name != NOTHING:
        lenses.lens(name)
    return replace(state, against=name)


def _part(lenses: Lenses, state: State, layer: int, head: int | None) -> State:
    cfg = lenses.lens(state.model).model.cfg
    layer = _whole("layer", layer, f"0 .. {cfg.n_layers - 1}")
    head = None if head is None else _whole("head", head, f"0 .. {cfg.n_heads - 1}")
    if (layer, head) not in lenses.lens(state.model).parts:
        raise ValueError(f"the model has no {'MLP' if head is None else f'head {head}'} in layer {layer}; choose another")
    return replace(state, part=(layer, head))


def _strength(lenses: Lenses, state: State, value: float) -> State:
    least, most = STRENGTHS
    if not least <= value <= most:
        raise ValueError(f"strength {value} is outside {least:g} .. {most:g}; choose one inside")
    others = [found for found in state.strengths if found[0] != state.part]
    own = [] if value == 1 else [(state.part, float(value))]
    return replace(state, strengths=tuple(others + own))


def _all_clean(lenses: Lenses, state: State) -> State:
    return replace(state, strengths=())


def _edit(lenses: Lenses, state: State, square: int) -> State:
    """Edits a square with the brush, or takes its edit back."""
    square = _square(lenses, square)
    if any(edit.square == square for edit in state.edits):
        return replace(state, edits=tuple(edit for edit in state.edits if edit.square != square))
    if lenses.lens(state.model).probe is None:
        raise ValueError("there is no probe of this model yet; edit the board when one is fitted, on the tab probe")
    if not 1 <= state.shown <= lenses.lens(state.model).subject.longest:
        raise ValueError("the model reads no position here; play 1 move or more, within its context")
    if not 0 <= square < lenses.board.squares:
        raise ValueError(f"square {square} is not on the board; choose 0 .. {lenses.board.squares - 1}")
    disc = state.position.mine[square]
    method, _, whose = state.brush.partition(" ")
    if (disc == EMPTY) != (method == "add"):
        raise ValueError("flip and erase need a disc, and add an empty square; choose another square or another brush")
    edit = Edit(_METHODS[method], square, disc if disc != EMPTY else 0 if whose == "mine" else 1)
    return replace(state, edits=(*state.edits, edit))


_METHODS: dict[str, Method] = {"flip": "flip", "erase": "erase", "add": "add"}


def _edit_at(lenses: Lenses, state: State, layers: list[int], strength: float) -> State:
    last = lenses.lens(state.model).model.cfg.n_layers
    layers = [_whole("layer", layer, f"0 .. {last}") for layer in layers]
    if not layers or not all(0 <= layer <= last for layer in layers) or not strength > 0:
        raise ValueError(f"edits need layers in 0 .. {last} and a strength above 0; choose others")
    return replace(state, edit_layers=tuple(sorted(layers)), edit_strength=float(strength))


def _no_edits(lenses: Lenses, state: State) -> State:
    return replace(state, edits=())


def _ask(lenses: Lenses, state: State, move: int | None) -> State:
    move = None if move is None else _whole("token", move, f"1 .. {lenses.board.moves}")
    if move is not None and not 1 <= move < lenses.board.vocab:
        raise ValueError(f"token {move} names no move; choose 1 .. {lenses.board.moves}")
    return replace(state, move=move, tab="one move" if state.tab != "many positions" else state.tab)


def _set(lenses: Lenses, state: State, **chosen: str) -> State:
    for name, value in chosen.items():
        if value not in CHOICES.get(name, ()):
            raise ValueError(f"{name} '{value}' cannot be chosen; choose one of {', '.join(CHOICES.get(name, CHOICES))}")
    return replace(state, **chosen)  # type: ignore[arg-type]


def _pool(lenses: Lenses, state: State, kind: str, name: str = "", data: bytes = b"") -> State:
    if kind == "random":
        return replace(state, pool=random_pool(lenses.board))
    if kind == "game":
        pool = read_pool("this game", state.game.text.encode(), lenses.board)
        return replace(state, pool=replace(pool, name="this game"))
    if kind == "file":
        return replace(state, pool=read_pool(name, data, lenses.board))
    raise ValueError(f"pool '{kind}' is unknown; choose random, game or file")


STEPS: dict[str, Callable[..., State]] = {
    "play": _play,
    "show": _show,
    "undo": _undo,
    "redo": _redo,
    "new": _new,
    "random": _random,
    "transcript": _transcript,
    "model": _model,
    "against": _against,
    "part": _part,
    "strength": _strength,
    "all_clean": _all_clean,
    "edit": _edit,
    "edit_at": _edit_at,
    "no_edits": _no_edits,
    "ask": _ask,
    "set": _set,
    "pool": _pool,
}
"""Every step, by name; its arguments are those after `lenses` and `state`."""
