"""The tidy frame of evaluations and comparisons: its columns, their types, the spread over seeds, and its place on disk."""

import io
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from models.durable import write_file
from models.plain_file import as_path, require_plain
from workbench.metrics import METRICS
from workbench.parquet_file import MAX_BYTES, UNREADABLE, read_parquet
from workbench.table_ranges import require_possible

logger = logging.getLogger(__name__)

LABELS = ("checkpoint", "task", "vocab", "shape", "train_length", "dropout", "weights", "averaging", "seed", "step")
"""What a row is about."""
ROW = ("length", "metric", "value", "ci_low", "ci_high", "sequences")
"""What it says; `sequences` counts those with a legal next token at that length."""
COLUMNS = (*LABELS, *ROW)
DIFFERENCE_COLUMNS = ("reference", "difference", "difference_low", "difference_high")
CERTIFIED = "certified_lengths"
"""At how many lengths the ordering is proved right on all inputs (`probes.certificate`); missing where that is not exact."""
SEED_COLUMNS = ("seeds", "seed_mean", "seed_sd", "seed_low", "seed_high")
MAX_COLUMNS = 100
"""No csv of ours has as many."""
PIECE_BYTES = 1 << 18
"""Of a csv that are looked at together."""
CELL_BYTES = 72
"""What a cell of a csv takes at the most while pandas makes its frame: one of a column of numbers and texts (measured)."""
EQUAL_BUT_SEED = ("task", "vocab", "shape", "train_length", "dropout", "weights", "averaging", "step")
"""Rows that agree in these, and in length and metric, differ in nothing but the seed."""


def with_labels(rows: pd.DataFrame, named: dict[str, Any]) -> pd.DataFrame:
    """Rows with label columns put in front, in the order and with the types of `COLUMNS`; further columns follow."""
    rest = [name for name in rows.columns if name not in COLUMNS]
    return typed(rows.assign(**named)[[*COLUMNS, *rest]])


def typed(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with each column's own type: text, floats, and whole numbers (pandas' Int64 where one may be unknown)."""
    types = dict.fromkeys((*LABELS, "metric", "reference"), "string") | dict.fromkeys(("vocab", "length", "sequences"), "int64")
    types |= dict.fromkeys(("train_length", "seed", "step", CERTIFIED), "Int64") | {"seeds": "int64"}
    return frame.astype({name: types.get(name, "float64") for name in frame.columns})


def with_seed_spread(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with `SEED_COLUMNS`: the spread of `value` over rows that are equal in everything but the seed.

    Where a seed is unknown or occurs twice, the checkpoints differ in something the table does not tell, and each stands alone.
    """
    groups = frame.groupby([*EQUAL_BUT_SEED, "length", "metric"], dropna=False, sort=False)
    size = groups["value"].transform("size")
    together = groups["seed"].transform("nunique") == size
    if (~together & (size > 1)).any():
        names = ", ".join(frame.loc[~together & (size > 1), "checkpoint"].unique())
        logger.warning("no spread over seeds for %s: their seeds are unknown or occur twice; compare them apart", names)
    value = groups["value"]
    spread = {"seed_mean": value.transform("mean"), "seed_low": value.transform("min"), "seed_high": value.transform("max")}
    columns = {name: series.where(together, frame["value"]) for name, series in spread.items()}
    columns |= {"seeds": size.where(together, 1).astype("int64"), "seed_sd": value.transform("std").where(together)}
    return frame.assign(**{name: columns[name] for name in SEED_COLUMNS})


def write_table(frame: pd.DataFrame, folder: str | os.PathLike[str], name: str = "comparison") -> tuple[Path, Path]:
    """Writes name.csv and name.parquet into a folder, each whole or not at all, and returns their paths.

    The same frame gives the same bytes; csv holds every digit.
    """
    columnar = io.BytesIO()
    frame.to_parquet(columnar, index=False)
    csv, parquet = Path(folder) / f"{name}.csv", Path(folder) / f"{name}.parquet"
    write_file(csv, frame.to_csv(index=False, lineterminator="\n").encode())
    write_file(parquet, columnar.getvalue())
    return csv, parquet


