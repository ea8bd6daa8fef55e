"""One SQLite connection and its thread: aiosqlite with fewer trips to the thread, patience, and clean cancels."""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import aiosqlite
from sqlalchemy import Connection, Engine, StaticPool, create_engine, event

BUSY_SECONDS = 60.0
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}
# SQLite itself waits this long at a time, and we ask again: a cancel need not wait longer.
_BUSY_SLICE_SECONDS = 1.0

_T = TypeVar("_T")


async def connect(path: Path, *, begin: str, pragmas: Sequence[str]) -> "DriverConnection":
    """Open the file, which must exist; ``begin`` is how its transactions begin."""

    def open_file() -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rw",
            uri=True,
            timeout=_BUSY_SLICE_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
        for pragma in pragmas:
            connection.execute(pragma)
        return connection

    connection = DriverConnection(open_file, begin=begin)
    await connection
    return connection


class DriverConnection(aiosqlite.Connection):
    """Waits up to BUSY_SECONDS for other processes; a cancelled statement is stopped and rolled back at once."""

    def __init__(self, open_file: Callable[[], sqlite3.Connection], *, begin: str) -> None:
        super().__init__(open_file, 64)
        self._begin = begin
        self._engine: Engine | None = None

    async def run(self, work: Callable[[Connection], _T]) -> _T:
        """Run ``work`` in one transaction and one trip to the thread; again from its start if the file was busy."""
        return await self._execute(self._transaction, work)  # type: ignore[no-any-return]

    def _transaction(self, work: Callable[[Connection], _T]) -> _T:
        if self._engine is None:
            self._engine = create_engine(
                "sqlite://", creator=lambda: self._conn, poolclass=StaticPool, hide_parameters=True
            )
            begin_with(self._engine, self._begin)
        with self._engine.begin() as connection:
            return work(connection)

    def cursor(self) -> "DriverCursor":  # type: ignore[override]
        return DriverCursor(self, self._conn.cursor())

    async def rollback(self) -> None:
        if self.in_transaction:
            await super().rollback()

    async def _execute(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        deadline = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                return await super()._execute(fn, *args, **kwargs)  # type: ignore[no-untyped-call]
            except asyncio.CancelledError:
                await self._stop_statement()
                raise
            except Exception as error:
                if not is_busy(error) or time.monotonic() > deadline:
                    raise

    async def _stop_statement(self) -> None:
        # The roll-back queues behind the statement, so when it is done the write lock is free.
        with suppress(sqlite3.Error, ValueError):
            self._conn.interrupt()
            await asyncio.shield(super()._execute(self._conn.rollback))  # type: ignore[no-untyped-call]


class DriverCursor(aiosqlite.Cursor):
    """Goes to the connection's thread once a statement, where aiosqlite's own goes four times.

    A trip costs 0.1 to 0.5 ms, more than most of our statements.
    """

    def __init__(self, connection: DriverConnection, cursor: sqlite3.Cursor) -> None:
        super().__init__(connection, cursor)
        self._rows: Sequence[Any] = ()

    async def execute(self, sql: str, parameters: Any = None) -> "DriverCursor":
        self._rows = await self._execute(self._execute_and_fetch, sql, parameters or ())  # type: ignore[no-untyped-call]
        return self

    def _execute_and_fetch(self, sql: str, parameters: Any) -> Sequence[Any]:
        self._cursor.execute(sql, parameters)
        return self._cursor.fetchall() if self._cursor.description else ()

    async def fetchall(self) -> Sequence[Any]:
        return self._rows

    async def close(self) -> None:
        self._cursor.close()


def begin_with(engine: Engine, statement: str) -> None:
    """Make the engine begin its transactions with this statement; the driver itself begins none."""

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(statement)


def is_busy(error: BaseException) -> bool:
    """Whether another connection is in the way, so that trying again can help."""
    code = getattr(getattr(error, "orig", error), "sqlite_errorcode", 0)
    # The low byte of a code is its kind; a snapshot that is too old stays so.
    return code & 0xFF in _BUSY and code != sqlite3.SQLITE_BUSY_SNAPSHOT
