"""Who may talk to the database: one writer at a time, and a few readers beside it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gristmill.stores.sql import sqlite
from gristmill.stores.sql.driver import DriverConnection

READERS = 4

_T = TypeVar("_T")


class Connections:
    """Connections to one SQLite file, for one event loop.

    A transaction is either a function, which runs in the connection's thread in one go, or a block of awaited
    statements, each of which goes to that thread. Errors of the database that leave it are ours (see
    ``sqlite.translated_errors``). Do not write inside a write: the second would wait for the first.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._writer = sqlite.writer_engine(path)
        self._readers = sqlite.reader_engine(path, connections=READERS)
        self._writing = asyncio.Lock()

    async def run_write(self, work: Callable[[Connection], _T]) -> _T:
        """Run ``work`` in a transaction that holds the write lock; durable when this returns, undone if it raises."""
        async with self._writing:
            return await self._run(self._writer, work)

    async def run_read(self, work: Callable[[Connection], _T]) -> _T:
        """Run ``work`` in a transaction that sees one snapshot and cannot write."""
        return await self._run(self._readers, work)

    async def _run(self, engine: AsyncEngine, work: Callable[[Connection], _T]) -> _T:
        with sqlite.translated_errors(self.path):
            async with engine.connect() as connection:
                driver = (await connection.get_raw_connection()).driver_connection
                assert isinstance(driver, DriverConnection)
                return await driver.run(work)

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """``run_write`` as a block."""
        with sqlite.translated_errors(self.path):
            async with self._writing, self._writer.begin() as connection:
                yield connection

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """``run_read`` as a block."""
        with sqlite.translated_errors(self.path):
            async with self._readers.connect() as connection:
                yield connection

    async def close(self) -> None:
        """Safe to call twice."""
        await self._readers.dispose()
        await self._writer.dispose()
