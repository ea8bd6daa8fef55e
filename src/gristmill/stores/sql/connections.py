"""Who may talk to the database: one writer at a time, and a few readers beside it, each in a thread."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine

from gristmill.stores.sql import sqlite
from gristmill.stores.sql.transactions import Transaction

READERS = 4
_INTERRUPT_EVERY_SECONDS = 0.05

_T = TypeVar("_T")


class Connections:
    """Connections to one SQLite file. A transaction is a function, which runs in a connection's thread in one go.

    One trip to the thread for a transaction, not one for every statement: a trip costs 0.1 to 0.4 ms, more than
    most statements. Errors of the database are translated (``sqlite.translated_errors``).
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer = sqlite.writer_engine(path)
        self._readers = sqlite.reader_engine(path, connections=READERS)
        self._writer_thread = ThreadPoolExecutor(1, "gristmill-writer")
        self._reader_threads = ThreadPoolExecutor(READERS, "gristmill-reader")

    async def run_write(self, work: Callable[[Connection], _T]) -> _T:
        """Run ``work`` in a transaction that holds the write lock; durable when this returns, undone if it raises.

        Waits for other writers. A cancelled call stops its statement and is undone, unless it was already
        being committed.
        """
        return await self._run(self._writer_thread, self._writer, work)

    async def run_read(self, work: Callable[[Connection], _T]) -> _T:
        """Run ``work`` in a transaction that sees one snapshot and cannot write."""
        return await self._run(self._reader_threads, self._readers, work)

    async def _run(self, threads: ThreadPoolExecutor, engine: Engine, work: Callable[[Connection], _T]) -> _T:
        transaction = Transaction(engine, work)
        running = threads.submit(transaction.run)
        done = asyncio.wrap_future(running)
        with sqlite.translated_errors(self._path):
            try:
                return await asyncio.shield(done)
            except asyncio.CancelledError:
                if not running.cancel():
                    await _stop(transaction, done)
                raise

    async def close(self) -> None:
        """Safe to call twice; transactions that run are waited for."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._reader_threads.shutdown()
        self._readers.dispose()
        self._writer_thread.shutdown()
        self._writer.dispose()


async def _stop(transaction: Transaction[Any], done: asyncio.Future[Any]) -> None:
    """Interrupt until it ends: an interrupt between two of its statements stops neither."""
    while not done.done():
        transaction.cancel()
        await asyncio.wait([done], timeout=_INTERRUPT_EVERY_SECONDS)
    done.exception()  # Looked at, so that nobody reports it as overlooked.
