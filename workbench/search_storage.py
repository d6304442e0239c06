"""The database of a search, by its URL: opened, made where it is missing, and shut to what is no search.

For: SQLite files and servers alike. Not for: who trains what, which is `workbench/search_ledger.py`.
"""

import errno
import sqlite3
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import optuna
import sqlalchemy as sa
from optuna.storages._rdb.models import BaseModel

from models.plain_file import require_plain

Made = TypeVar("Made")

HEARTBEAT_SECONDS = 10
STALE_SECONDS = 60
"""A worker that has been silent for so long has lost its trials."""
RACE_SECONDS = 2.5
"""How long to try again where workers make the same tables."""
BETWEEN_TRIES_SECONDS = 0.5
WAIT_FOR_LOCK_SECONDS = 60
DATABASE_ERRORS = (sa.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError)
SECRETS = ("password", "passfile", "sslpassword")
"""Options in the query of a URL that are not shown."""
MAX_VALUE_BYTES = 1 << 26
"""No text in a search's SQLite file is nearly as long; a file of somebody else's may make up longer ones as it is read."""
MAX_DEFAULT_CHARACTERS = 100
"""Of a column's default, which stands once in the file, for every row that lacks it."""
OPTUNA_TABLES = {"studies", "trials", "version_info"}
OTHER_TABLES = {"alembic_version", "workbench_attempts"}
"""What a search has beside those that Optuna lists."""


def open_storage(
    url: str, heartbeat_seconds: int = HEARTBEAT_SECONDS, stale_seconds: int = STALE_SECONDS
) -> optuna.storages.RDBStorage:
    """Optuna's storage at a URL, with its tables made where they are missing. Raises ValueError where that cannot be."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)

    def make() -> optuna.storages.RDBStorage:
        with optuna_warnings_answered():
            return optuna.storages.RDBStorage(
                url, _engine_options(url), heartbeat_interval=heartbeat_seconds, grace_period=stale_seconds
            )

    with one_sentence(url):
        file = _sqlite_file(url)
        if file is not None and file.exists():
            require_plain(file)
            patiently(lambda: _require_no_others(url))
        storage = patiently(make)
    if file is not None:
        _serialise(storage.engine)
    return storage


def open_existing_storage(url: str) -> optuna.storages.RDBStorage:
    """Optuna's storage at a URL that has its tables already. Raises ValueError, and writes nothing, where it has not."""
    with one_sentence(url):
        file = _sqlite_file(url)
        if file is not None:
            require_plain(file)  # SQLite would make the file
        engine = sa.create_engine(url, **_engine_options(url))
        tables = set(sa.inspect(engine).get_table_names())
        only_tables = file is None or not _computed(engine)
        engine.dispose()
    if not tables >= OPTUNA_TABLES or not only_tables:
        raise ValueError(f"the storage {shown_url(url)} holds no search; give that of `workbench search`")
    return open_storage(url)


def _require_no_others(url: str) -> None:
    """Raises OSError for an SQLite file with another program's tables and no search; of ours some may be just being made."""
    engine = sa.create_engine(url, **_engine_options(url))
    inspector = sa.inspect(engine)
    tables = set(inspector.get_table_names())
    foreign = {table for table in tables if not _is_of_a_search(table, inspector)}
    engine.dispose()
    if foreign and not tables - foreign >= OPTUNA_TABLES:
        raise OSError(errno.EEXIST, f"it holds another program's table {min(foreign)}, and no search")


def _is_of_a_search(table: str, inspector: sa.Inspector) -> bool:
    if table not in BaseModel.metadata.tables:
        return table in OTHER_TABLES
    keys = {column.name for column in BaseModel.metadata.tables[table].primary_key}
    return keys <= {column["name"] for column in inspector.get_columns(table)}


def _computed(engine: sa.Engine) -> list[str]:
    """What an SQLite file would run or make up when it is read, of which a search has nothing.

    Views, triggers, virtual tables, and columns that are generated or have a long default.
    """
    run = "SELECT name FROM sqlite_master WHERE type NOT IN ('table', 'index') OR sql LIKE 'create virtual%'"
    made_up = (
        "SELECT it.name FROM sqlite_master AS it, pragma_table_xinfo(it.name) AS its WHERE it.type = 'table' "
        f"AND (its.hidden IN (2, 3) OR length(its.dflt_value) > {MAX_DEFAULT_CHARACTERS})"
    )
    with engine.connect() as connection:
        return [*connection.scalars(sa.text(run)), *connection.scalars(sa.text(made_up))]


