"""Spoilt tables and studies: each is refused in one sentence, or what is read can be."""

import json
import shutil
import sqlite3
from random import Random

import pytest

from workbench.comparison_table import read_any_table, read_table, typed, write_table
from workbench.search_storage import open_storage
from workbench.study import read_studies

from ..workbench.made_up_tables import made_up
from ..workbench.planted_study import planted_study
from .held_to_limits import MEGABYTE, held
from .mutations import BYTES, ELSEWHERE, flip_bits, junk_field, lead_elsewhere
from .spoilt_files import counts, spoil_and_read


@counts(100, few=25)  # Optuna tries a database that fails five times
def test_spoilt_studies(tmp_path, count):
    """Bytes of the database, and the JSON that its rows hold."""
    file, spoilt = tmp_path / "sound.db", tmp_path / "spoilt.db"
    url = f"sqlite:///{file}"
    planted_study(6, open_storage(url)).user_attrs  # noqa: B018
    shutil.copyfile(file, spoilt)

    def spoil(random: Random) -> str:
        shutil.copyfile(file, spoilt)
        if random.random() < 0.5:
            act = random.choice(BYTES)
            spoilt.write_bytes(act(file.read_bytes(), random))
            return act.__name__
        table = random.choice(("trial_user_attributes", "study_user_attributes"))
        with sqlite3.connect(spoilt) as connection:
            rows = connection.execute(f"select rowid, value_json from {table}").fetchall()
            row, value = random.choice(rows)
            act = random.choice((junk_field, flip_bits))
            inner = json.loads(value)
            if isinstance(inner, str):  # a result is JSON within JSON
                value = json.dumps(act(inner.encode(), random).decode(errors="replace"))
            elif isinstance(inner, dict):
                value = act(value.encode(), random).decode(errors="replace")
            else:
                value = random.choice(('"x"', "null", "-1", "1e9", "[]"))
            connection.execute(f"update {table} set value_json = ? where rowid = ?", (value, row))
        return f"{table} {act.__name__} {value[:80]}"

    spoil_and_read(count, "studies", spoil, lambda: read_studies(f"sqlite:///{spoilt}"))


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@counts(75)
def test_spoilt_tables(tmp_path, count, kind):
    written = dict(zip(("csv", "parquet"), write_table(typed(made_up().assign(certified_lengths=2)), tmp_path), strict=True))[
        kind
    ]
    sound = written.read_bytes()

    def words_for_numbers(data: bytes, random: Random) -> bytes:
        lines = data.decode().splitlines()
        at = random.randrange(len(lines))
        cells = lines[at].split(",")
        cells[random.randrange(len(cells))] = random.choice(
            ("x", "", "1e999", "-1", '"', "inf", "9" * 400, "\0", "1.5", "1e308", "-1e308", "x" * 10_000)
        )
        lines[at] = ",".join(cells)
        return "\n".join(lines).encode()

    def spoil(random: Random) -> str:
        if written.is_dir() and not written.is_symlink():
            written.rmdir()
        written.unlink(missing_ok=True)
        written.write_bytes(sound)
        if random.random() < 0.05:
            lead_elsewhere(written, random.choice(ELSEWHERE))
            return "leads elsewhere"
        act = random.choice((*BYTES, words_for_numbers, words_for_numbers) if kind == "csv" else BYTES)
        written.write_bytes(act(sound, random))
        return act.__name__

    def read() -> None:
        frame = read_table(written)
        assert ((frame["length"] >= 1) & (frame["length"] < frame["vocab"]) & (frame["seeds"] >= 1)).all()
        assert (frame["certified_lengths"].dropna() >= 0).all() and (frame["checkpoint"].str.len() < 10_000).all()
        shares = frame[frame["metric"].isin(["illegal_mass", "illegal_top1", "total_variation", "misordered"])]
        for name in ("value", "ci_low", "ci_high", "seed_mean", "seed_low", "seed_high"):
            assert shares[name].dropna().between(0, 1).all()

    spoil_and_read(count, f"{kind} tables", spoil, read)


@pytest.mark.parametrize("line", ["\n", "\r", "\r\n", " \n", "\t\n", ",\n"])
def test_a_large_csv_of_blank_lines_is_refused_within_seconds(tmp_path, line):
    file, size = tmp_path / "comparison.csv", 50 * MEGABYTE
    file.write_bytes(line.encode() * (size // len(line)))
    reading = held(lambda: read_any_table(file))
    assert isinstance(reading.error, ValueError)
    reading.require_orderly(size)
