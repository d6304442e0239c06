"""Reads a parquet that somebody else may have made, whose few bytes may stand for more than any memory holds.

Its columns are run-length and dictionary encoded: a megabyte of file can be a billion equal numbers, or a long text a million
times. So what it would come to is counted before it is unpacked.
"""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from models.plain_file import require_plain

UNREADABLE = (OSError, ValueError, TypeError, OverflowError, NotImplementedError)
"""What pandas and pyarrow raise for a file that is no table, or a damaged one."""
MAX_BYTES = 1 << 31
"""Beyond it, on disk or unpacked, a file is no table of ours."""
VALUE_BYTES, LIST_BYTES = 32, 200
"""What a value, and beside its values a list, takes at the most while pandas makes its frame (measured), text not counted."""


def read_parquet(file: Path) -> pd.DataFrame:
    """The frame in a parquet file.

    Raises OSError for a file that is no plain one, ValueError for what comes to more than `MAX_BYTES` or has columns of another
    kind than tables of ours (text, numbers, lists of numbers), and one of `UNREADABLE` for what is damaged.
    """
    require_plain(file, MAX_BYTES)
    with pq.ParquetFile(file) as opened:
        told, schema = opened.metadata, opened.schema_arrow
        groups = [told.row_group(number) for number in range(told.num_row_groups)]
        columns = [group.column(number) for group in groups for number in range(group.num_columns)]
        for field in schema:
            _require_countable(file, field)
        lists = sum(pa.types.is_nested(field.type) for field in schema)
        size = sum(max(VALUE_BYTES * column.num_values, column.total_uncompressed_size) for column in columns)
        size += LIST_BYTES * lists * told.num_rows
        _require_fits(file, size)
    texts = [field.name for field in schema if _is_text(field.type)]
    table = pq.read_table(file, read_dictionary=texts)
    _require_fits(file, size + sum(_unpacked(chunk) for name in texts for chunk in table[name].chunks))
    return table.cast(schema).to_pandas()


def _require_countable(file: Path, field: pa.Field) -> None:
    """Whether its bytes can be told before it is unpacked."""
    kind = field.type
    if pa.types.is_dictionary(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind):
        inner = kind.value_type
        known = pa.types.is_primitive(inner) or (pa.types.is_dictionary(kind) and _is_text(inner))
    else:
        known = pa.types.is_primitive(kind) or pa.types.is_null(kind) or _is_text(kind)
    if not known:
        raise ValueError(f"{file.name} has a column '{field.name}' of {kind}, expected text, numbers or lists of numbers")


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _unpacked(texts: pa.DictionaryArray) -> int:
    lengths = pc.binary_length(texts.dictionary).cast(pa.int64())
    return pc.sum(pc.take(lengths, texts.indices)).as_py() or 0


def _require_fits(file: Path, size: int) -> None:
    if size > MAX_BYTES:
        raise ValueError(f"{file.name} comes to {size} bytes, expected at most {MAX_BYTES}")
