"""What the numbers and texts of a table can be: the range of each column, and the sentence for a value that no command writes.

For: tables that are read back, which anybody may have changed since. Not for: what the columns mean (`comparison_table`, and
the docstrings of what returns them), nor the ranges of metrics, which stand where those are registered (`metrics.METRICS`).
"""

import math
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from models.checkpoint import MOST_IN_TABLES
from models.config import BRACKET_LONGEST, MOST, MOST_LAYERS, WEIGHTS
from models.streams import SEEDS
from workbench.metrics import METRICS

RANGES: dict[str, tuple[float, float]] = {
    "vocab": (3, MOST),
    "train_length": (1, MOST_IN_TABLES),
    "seed": (0, SEEDS - 1),
    "step": (0, MOST_IN_TABLES),
    "steps": (1, MOST_IN_TABLES),
    "sequences": (0, MOST_IN_TABLES),
    "seeds": (1, SEEDS),
    "layer": (0, MOST_LAYERS),
    "head": (0, MOST),
    "position": (0, MOST),
    "width": (1, MOST),
    "head_width": (1, MOST),
    **{name: (metric.low, metric.high) for name, metric in METRICS.items()},
}
"""Least and greatest value of a column, wherever it occurs; a column may be named for a metric."""
LENGTHS = {"length": 1, "lengths": 1, "certified_lengths": 0}
"""Columns that count tokens, and their least value; the greatest is the longest input of the row's task."""
OF_METRIC = ("value", "clean", "ci_low", "ci_high", "seed_mean", "seed_low", "seed_high")
"""Columns that are in the unit and range of the row's metric."""
DIFFERENCES = ("difference", "difference_low", "difference_high")
"""Columns that hold differences of two such values."""
SPREAD = "seed_sd"
"""The column that holds a standard deviation of them."""
ORDERED = (("ci_low", "ci_high"), ("difference_low", "difference_high"), ("seed_low", "seed_high"))
MOST_CHARACTERS = 1 << 13
"""Of a text in a table: a name and the path of a folder."""
ROUNDING = 1e-6
"""How far a mean of float32 numbers may lie beyond the range of each."""


def require_possible(frame: pd.DataFrame, file: Path) -> None:
    """Raises ValueError, naming file, row, column, value and range, for the first value found that a column cannot hold.

    Missing values are none; columns that are not known here are left alone.
    """
    frame = frame.reset_index(drop=True)  # a file may bring any index
    for name in frame.columns:
        _require_texts(frame[name], file)
    for name, low, high in _limits(frame):
        values = _numbers(frame[name])
        if (row := _first((values < low - ROUNDING) | (values > high + ROUNDING))) is not None:
            metric = f" of {frame['metric'][row]}" if name in (*OF_METRIC, *DIFFERENCES, SPREAD) else ""
            raise _impossible(file, row, f"{name} {values[row]:.10g}{metric}", f"{low[row]:.10g} .. {high[row]:.10g}")
    for below, above in ORDERED:
        if {below, above} <= set(frame.columns):
            low, high = _numbers(frame[below]), _numbers(frame[above])
            if (row := _first(low > high)) is not None:
                raise _impossible(file, row, f"{below} {low[row]:.10g}", f"at most {above}, {high[row]:.10g}")


def _numbers(column: pd.Series) -> pd.Series:
    """Its numbers as floats; NaN where there is none. A whole number beyond every float is infinite only where it is a text."""
    texts = column.map(str) if column.dtype == object else column
    return pd.Series(pd.to_numeric(texts, errors="coerce")).astype(float)


def _first(wrong: pd.Series) -> int | None:
    return int(wrong.to_numpy().argmax()) if wrong.any() else None


def _limits(frame: pd.DataFrame) -> Iterator[tuple[str, pd.Series, pd.Series]]:
    """The columns with a range, and its ends in each row."""

    def everywhere(limit: float) -> pd.Series:
        return pd.Series(float(limit), frame.index)

    for name in frame.columns:
        if name in RANGES:
            low, high = map(everywhere, RANGES[name])
            yield name, low, high
    longest = _longest(frame)
    yield from ((name, everywhere(least), longest) for name, least in LENGTHS.items() if name in frame)
    if "metric" in frame:
        metric = frame["metric"].map(str)
        low = metric.map({name: metric.low for name, metric in METRICS.items()}).astype(float).fillna(-math.inf)
        high = metric.map({name: metric.high for name, metric in METRICS.items()}).astype(float).fillna(math.inf)
        yield from ((name, low, high) for name in OF_METRIC if name in frame)
        yield from ((name, low - high, high - low) for name in DIFFERENCES if name in frame)
        yield from ((name, everywhere(0), high - low) for name in (SPREAD,) if name in frame)


def _longest(frame: pd.DataFrame) -> pd.Series:
    """The longest input of each row's task; tasks may be the user's own, of which that is not known."""
    longest = pd.Series(float(MOST), frame.index)
    if "vocab" not in frame or "task" not in frame:
        return longest
    with_one_left = _numbers(frame["vocab"]) - 1  # a legal token
    longest = longest.mask(frame["task"].isin(["set-complement", "othello"]), with_one_left)
    return longest.mask(frame["task"].isin(["brackets"]), BRACKET_LONGEST)


def _require_texts(column: pd.Series, file: Path) -> None:
    if pd.api.types.is_numeric_dtype(column):
        return
    different = column.unique() if isinstance(column.dtype, pd.StringDtype) else column  # others may hold lists
    for text in {text for text in different if isinstance(text, str)}:
        if len(text) > MOST_CHARACTERS or (column.name == "weights" and text not in WEIGHTS):
            expected = f"one of {', '.join(WEIGHTS)}" if column.name == "weights" else f"at most {MOST_CHARACTERS} characters"
            row = int((column == text).to_numpy().argmax())
            raise _impossible(file, row, f"{column.name} '{text[:60]}'", expected)


def _impossible(file: Path, row: int, found: str, expected: str) -> ValueError:
    return ValueError(f"{file} has in row {row + 1} {found}, expected {expected}; give the table as a command wrote it")
