"""Long work beside a notebook: on a thread of its own, with a progress bar, a stop button, and one sentence at its end."""

import threading
from collections.abc import Callable

import ipywidgets as widgets

from workbench.error_sentence import sentence


class Stopped(Exception):
    """Raised inside work that was asked to stop."""


Progress = Callable[[float, str], None]
"""What work calls as it goes on: the share that is done, and a text. It raises `Stopped` where the user asks for that."""


class Background(widgets.HBox):
    """One piece of work at a time: bar, stop button, and the sentence that it ended with."""

    def __init__(self) -> None:
        self.bar = widgets.FloatProgress(min=0, max=1, layout=widgets.Layout(width="160px", display="none"))
        self.stop_button = widgets.Button(description="Stop", icon="stop", layout=widgets.Layout(width="80px", display="none"))
        self.message = widgets.HTML()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.stop_button.on_click(lambda _: self.stop())
        super().__init__([self.bar, self.stop_button, self.message])
        self.add_class("workbench-background")

    @property
    def running(self) -> bool:
        """Whether work is going on."""
        return self._thread is not None and self._thread.is_alive()

    def start(self, work: Callable[[Progress], str], then: Callable[[], None] | None = None) -> None:
        """Begins `work`, which returns the sentence to show; `then` is called after it, however it ended.

        Work that goes on already is left alone, and the message says so.
        """
        if self.running:
            self.say("still busy; stop it first, or wait")
            return
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, args=(work, then), daemon=True)
        self._show(True)
        self._thread.start()

    def stop(self) -> None:
        """Asks the work to stop at its next report of progress."""
        self._stop.set()

    def go_on(self) -> None:
        """Takes a stop back that the work has not seen yet."""
        self._stop.clear()

    def wait(self, seconds: float | None = None) -> None:
        """Waits until the work has ended, for scripts and tests."""
        if self._thread is not None:
            self._thread.join(seconds)

    def say(self, text: str, error: bool = False) -> None:
        """Shows a sentence, in the colour of errors if it is one; an empty one clears it."""
        look = 'class="error" style="color:#b00020"' if error else 'style="color:#444444"'
        escaped = text.replace("&", "&amp;").replace("<", "&lt;")
        self.message.value = f'<span role="status" {look}>{escaped}</span>' if text else ""

    def _report(self, share: float, text: str) -> None:
        if self._stop.is_set():
            raise Stopped
        self.bar.value = share
        self.say(text)

    def _run(self, work: Callable[[Progress], str], then: Callable[[], None] | None) -> None:
        try:
            self.say(work(self._report))
        except Stopped:
            self.say("stopped")
        except Exception as error:  # nobody else would see it: it must be shown here
            self.say(sentence(error), error=True)
        finally:
            self._show(False)
            if then is not None:
                then()

    def _show(self, running: bool) -> None:
        self.bar.value = 0
        for part in (self.bar, self.stop_button):
            part.layout.display = None if running else "none"
