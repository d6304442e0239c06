"""Ctrl-C at any moment, from outside and not from within a hook: a model is left as it was, and the next pass is untouched."""

import os
import random
import signal
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
import torch

from models.hooked import HookedTransformer
from models.hooked.own_hooks import own_hooks
from probes.attention_pattern import reading_patterns
from probes.intervention import intervene
from probes.residual_stream import visiting
from workbench.ablation import ablate
from workbench.ablation_methods import _reading

from .calls_on_a_model import CALLS, CHANGES, REFUSING, Call, lens, made, nothing, probe
from .hooks_of import hooks_of

HOOKING = {name: call for name, call in (CALLS | REFUSING).items() if name not in ("plain", "plain_state", "float64_copy")}


@pytest.fixture(autouse=True)
def pythons_own_handling():
    """A process of pytest-xdist, or one started in the background, ignores Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupted(call: Callable[[], object], seconds: float) -> bool:
    """Sends the process a SIGINT so many seconds after the call began, and waits for its end; whether it came within it."""

    def send() -> None:
        time.sleep(seconds)
        os.kill(os.getpid(), signal.SIGINT)

    sender, inside = threading.Thread(target=send), True
    try:
        sender.start()
        call()
        inside = False
        sender.join()
        time.sleep(0.05)  # put off at the very end of the call, it comes after it; swallowed by a `__del__`, it never comes
    except KeyboardInterrupt:
        pass
    except SystemError as error:  # what numba makes of it while it calls compiled code
        assert isinstance(error.__cause__, KeyboardInterrupt)
    sender.join()
    return inside


def shoot(call: Call, model: HookedTransformer, shots: int) -> int:
    """Interrupts a call that often at random moments of its duration, and requires the model to be as it was; how many hit."""
    moments, hits = random.Random(shots), 0
    tokens = torch.zeros(1, 3, dtype=torch.int64)
    before, logits = hooks_of(model), model(tokens)
    call(model)
    for shot in range(shots):
        began = time.perf_counter()
        call(model)
        hits += interrupted(lambda: call(model), moments.uniform(0, time.perf_counter() - began))
        torch.set_grad_enabled(True)  # torch's own switch, which Ctrl-C between its steps leaves off
        assert hooks_of(model) == before, f"hooks left by shot {shot}"
        assert torch.equal(model(tokens), logits), f"weights left by shot {shot}"
        assert not _reading.get(), f"ablations switched off by shot {shot}"
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    return hits


def test_patching_interrupted_at_random_moments_leaves_nothing():
    shoot(CALLS["patch"][1], made("deep"), 20)


CONTEXTS: dict[str, tuple[str, Callable[[HookedTransformer], AbstractContextManager]]] = {
    "own_hooks": ("deep", lambda model: own_hooks(model, [("hook_embed", nothing), ("blocks.0.hook_resid_post", nothing)])),
    "visiting": ("deep", lambda model: visiting(model, nothing)),
    "reading_patterns": ("deep", lambda model: reading_patterns(model, nothing)),
    "ablate": ("deep", lambda model: ablate(model, "blocks.1")),
    "intervene": ("othello", lambda model: intervene(model, probe(), "flip", 3, 0, layers=[1])),
    "Lens.changed": ("othello", lambda model: lens(model).changed(CHANGES)),
}


@pytest.mark.parametrize("shots", [10, pytest.param(200, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])])
@pytest.mark.parametrize("name", CONTEXTS)
def test_a_context_interrupted_while_entered_or_left_leaves_nothing(name, shots):
    """It is entered and left all the time, with nothing within, so that nearly every shot hits one or the other."""
    shape, context = CONTEXTS[name]

    def enter_and_leave(model: HookedTransformer) -> None:
        end = time.perf_counter() + 0.05  # the thread that shoots waits up to 5 ms for its turn
        while time.perf_counter() < end:
            with torch.no_grad(), context(model):
                pass

    print(f"{name}: {shoot(enter_and_leave, made(shape), shots)} of {shots} inside the loop")  # noqa: T201


def test_what_runs_in_a_context_is_interrupted_at_once_and_who_handles_sigint_is_as_before():
    model, began = made("deep"), time.monotonic()
    before = hooks_of(model)

    def sleep() -> None:
        with ablate(model, "blocks.0"), ablate(model, "blocks.1"):
            time.sleep(30)

    assert interrupted(sleep, 0.1) and time.monotonic() - began < 10
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler and hooks_of(model) == before


def test_a_programs_own_handling_of_sigint_stays_in_place():
    model, seen = made("deep"), []

    def own(number: int, frame: object) -> None:
        seen.append(number)

    signal.signal(signal.SIGINT, own)
    with ablate(model, "blocks.0"):
        assert signal.getsignal(signal.SIGINT) is own
        os.kill(os.getpid(), signal.SIGINT)
    assert seen == [signal.SIGINT] and signal.getsignal(signal.SIGINT) is own


def test_contexts_of_another_thread_leave_sigint_alone():
    model, handlers = made("deep"), []

    def work() -> None:
        with ablate(model, "blocks.0"):
            handlers.append(signal.getsignal(signal.SIGINT))

    worker = threading.Thread(target=work)
    worker.start()
    worker.join()
    assert handlers == [signal.default_int_handler]


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("name", "shots"), [(name, 300 if name == "patch" else 10) for name in HOOKING])
def test_every_call_interrupted_at_random_moments_leaves_nothing(name, shots):
    shape, call = HOOKING[name]
    print(f"{name}: {shoot(call, made(shape), shots)} of {shots} inside the call")  # noqa: T201
