"""The explorer of Othello models as a widget: the page that the state gives, and the steps that come back from it.

    OthelloExplorer(["othello-mini-none", "othello-mini-all-0.1"])

For: holding the state, drawing what changed, and long work beside the notebook. Everything it shows is a pure function of the
state (`page.pictures`), and all that can be clicked is a step (`state.STEPS`) that scripts may take too: `explorer.act(...)`.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import traitlets

from models.durable import write_file
from workbench.error_sentence import sentence
from workbench.metrics import METRICS
from workbench.widgets.background import Background
from workbench.widgets.late_page import LATE_PAGE_SCRIPT, ToldAgain
from workbench.widgets.othello_explorer.lenses import open_lenses
from workbench.widgets.othello_explorer.look import Look
from workbench.widgets.othello_explorer.measuring import Measuring
from workbench.widgets.othello_explorer.page import pictures, standalone, still
from workbench.widgets.othello_explorer.pool import Scan, scan
from workbench.widgets.othello_explorer.state import CHOICES, NOTHING, STRENGTHS, State, act, start
from workbench.widgets.othello_explorer.tables import part_name, tables

HERE = Path(__file__).parent


class OthelloExplorer(ToldAgain):
    """Play, read, take apart, ask about a move or about many; see the notebook `03_othello_explorer`."""

    _esm = LATE_PAGE_SCRIPT + (HERE / "front_end.js").read_text("utf-8")
    _css = HERE / "front_end.css"

    boards = traitlets.Unicode().tag(sync=True)
    ranking = traitlets.Unicode().tag(sync=True)
    lengths = traitlets.Unicode().tag(sync=True)
    panel = traitlets.Unicode().tag(sync=True)
    controls = traitlets.Dict().tag(sync=True)
    status = traitlets.Dict().tag(sync=True)
    answered = traitlets.Int(0).tag(sync=True)
    """the number of the last step that was taken"""

    def __init__(self, checkpoints: Sequence[str | Path], probes: Sequence[str | Path] = ()):
        """Opens at a random position.

        Args:
            checkpoints: Othello checkpoint folders, runs or bundled names; all weights of each can be looked at.
            probes: folders of saved probes (`workbench probe board-state --save`), used on the weights they were fitted on;
                for others a probe is fitted when it is first needed, in seconds.

        Raises:
            ValueError: no checkpoint, checkpoints of other tasks or of boards that differ; nothing to load there.
        """
        super().__init__()
        self.lenses = open_lenses(checkpoints, probes)
        self.state = start(self.lenses)
        self.fitting, self.playing, self.scanning = Background(), Background(), Background()
        self.measuring = Measuring(self.lenses, then=self.refresh)
        self._works = (self.fitting, self.playing, self.measuring.background, self.scanning)
        self._last_started = self.scanning
        self._lock = threading.RLock()  # a lens is used by one thread at a time
        for work in self._works:
            for part, trait in ((work.bar, "value"), (work.message, "value"), (work.bar.layout, "display")):
                part.observe(lambda _: self._tell(), trait)
        self.on_msg(self._received)
        self.refresh()

    def act(self, step: str, **arguments: Any) -> None:
        """Takes a step of `state.STEPS`; raises ValueError for what cannot be done, and then nothing has changed."""
        with self._lock:
            before, after = self.state, act(self.lenses, self.state, step, **arguments)
            turned = (before.tab, before.model) != (after.tab, after.model)
            with self._in_state(after):
                if after.tab == "probe" and (turned or self.look.lens.fitting):  # not at every step: it may have been stopped
                    self._fit_where_needed()
                self._measure_where_needed()
                self.refresh()

    @property
    def look(self) -> Look:
        """The numbers behind what is shown."""
        return Look(self.lenses, self.state)

    def refresh(self) -> None:
        """Draws the present state; only what differs is sent."""
        with self._lock:
            shown = {**pictures(replace(self.look, pending=self._pending)), "controls": self._controls()}
            with self.hold_sync():  # only now: where one cannot be drawn, all stay
                for place, picture in shown.items():
                    setattr(self, place, picture)

    def fit_probe(self) -> None:
        """Fits the probe of the model that is looked at, and waits for it; a probe that is there stays."""
        self._fit_where_needed()
        self.fitting.wait()

    def scan(self) -> None:
        """Begins to sum over the pool, on a thread of its own; `scanning` stops it and waits for it."""
        state = self.state

        def work(progress: Callable[..., None]) -> str:
            progress(0.0, "loading a model of its own")
            move = state.move if state.about == "chosen move" else None
            if state.about == "chosen move" and move is None:
                raise ValueError("no move is chosen to ask about; click one in the list of moves first")
            found = scan(self.lenses.fresh(state.model), state.pool, move, state.span, progress)
            self._found(found)
            return f"{found.effects.positions} positions done"

        self._last_started = self.scanning
        self.scanning.start(work)

    def play(self) -> None:
        """Begins to draw a game that the model plays with itself, on a thread of its own, and shows a position of it."""
        state = self.state

        def work(progress: Callable[..., None]) -> str:
            progress(0.0, "loading a model of its own")
            game = self.lenses.fresh(state.model).own_game(state.draws, progress)
            with self._lock:
                if (self.state.model, self.state.draws) != (state.model, state.draws):
                    return "the game is not shown, since another was drawn or another model chosen"
                lens = self.look.lens
                lens.keep(lens.games, state.draws, game)
                self.act("random", by="model")
            return f"{len(game.tokens)} moves played"

        self._last_started = self.playing
        self.playing.start(work)

    def export(self, folder: str | Path = "exports", name: str = "othello-explorer") -> list[Path]:
        """Writes what is shown as HTML and the data behind it as CSV; returns their paths.

        Each export has a folder of its own, `exports/othello-explorer-1` and so on.
        """
        with self._lock:
            files = {f"{table}.csv": frame.to_csv(index=False) for table, frame in tables(self.look).items()}
            files |= {"page.html": f'<!doctype html><meta charset="utf-8">{standalone(self.look)}\n'}
        place = _new_folder(Path(folder), name)
        for file, words in files.items():
            write_file(place / file, words.encode())
        return [place / file for file in files]

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """The live widget, and a still picture for whatever shows notebooks without widgets."""
        bundle = super()._repr_mimebundle_(**kwargs)
        assert bundle is not None, "it has a view"
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle, {})
        with self._lock:
            return {**data, "text/html": still(self.look)}, metadata

    def _found(self, found: Scan) -> None:
        with self._lock, self._in_state(replace(self.state, scan=found)):
            self.refresh()

    @contextmanager
    def _in_state(self, state: State) -> Iterator[None]:
        """Takes a state, and the one before again where drawing it, within, raises: no later step could be drawn either."""
        before, self.state = self.state, state
        try:
            yield
        except BaseException:
            self.state = before
            self._measure_where_needed()
            raise

    @property
    def _unmeasured(self) -> bool:
        """Whether the tab shows effects that are not known yet."""
        look = self.look
        asks = self.state.tab == "one move" and look.why_silent is None and bool(look.favoured.any())
        return asks and look.question not in look.lens.effects

    @property
    def _pending(self) -> str | None:
        if not self._unmeasured:
            return None
        return "Measuring what each head and MLP does here." if self.measuring.busy else "Not measured: ask again."

    def _measure_where_needed(self) -> None:
        if self._unmeasured:
            self._last_started = self.measuring.background
        self.measuring.ask(self.look if self._unmeasured else None)

    def _fit_where_needed(self) -> None:
        lens = self.look.lens
        lens.fitting = lens.probe is None
        if not lens.fitting or self.fitting.running:
            return

        def work(progress: Callable[..., None]) -> str:
            shown = lens
            try:
                while shown.probe is None:
                    shown.probe = shown.fit_probe(progress=progress)
                    shown.fitting = False
                    shown = self.look.lens if self.look.lens.fitting else shown  # the user may have turned to another model
            except Exception:
                shown.fitting = self.look.lens.fitting = False
                raise
            return "probe fitted"

        self._last_started = self.fitting
        self.fitting.start(work, then=self.refresh)

    def _received(self, _: object, content: dict[str, Any], buffers: list[memoryview]) -> None:
        """A step from the front end; where it fails, a sentence says why and nothing else changes."""
        try:
            self._tell()
            self._take(content["step"], dict(content.get("arguments") or {}), buffers)
        except Exception as error:  # in a widget there is no other place to show it
            self._tell(sentence(error))
        self.answered = int(content.get("number", 0))

    def _take(self, step: str, arguments: dict[str, Any], buffers: list[memoryview]) -> None:
        if step == "scan":
            self.scan()
        elif step == "random" and arguments.get("by") == "model":
            self.play()
        elif step == "stop":
            for work in self._works:
                work.stop()
        elif step == "export":
            paths = self.export()
            self._tell(f"written: page.html and {len(paths) - 1} tables in {paths[0].parent}", error=False)
        else:
            if buffers:
                arguments["data"] = bytes(buffers[0])
            self.act(step, **arguments)

    def _tell(self, words: str | None = None, error: bool = True) -> None:
        work = self._at_work
        running = work.bar.layout.display != "none"
        progress = {"running": running, "share": work.bar.value, "words": work.message.value}
        self.status = {"words": words or "", "error": bool(words) and error, "progress": progress}

    @property
    def _at_work(self) -> Background:
        """Whose progress is shown: one that works, else who worked last."""
        shown = [one for one in self._works if one.bar.layout.display != "none"]
        return shown[0] if shown else self._last_started

    def _controls(self) -> dict[str, Any]:
        """What the front end's controls offer and hold."""
        state, lens = self.state, self.lenses.lens(self.state.model)
        return {
            "choices": {name: list(values) for name, values in CHOICES.items()},
            "chosen": {name: getattr(state, name) for name in CHOICES},
            "measures": {name: METRICS[name].label for name in CHOICES["measure"]},
            "models": self.lenses.names,
            "model": state.model,
            "against": state.against,
            "others": [NOTHING, *(name for name in self.lenses.names if name != state.model)],
            "compared": self.look.reference is not None,
            "shown": state.shown,
            "moves": len(state.game.tokens),
            "transcript": state.game.text,
            "part": part_name(state.part),
            "strength": state.strength,
            "strengths": list(STRENGTHS),
            "changed": len(state.strengths),
            "edits": len(state.edits),
            "layers": lens.model.cfg.n_layers,
            "edit_layers": list(state.edit_layers),
            "edit_strength": state.edit_strength,
            "move": "" if state.move is None else lens.subject.task.token_label(state.move),
            "pool": state.pool.name,
        }


def _new_folder(parent: Path, name: str) -> Path:
    """Makes the first of `name-1`, `name-2`, ... that is not there."""
    for number in count(1):
        place = parent / f"{name}-{number}"
        try:
            place.mkdir(parents=True)
        except FileExistsError:
            continue
        break
    return place
