"""The random search: a worker takes parameter sets of one shape, trains them as a fleet, measures, and takes the next.

Start it as often as wanted, on one machine or many, together or one after another: `workbench/search_ledger.py` sees to it
that every parameter set is completed once. What is drawn is `search_space`'s business, what is kept `search_result`'s.
"""

import random
import threading
import time
from collections import defaultdict
from collections.abc import Hashable, Sequence
from typing import Literal

from tqdm.auto import tqdm

from models.config import WEIGHTS
from models.device import usable_device
from models.whole_numbers import require_whole
from workbench.fleet import Fleet, fleet_key
from workbench.search_ledger import HeldTrial, Ledger
from workbench.search_result import WORST_OBJECTIVE, measure, objective
from workbench.search_space import SearchSpace

STEPS_BETWEEN_LOOKS = 100
"""Steps of a fleet between two looks at whether to stop."""
SECONDS_BETWEEN_LOOKS = 2.0
"""While all that is left is in other workers' hands."""


def search(
    space: SearchSpace,
    trials: int,
    ledger: Ledger,
    *,
    sequences: int = 512,
    fleet_size: int = 16,
    device: Literal["cpu", "cuda"] = "cpu",
    minutes: float | None = None,
    stop: threading.Event | None = None,
    progress: bool = False,
) -> int:
    """Works at parameter sets 0 .. trials - 1 until all are completed, by this worker or others; returns how many are.

    Args:
        space: what is searched.
        trials: how many parameter sets in all; may grow from one sitting to the next.
        ledger: where they are shared and kept.
        sequences: how many sequences every member is evaluated on.
        fleet_size: the most members that train together.
        device: where to train.
        minutes: start no further fleet after so long; the present one is finished. None for no limit.
        stop: set it from another thread or a signal handler to give up the fleet at hand, which is then free for anyone.
        progress: show a bar over parameter sets.

    Raises ValueError for a count below 1 and for a device that is unknown or not usable here.
    """
    for noun, count in (("trials", trials), ("sequences", sequences), ("members of a fleet", fleet_size)):
        require_whole(noun, count)
    usable_device(device)
    ledger.stop = stop = stop or threading.Event()
    began = time.monotonic()
    numbered = tqdm(range(trials), unit=" trials", disable=not progress, desc="drawing", leave=False)
    keys = {number: fleet_key(space.config(number), device) for number in numbered}
    with tqdm(total=trials, unit=" trials", disable=not progress, desc=ledger.study.study_name) as bar:
        while True:
            numbers = ledger.open_numbers(trials)
            completed = ledger.completed(trials)
            bar.update(completed - bar.n)
            if completed == trials or stop.is_set() or (minutes is not None and time.monotonic() - began > 60 * minutes):
                return completed
            if numbers:
                _complete(_choose(numbers, keys, fleet_size), space, ledger, sequences, device, stop, bar)
            else:
                bar.set_postfix_str("waiting for other workers")
                stop.wait(SECONDS_BETWEEN_LOOKS)


def _choose(numbers: Sequence[int], keys: dict[int, Hashable], fleet_size: int) -> list[int]:
    """Open numbers that can share a fleet: of a key that fills one, if there is any, at random so that workers part."""
    by_key = defaultdict(list)
    for number in numbers:
        by_key[keys[number]].append(number)
    if not by_key:
        return []
    fullest = min(fleet_size, max(map(len, by_key.values())))
    return random.choice([group for group in by_key.values() if len(group) >= fullest])[:fleet_size]


def _complete(
    numbers: Sequence[int],
    space: SearchSpace,
    ledger: Ledger,
    sequences: int,
    device: Literal["cpu", "cuda"],
    stop: threading.Event,
    bar: tqdm,
) -> None:
    """Takes parameter sets up, trains and measures them; what is not done when stopped or failing is given back."""
    unfinished: list[HeldTrial] = []
    try:
        with ledger.held(unfinished):
            for number in numbers:
                if not stop.is_set() and (claim := ledger.claim(number)) is not None:
                    unfinished.append(claim)
            claims = tuple(unfinished)
            if not claims:
                return
            fleet = Fleet([space.config(claim.number) for claim in claims], device=device)
            while fleet.step < space.steps and not stop.is_set():
                fleet.run(min(space.steps, fleet.step + STEPS_BETWEEN_LOOKS))
                bar.set_postfix_str(f"{len(claims)} members at step {fleet.step:,} of {space.steps:,}")
            for member, claim in enumerate(claims):
                if stop.is_set():
                    break
                _enter(fleet, member, claim, space, ledger, sequences)
                unfinished.remove(claim)
                bar.update()
    finally:
        ledger.release(unfinished)


def _enter(fleet: Fleet, member: int, claim: HeldTrial, space: SearchSpace, ledger: Ledger, sequences: int) -> None:
    diverged_at = fleet.diverged[member]
    if diverged_at is not None:
        ledger.complete(claim, WORST_OBJECTIVE, {"diverged": diverged_at})
        return
    states = {name: {key: part.cpu() for key, part in fleet.state(member, name).items()} for name in WEIGHTS}
    config = space.config(claim.number)
    result = measure(states, config, sequences)
    ledger.complete(claim, objective(result, config.train_length), result)
