"""The effects of one position measured beside the notebook, always of what was asked last.

For: a page that stays usable while a large model is asked about a move. Not for: what is measured (`effects.py`), nor sums over
many positions (`pool.py`), which a user starts.
"""

import threading
from collections.abc import Callable

from workbench.widgets.background import Background, Progress
from workbench.widgets.othello_explorer.effects import one_position
from workbench.widgets.othello_explorer.lens import Lens
from workbench.widgets.othello_explorer.lenses import Lenses
from workbench.widgets.othello_explorer.look import Look

MOMENT = 0.15
"""Seconds that `ask` waits: small models have measured by then, and nothing need be said of it."""


class _Superseded(Exception):
    """Raised inside a measurement that is no longer asked for."""


class Measuring:
    """One measurement at a time, on a lens of its own; its answer is put where `look.effects()` finds it."""

    def __init__(self, lenses: Lenses, then: Callable[[], None]):
        """`then` is called, on the thread that measures, after each answer and where there is to be none."""
        self.background = Background()
        self._lenses, self._then = lenses, then
        self._lens: Lens | None = None
        self._guard, self._moment = threading.Lock(), threading.Event()
        self._wanted: Look | None = None
        self._at_work = False

    @property
    def busy(self) -> bool:
        """Whether an answer is to come."""
        return self._wanted is not None

    def ask(self, look: Look | None) -> None:
        """Begins to measure what a look asks, in place of what was asked before, and waits a moment for it; None asks nothing.

        What is asked again goes on.
        """
        with self._guard:
            if not _same(look, self._wanted):
                self._wanted = look
            begins = look is not None and not self._at_work
            self._at_work |= begins
            self._moment.clear()
            if look is not None:
                self.background.go_on()  # a stop was for what was asked before it
        if begins:
            self.background.wait()  # the thread before has nothing left to do, and may not have ended yet
            self.background.start(self._work)
        if look is not None:
            self._moment.wait(MOMENT)

    def _work(self, progress: Progress) -> str:
        ended: Exception | None = None
        while (look := self._next()) is not None:
            try:
                self._measure(look, progress)
                ended = None
            except _Superseded:
                continue
            except Exception as error:  # stopped, or failed: Background says so once nothing else is wanted
                ended = error
            with self._guard:
                if self._wanted is look:
                    self._wanted = None
                    self._moment.set()
            try:
                self._then()  # still at work, so that `ask`, whose caller may hold what this needs, need not wait for this
            except Exception as error:  # this thread goes on to what is asked next
                ended = error
        if ended is not None:
            raise ended
        return ""

    def _next(self) -> Look | None:
        with self._guard:
            self._at_work = self._wanted is not None
            return self._wanted

    def _measure(self, look: Look, progress: Progress) -> None:
        def report(share: float, words: str) -> None:
            if self._wanted is not look:
                raise _Superseded
            progress(share, words)

        shown = look.lens
        if self._lens is None or self._lens.name != shown.name:
            report(0.0, f"loading {shown.name}")
            self._lens = self._lenses.fresh(shown.name)
        self._lens.probe = shown.probe
        shown.keep(shown.effects, look.question, one_position(self._lens, look.question, report))


def _same(look: Look | None, other: Look | None) -> bool:
    return look is not None and other is not None and look.lens is other.lens and look.question == other.question
