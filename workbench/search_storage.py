"""The database of a search, by its URL: opened, made where it is missing, and shut to what is no search.

For: SQLite files and servers alike. Not for: who trains what, which is `workbench/search_ledger.py`.
"""

import errno
import re
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import optuna
import sqlalchemy as sa

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
OPTUNA_TABLES = {"studies", "trials", "version_info"}


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

    with _one_sentence(url):
        file = _sqlite_file(url)
        storage = patiently(make)
    if file is not None:
        _serialise(storage.engine)
    return storage


def open_existing_storage(url: str) -> optuna.storages.RDBStorage:
    """Optuna's storage at a URL that has its tables already. Raises ValueError, and writes nothing, where it has not."""
    with _one_sentence(url):
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


def _computed(engine: sa.Engine) -> list[str]:
    """What an SQLite file would run when it is read: views, triggers and virtual tables, of which a search has none."""
    computed = sa.text("SELECT name FROM sqlite_master WHERE type NOT IN ('table', 'index') OR sql LIKE 'create virtual%'")
    with engine.connect() as connection:
        return list(connection.scalars(computed))


def _engine_options(url: str) -> dict[str, Any]:
    return {"pool_pre_ping": True} if _sqlite_file(url) is None else {"connect_args": {"timeout": WAIT_FOR_LOCK_SECONDS}}


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
def _one_sentence(url: str) -> Iterator[None]:
    try:
        yield
    except (*DATABASE_ERRORS, ImportError, OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error.__cause__ or error)
        raise ValueError(
            f"cannot open the storage {shown_url(url)} ({reason.strip().splitlines()[0]}); "
            "give sqlite:///FILE or postgresql+psycopg://USER@HOST/DATABASE"
        ) from error


def shown_url(url: str) -> str:
    """A URL as it may be shown: without its password."""
    try:
        return sa.make_url(url).render_as_string(hide_password=True)
    except (sa.exc.ArgumentError, ValueError):
        return repr(re.sub(r":[^:@/]*@", ":***@", url))


def _serialise(engine: sa.Engine) -> None:
    """Makes every transaction of an SQLite engine lock the file from its first statement on.

    Otherwise two workers can both read that a trial is running and then both change it: SQLite has no SELECT FOR UPDATE. The
    recipe is of SQLAlchemy's documentation on pysqlite.
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
