"""The explorer of Othello models as a widget: the page that the state gives, and the steps that come back from it.

    OthelloExplorer(["othello-mini-none", "othello-mini-all-0.1"])

For: holding the state, drawing what changed, and long work beside the notebook. Everything it shows is a pure function of the
state (`page.pictures`), and all that can be clicked is a step (`state.STEPS`) that scripts may take too: `explorer.act(...)`.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from models.durable import write_file
from workbench.metrics import METRICS
from workbench.sentence import sentence
from workbench.widgets.background import Background
from workbench.widgets.othello_explorer.lenses import open_lenses
from workbench.widgets.othello_explorer.look import Look, tables
from workbench.widgets.othello_explorer.page import pictures, standalone, still
from workbench.widgets.othello_explorer.pool import Scan, scan
from workbench.widgets.othello_explorer.state import CHOICES, NOTHING, STRENGTHS, act, start

HERE = Path(__file__).parent


class OthelloExplorer(anywidget.AnyWidget):
    """Play, read, take apart, ask about a move or about many; see the notebook `03_othello_explorer`."""

    _esm = HERE / "front_end.js"
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
        self.fitting, self.scanning = Background(), Background()
        self._last_started = self.scanning
        self._lock = threading.RLock()  # a lens is used by one thread at a time
        for part in (self.scanning.bar, self.scanning.message, self.fitting.bar, self.fitting.message):
            part.observe(lambda _: self._tell(), "value")
        self.on_msg(self._received)
        self.refresh()

    def act(self, step: str, **arguments: Any) -> None:
        """Takes a step of `state.STEPS`; raises ValueError for what cannot be done."""
        with self._lock:
            before, self.state = self.state, act(self.lenses, self.state, step, **arguments)
            turned = (before.tab, before.model) != (self.state.tab, self.state.model)
            if self.state.tab == "probe" and (turned or self.look.lens.fitting):  # not at every step: it may have been stopped
                self._fit_where_needed()
            self.refresh()

    @property
    def look(self) -> Look:
        """The numbers behind what is shown."""
        return Look(self.lenses, self.state)

    def refresh(self) -> None:
        """Draws the present state; only what differs is sent."""
        with self._lock, self.hold_sync():
            for place, picture in pictures(self.look).items():
                setattr(self, place, picture)
            self.controls = self._controls()

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
        self.scanning.start(work, then=self._tell)

    def export(self, folder: str | Path = "exports", name: str = "othello-explorer") -> list[Path]:
        """Writes what is shown as one HTML file and the data behind it as CSV; returns their paths."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        with self._lock:
            files = {f"{name}-{table}.csv": frame.to_csv(index=False) for table, frame in tables(self.look).items()}
            files |= {f"{name}.html": f'<!doctype html><meta charset="utf-8">{standalone(self.look)}\n'}
        for file, words in files.items():
            write_file(folder / file, words.encode())
        return [folder / file for file in files]

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """The live widget, and a still picture for whatever shows notebooks without widgets."""
        bundle = super()._repr_mimebundle_(**kwargs)
        if bundle is None:
            return None
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle, {})
        with self._lock:
            return {**data, "text/html": still(self.look)}, metadata

    def _found(self, found: Scan) -> None:
        with self._lock:
            self.state = replace(self.state, scan=found)
            self.refresh()

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
        self.fitting.start(work, then=self._ended)

    def _ended(self) -> None:
        self.refresh()
        self._tell()

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
        elif step == "stop":
            self.fitting.stop()
            self.scanning.stop()
        elif step == "export":
            paths = self.export()
            self._tell(f"written: {', '.join(map(str, paths))}", error=False)
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
        shown = [one for one in (self.fitting, self.scanning) if one.bar.layout.display != "none"]
        return shown[0] if shown else self._last_started

    def _controls(self) -> dict[str, Any]:
        """What the front end's controls offer and hold."""
        state, lens = self.state, self.lenses.lens(self.state.model)
        layer, head = state.part
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
            "part": f"layer {layer} {'MLP' if head is None else f'head {head}'}",
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
