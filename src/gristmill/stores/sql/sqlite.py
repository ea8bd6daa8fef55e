"""What is special about SQLite: its connections and their transactions, and what its errors mean."""

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    create_engine,
    event,
)
from sqlalchemy.exc import DBAPIError, OperationalError

from gristmill.ports.errors import ConfigurationError, GristmillError, StoreUnavailableError
from gristmill.stores.sql.compiled import COMPILED
from gristmill.stores.sql.dialects import SQLITE

BUSY_SECONDS = 60.0
# SQLite itself waits this long at a time, and we ask again: a cancel need not wait longer.
_BUSY_SLICE_SECONDS = 1.0
_CACHE_KIBIBYTES = 64 * 1024
_MMAP_BYTES = 1024**3

_PRAGMAS = (
    f"PRAGMA mmap_size = {_MMAP_BYTES}",
    f"PRAGMA cache_size = -{_CACHE_KIBIBYTES}",
    "PRAGMA foreign_keys = ON",
    "PRAGMA temp_store = MEMORY",
)
_WRITER_PRAGMAS = (*_PRAGMAS, "PRAGMA synchronous = FULL")
_READER_PRAGMAS = (*_PRAGMAS, "PRAGMA query_only = ON")

_FULL = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}
_DAMAGED = {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}
_REFUSED = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH}
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EIO}


@dataclass(frozen=True, slots=True)
class SqliteFile:
    """One file, for ``connections``: one writer at a time, which holds the lock of the file."""

    path: Path

    writers = 1
    readers = 4
    patience_seconds = BUSY_SECONDS

    def writer_engine(self) -> Engine:
        """One connection whose transactions take the write lock when they begin, so none can fail half way."""
        return _engine(self.path, connections=self.writers, begin="BEGIN IMMEDIATE", pragmas=_WRITER_PRAGMAS)

    def reader_engine(self) -> Engine:
        """Connections whose transactions see one snapshot and cannot write."""
        return _engine(self.path, connections=self.readers, begin="BEGIN", pragmas=_READER_PRAGMAS)

    def is_busy(self, error: DBAPIError) -> bool:
        return isinstance(error, OperationalError) and is_busy(error)

    def interrupt(self, driver: sqlite3.Connection) -> None:
        with suppress(sqlite3.ProgrammingError):  # Closed meanwhile.
            driver.interrupt()

    def translated_errors(self) -> AbstractContextManager[None]:
        return translated_errors(self.path)


def _engine(path: Path, *, connections: int, begin: str, pragmas: tuple[str, ...]) -> Engine:
    engine = create_engine(
        URL.create("sqlite", database=f"{path.absolute().as_uri()}?mode=rw", query={"uri": "true"}),
        pool_size=connections,
        max_overflow=0,
        connect_args={"timeout": _BUSY_SLICE_SECONDS, "isolation_level": None},
        execution_options={"compiled_cache": COMPILED},
        hide_parameters=True,  # What users store does not belong in error texts.
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _pooled: object) -> None:
        for pragma in pragmas:
            connection.execute(pragma)

    begin_with(engine, begin)
    return engine


def begin_with(engine: Engine, statement: str) -> None:
    """Make the engine begin its transactions with this statement; with isolation_level None the driver begins none."""

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(statement)


def is_busy(error: DBAPIError) -> bool:
    """Whether another connection is in the way, so that trying again can help."""
    code = getattr(error.orig, "sqlite_errorcode", 0)
    # The low byte of a code is its kind; a snapshot that is too old stays so.
    return code & 0xFF in _BUSY and code != sqlite3.SQLITE_BUSY_SNAPSHOT


@contextmanager
def translated_errors(path: Path) -> Iterator[None]:
    """Turn what SQLite reports about the file into our errors; any other error is a bug and stays as it is."""
    try:
        yield
    except (DBAPIError, sqlite3.Error) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        ours = _meaning(path, cause) if isinstance(cause, sqlite3.Error) else None
        if ours is None:
            raise
        raise ours from error


@contextmanager
def translated_file_errors(path: Path) -> Iterator[None]:
    """Turn errors of the file system into ours; only for blocks that touch no other files."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise _full(path, str(error)) from error
        raise _refused(path, str(error)) from error


def _meaning(path: Path, error: sqlite3.Error) -> GristmillError | None:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in _FULL:
        return _full(path, str(error))
    if code in _BUSY:
        return _busy(path, str(error))
    if code in _DAMAGED:
        return _damaged(path, str(error))
    return _refused(path, str(error)) if code in _REFUSED else None


def _full(path: Path, reason: str) -> StoreUnavailableError:
    return StoreUnavailableError(
        SQLITE,
        f"the disk that holds {path} is full or failing ({reason})",
        f"Free space under {path.parent} and run the same command again; nothing that was acknowledged is lost.",
    )


def _busy(path: Path, reason: str) -> StoreUnavailableError:
    return StoreUnavailableError(
        SQLITE,
        f"another process has kept {path} locked for {BUSY_SECONDS:.0f} s ({reason})",
        "Wait until it is done, or stop it, and run the same command again; nothing that was acknowledged is lost.",
    )


def _damaged(path: Path, reason: str) -> ConfigurationError:
    return ConfigurationError(
        f"{path} is not an SQLite database, or it is damaged ({reason}). Restore it from a backup, or move it away "
        "and run the same command again to start a new one."
    )


def _refused(path: Path, reason: str) -> ConfigurationError:
    return ConfigurationError(
        f"The database {path} cannot be opened for writing ({reason}). Check that {path.parent} is a folder you may "
        "write to and that the file is yours, or choose another path."
    )
