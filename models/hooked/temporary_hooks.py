"""The one way in which hooks of ours come onto a model: while a context is open, and alone in going when it closes.

Also where Ctrl-C comes at any moment. Python raises KeyboardInterrupt between any two steps, so between a hook's coming and the
note that it has to go, or on the first step of taking it off, which no `finally` covers. So while one of these contexts is
open, a Ctrl-C that finds a hook being put on or taken off comes again a millisecond later. A program that handles SIGINT in a
way of its own keeps it, and this does nothing.
"""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from types import FrameType

AGAIN_SECONDS = 0.001

TakeOff = Callable[[], object]
PutOn = Callable[[], TakeOff]
"""Puts one hook somewhere; what it returns takes that hook off, and may be called where it is gone already. Or changes a
weight, and what it returns puts back what was there."""

_open: set[object] = set()
"""A token of each context that the main thread opened: it alone gets signals, and may say who handles them."""


@contextlib.contextmanager
def temporary_hooks(hooks: Iterable[PutOn]) -> Iterator[None]:
    """While this is open the hooks are there; on the way out, whatever happens, exactly these are taken off, the last first.

    So contexts may close in any order, as those of generators do.
    """
    token = object()
    try:
        if threading.current_thread() is threading.main_thread():
            _open.add(token)
            _handle_interrupts(_comes_later, instead_of=signal.default_int_handler)
        with contextlib.ExitStack() as stack:
            for put_on in hooks:
                stack.callback(put_on())
            yield
    finally:
        _open.discard(token)
        if not _open and threading.current_thread() is threading.main_thread():
            _handle_interrupts(signal.default_int_handler, instead_of=_comes_later)


def _handle_interrupts(handler: Callable, instead_of: Callable) -> None:
    if signal.getsignal(signal.SIGINT) is instead_of:
        signal.signal(signal.SIGINT, handler)


def _comes_later(number: int, frame: FrameType | None) -> None:
    """Handles SIGINT as Python does, but between the steps of `temporary_hooks` not yet."""
    if not _is_between(frame):
        signal.default_int_handler(number, frame)
    again = threading.Timer(AGAIN_SECONDS, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT))
    again.daemon = True
    again.start()


def _is_between(frame: FrameType | None) -> bool:
    """Whether a context is being entered or left: by contextlib, which does that for all contexts around these, or in here."""
    if frame is not None and frame.f_globals is vars(contextlib):
        return True
    while frame is not None:
        if frame.f_globals is globals():
            return True
        frame = frame.f_back
    return False