def is_full(error: Exception) -> bool:
    """Whether the database has no room to write: SQLite's words, and those that PostgreSQL hands on from its system."""
    return any(words in reason(error) for words in ("database or disk is full", "No space left on device"))


def reason(error: BaseException) -> str:
    """What the database said, which SQLAlchemy and Optuna put their own words around."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error).strip().split("\n")[0]


def _engine_options(url: str) -> dict[str, Any]:
    if _sqlite_file(url) is None:
        return {"pool_pre_ping": True}
    return {"connect_args": {"timeout": WAIT_FOR_LOCK_SECONDS, "factory": _LimitedConnection}}


class _LimitedConnection(sqlite3.Connection):
    """Refuses values of more than `MAX_VALUE_BYTES`."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES)


def _sqlite_file(url: str) -> Path | None:
    """The file of an SQLite URL, None for another database; an OSError where SQLite would keep it in memory."""
    parsed = sa.make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return None
    name = parsed.database or ""
    if not name or name.startswith((":memory:", "file:")):
        raise OSError(errno.EINVAL, "it names no file")
    return Path(name)


@contextmanager
def one_sentence(url: str) -> Iterator[None]:
    """Within, what a database says that cannot be opened, or made one of a search, is a ValueError with a remedy."""
    try:
        yield
    except (*DATABASE_ERRORS, ImportError, OSError, ValueError) as error:
        told = (error.strerror if isinstance(error, OSError) else None) or reason(error)
        remedy = "free space, or " if is_full(error) else ""
        raise ValueError(
            f"cannot open the storage {shown_url(url)} ({told}); "
            f"{remedy}give sqlite:///FILE or postgresql+psycopg://USER@HOST/DATABASE"
        ) from error


def shown_url(url: str) -> str:
    """A URL as it may be shown: without its password. Of one that holds an @ too many, or is none, only the scheme."""
    scheme, separator, _ = url.partition("://")
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        return f"{scheme}://…" if separator else repr(url if "@" not in url else "…")
    if parsed.get_backend_name() != "sqlite" and "@" in f"{parsed.host}{parsed.database}":  # that of a password with a slash
        return f"{scheme}://…"
    return parsed.difference_update_query(SECRETS).render_as_string(hide_password=True)


def _serialise(engine: sa.Engine) -> None:
    """Makes every transaction of an SQLite engine lock the file from its first statement on.

    Otherwise two workers can both read that a trial is running and then both change it: SQLite has no SELECT FOR UPDATE. With a
    plain BEGIN both can still read it, and then one is refused ("database is locked") where it should have waited. The recipe
    is of SQLAlchemy's documentation on pysqlite.
    """

    @sa.event.listens_for(engine, "connect")
    def leave_begin_to_us(connection, record) -> None:
        connection.isolation_level = None

    @sa.event.listens_for(engine, "begin")
    def begin(connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    engine.dispose()  # connections made before this would not do as told


def patiently(act: Callable[[], Made]) -> Made:
    """Tries again where two workers make the same tables or rows at the same moment, which databases answer with an error."""
    until = time.monotonic() + RACE_SECONDS
    while True:
        try:
            return act()
        except DATABASE_ERRORS as error:
            damaged = sa.exc.DatabaseError in (type(error), type(error.__cause__))  # not one of its kinds
            if time.monotonic() > until or damaged or isinstance(error, sa.exc.ArgumentError):  # no address at all
                raise
            time.sleep(BETWEEN_TRIES_SECONDS)


@contextmanager
def optuna_warnings_answered() -> Iterator[None]:
    """Without those that Optuna gives of what is done here on purpose."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # heartbeats are, since Optuna 2.9
        warnings.filterwarnings("ignore", "Heartbeat of storage", UserWarning)  # they are for optimize(): ours come from `held`
        yield
