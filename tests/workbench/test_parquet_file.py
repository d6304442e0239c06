"""Parquet files: what pandas reads of sound ones, and none that unpack to more than memory holds."""

import resource

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from workbench.comparison import compare
from workbench.comparison_table import read_any_table
from workbench.parquet_file import MAX_BYTES, read_parquet


def test_it_reads_what_pandas_reads(tmp_path):
    frame = compare(["set-complement-v16-none-seed0"], sequences=4)
    frame.to_parquet(tmp_path / "comparison.parquet")
    pd.testing.assert_frame_equal(
        read_parquet(tmp_path / "comparison.parquet"), pd.read_parquet(tmp_path / "comparison.parquet")
    )
    lists = pd.DataFrame({"input": [[1, 2], [], [3]], "verdict": ["fails", None, "certified"]})
    lists.to_parquet(tmp_path / "lists.parquet")
    pd.testing.assert_frame_equal(read_parquet(tmp_path / "lists.parquet"), pd.read_parquet(tmp_path / "lists.parquet"))


def many_equal_numbers(file):
    with pq.ParquetWriter(file, pa.schema({"value": pa.float64()}), compression="zstd") as writer:
        for _ in range(30):
            writer.write_table(pa.table({"value": np.zeros(10_000_000)}))


def long_text_many_times(file):
    texts = pa.DictionaryArray.from_arrays(np.zeros(4_000, np.int32), ["x" * 1_000_000])
    pq.write_table(pa.table({"checkpoint": texts}), file, compression="zstd", store_schema=False)  # so it is told as text


@pytest.mark.parametrize(
    "kind", [pa.binary(), pa.list_(pa.string()), pa.struct([("a", pa.string())]), pa.binary(3), pa.decimal128(30)], ids=str
)
def test_columns_whose_size_nobody_tells_are_refused_unread(tmp_path, kind):
    file = tmp_path / "comparison.parquet"
    pq.write_table(pa.table({"checkpoint": pa.nulls(3, kind)}), file)
    with pytest.raises(ValueError, match="has a column 'checkpoint' of .*, expected text, numbers or lists of numbers"):
        read_any_table(file)


@pytest.mark.parametrize(
    "column", [pd.Categorical(["a", "b", "a"]), [True, False, True], pd.date_range("2026", periods=3), [None] * 3, [[1.5]] * 3]
)
def test_columns_of_other_peoples_tables_are_read_where_their_size_is_told(tmp_path, column):
    frame = pd.DataFrame({"column": column})
    frame.to_parquet(tmp_path / "some.parquet")
    pd.testing.assert_frame_equal(read_parquet(tmp_path / "some.parquet"), pd.read_parquet(tmp_path / "some.parquet"))


def texts_in_many_columns(file):
    """Each column fits, all do not."""
    texts = pa.DictionaryArray.from_arrays(np.zeros(1_000, np.int32), ["x" * 1_000_000])
    table = pa.table({"checkpoint": texts, "task": texts, "shape": texts})
    pq.write_table(table, file, compression="zstd", store_schema=False)


def many_empty_lists(file):
    lists = pa.ListArray.from_arrays(np.zeros(12_000_001, np.int32), np.zeros(0))
    pq.write_table(pa.table({"input": lists}), file, compression="zstd")


@pytest.mark.parametrize("make", [many_equal_numbers, long_text_many_times, texts_in_many_columns, many_empty_lists])
def test_a_small_file_that_unpacks_to_more_than_memory_holds_is_refused(tmp_path, make):
    file = tmp_path / "comparison.parquet"
    make(file)
    assert file.stat().st_size < MAX_BYTES / 100
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match="comparison.parquet comes to .* bytes, expected at most"):
        read_any_table(file)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 18  # KiB


CSVS = {
    "many columns": (",".join(f"c{column}" for column in range(4_000)), "1\n" * 100_000),
    "many columns below blank lines": ("\n\n" + ",".join(f"c{column}" for column in range(4_000)), "1\n" * 100_000),
    "many lines": (",".join(f"c{column}" for column in range(99)), "1\n" * 1_000_000),
    "many lines of another kind": (",".join(f"c{column}" for column in range(99)), "1\r" * 1_000_000),
}


@pytest.mark.parametrize("kind", CSVS)
def test_a_small_csv_of_more_cells_than_fit_is_refused(tmp_path, kind):
    file = tmp_path / "comparison.csv"
    file.write_text("\n".join(CSVS[kind]))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match="cannot read .*comparison.csv as a table .it has .* columns and .* lines or more"):
        read_any_table(file)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 18  # KiB