def read_any_table(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Any table of `write_table`: a csv, a parquet, or a folder with comparison.parquet.

    Raises ValueError for another file, and as `require_possible` for values that no command writes.
    """
    file = _file(path)
    try:
        frame = read_parquet(file) if file.suffix != ".csv" else _read_csv(file)
    except UNREADABLE as error:
        raise _unreadable(file, error) from error
    require_possible(frame, file)
    return frame


def _read_csv(file: Path) -> pd.DataFrame:
    require_plain(file, MAX_BYTES)
    _require_fits(file)
    return pd.read_csv(file)


def _require_fits(file: Path) -> None:
    """Raises ValueError for a csv of many columns, or of more cells than fit: a line of one byte has a cell in each column."""
    columns, lines, commas_before = 0, 1, 0
    with file.open("rb") as opened:
        while piece := opened.read(PIECE_BYTES):
            letters = np.frombuffer(piece, np.uint8)  # a loop over lines takes seconds for those that are blank
            ends = np.flatnonzero((letters == ord("\n")) | (letters == ord("\r")))
            commas = np.cumsum(letters == ord(","))
            of_lines = np.diff(commas[ends], prepend=-commas_before, append=commas[-1])
            columns, lines, commas_before = max(columns, int(of_lines.max()) + 1), lines + len(ends), int(of_lines[-1])
            if columns > MAX_COLUMNS or CELL_BYTES * columns * lines > MAX_BYTES:
                raise ValueError(
                    f"it has {columns} columns and {lines} lines or more, expected at most {MAX_COLUMNS} columns and "
                    f"{MAX_BYTES // CELL_BYTES} cells"
                )


def read_table(path: str | os.PathLike[str]) -> pd.DataFrame:
    """A comparison of `write_table`: its csv, its parquet, or the folder of both. Raises ValueError for any other file."""
    file, frame = _file(path), read_any_table(path)
    missing = [name for name in (*COLUMNS, *DIFFERENCE_COLUMNS, CERTIFIED, *SEED_COLUMNS) if name not in frame.columns]
    if missing:
        raise ValueError(
            f"{file} is no table of `workbench compare`: it has no column {', '.join(missing)}; give comparison.csv"
        )
    if frame.empty:
        raise ValueError(f"{file} has no row, so there is nothing to draw; give the table of a comparison that ended")
    _require_rows(frame, file)
    try:
        return typed(frame)
    except (ValueError, TypeError, OverflowError) as error:
        raise _unreadable(file, error) from error


def _require_rows(frame: pd.DataFrame, file: Path) -> None:
    """What the ranges of the columns do not tell: that rows are of our metrics, stand there once, and say something."""
    unknown = [str(name) for name in frame["metric"].unique() if name not in METRICS]
    faults = {
        f"a metric '{''.join(unknown[:1])[:60]}', none of {', '.join(METRICS)}": bool(unknown),
        "a row twice": bool(frame.duplicated([*LABELS, "length", "metric"]).any()),
        "no value at all": bool(frame["value"].isna().all()),
    }
    found = [fault for fault, there in faults.items() if there]
    if found:
        raise ValueError(f"{file} is no table of `workbench compare`: it has {found[0]}; give one that was not changed")


def _file(path: str | os.PathLike[str]) -> Path:
    path = as_path(path)
    return path / "comparison.parquet" if path.is_dir() else path


def _unreadable(file: Path, error: Exception) -> ValueError:
    reason = " ".join(str(error).split())[:200]  # pandas and pyarrow write paragraphs
    return ValueError(f"cannot read {file} as a table ({reason}); give the .csv or .parquet that a command wrote")
