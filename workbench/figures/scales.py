"""Where a value sits on a y axis: linear, logarithmic with a place for zero, and logarithmic to both sides of zero.

A logarithm has no place for 0, and rates and masses here are often exactly 0. Dropping those points would hide the best models,
so they sit on a line of their own at the bottom, with the tick label 0 (or at most 10^-k, where smaller values share the line).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from workbench.metrics import Metric

DECADES = 7
"""How many powers of ten below the greatest value a log axis shows."""
TINY = 1e-300
"""What counts as 0: a decade below it floating point ends."""
LINEAR_SHARE = 1e-3
"""A signed log axis is linear within about this share of the greatest difference."""


@dataclass(frozen=True)
class Scale:
    """A y axis: `place` maps values to what is plotted, `layout` are plotly's axis settings."""

    place: Callable[[ArrayLike], np.ndarray]
    layout: dict


def scale_for(metric: Metric, values: ArrayLike) -> Scale:
    """The scale of a metric's values: log where the metric spans orders of magnitude, else linear."""
    return log_scale(values, metric.axis) if metric.log else linear_scale(metric.axis)


def linear_scale(title: str) -> Scale:
    """Values as they are."""
    return Scale(lambda values: np.asarray(values, float), {"title_text": title})


def log_scale(values: ArrayLike, title: str) -> Scale:
    """A log axis that holds all `values`, which are not negative; zeros and the very small sit one decade below the rest."""
    known = np.asarray(values, float)
    known = known[np.isfinite(known)]
    positive = known[known > TINY]
    top = math.log10(positive.max()) if positive.size else 0.0
    smallest = math.floor(math.log10(positive.min())) if positive.size else -1
    least = max(smallest, math.ceil(top) - DECADES)
    floor = least - 1
    ceiling = math.ceil(top - 1e-9)
    clipped = smallest < least
    has_floor = clipped or bool((known <= TINY).any())
    ticks = _ticks(least, ceiling, narrow=top - least < 2)
    floor_text = f"≤{_power(least)}" if clipped else "0"
    return Scale(
        lambda values: np.where(np.isnan(values), np.nan, np.maximum(np.asarray(values, float), 10.0**floor)),
        {
            "type": "log",
            "title_text": title,
            "range": [
                floor - 0.2 if has_floor else math.log10(positive.min()) - 0.1 if positive.size else -1,
                ceiling + 0.05 if ceiling - top < 0.4 else top + 0.1,
            ],
            "tickvals": ([10.0**floor] if has_floor else []) + list(ticks),
            "ticktext": ([floor_text] if has_floor else []) + list(ticks.values()),
        },
    )


def _ticks(least: int, greatest: int, narrow: bool) -> dict[float, str]:
    """Ticks of a log axis and their text: 1, 2, 5 of each decade where few decades are seen, else at most seven powers."""
    if narrow:
        digits = [(digit, power) for power in range(least, greatest + 1) for digit in (1, 2, 5)]
        return {digit * 10.0**power: _text(digit, power) for digit, power in digits}
    step = max(1, -(-(greatest - least) // 6))
    return {10.0**power: _power(power) for power in range(greatest, least - 1, -step)}


def signed_log_scale(values: ArrayLike, title: str) -> Scale:
    """An axis that is logarithmic to both sides and linear around 0: asinh(value / c), c = `LINEAR_SHARE` of the greatest."""
    known = np.abs(np.asarray(values, float))
    greatest = known[np.isfinite(known)].max(initial=0)
    greatest = greatest if greatest > TINY else 1.0
    top = math.ceil(math.log10(greatest))
    unit = 10.0**top * LINEAR_SHARE

    def place(values: ArrayLike) -> np.ndarray:
        return np.arcsinh(np.asarray(values, float) / unit)

    powers = range(top + round(math.log10(LINEAR_SHARE)) + 1, top + 1)
    ticks = [-(10.0**power) for power in reversed(powers)] + [0.0] + [10.0**power for power in powers]
    text = [f"−{_power(power)}" for power in reversed(powers)] + ["0"] + [_power(power) for power in powers]
    return Scale(place, {"title_text": title, "tickvals": place(ticks), "ticktext": text})


def _text(digit: int, power: int) -> str:
    return f"{digit * 10.0**power:.9g}" if -4 < power < 4 else f"{digit}·{_power(power)}"


def _power(exponent: int) -> str:
    plain = {0: "1", -1: "0.1", -2: "0.01", 1: "10", 2: "100"}
    return plain.get(exponent, f"10<sup>{exponent}</sup>".replace("-", "−"))
