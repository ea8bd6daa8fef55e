"""Who may talk to the database: a few writers, of SQLite one, and a few readers beside them, each in a thread."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine

from gristmill.stores.sql.transactions import Access, Transaction

_INTERRUPT_EVERY_SECONDS = 0.05

_T = TypeVar("_T")


class Connections:
    """Connections to one database. A transaction is a function, which runs in a connection's thread in one go.

    One trip to the thread for a transaction, not one for every statement: a trip costs 0.1 to 0.4 ms, more than
    most statements. Errors of the database are translated (``Access.translated_errors``).
    """

    def __init__(self, access: Access, *, finish: Callable[[Connection], None]) -> None:
        """``finish`` ends the work of every transaction that writes."""
        self._access = access
        self._finish = finish
        self._writers = access.writer_engine()
        self._readers = access.reader_engine()
        self._writer_threads = ThreadPoolExecutor(access.writers, "gristmill-writer")
        self._reader_threads = ThreadPoolExecutor(access.readers, "gristmill-reader")

    async def run_write(self, work: Callable[[Connection], _T]) -> _T:
        """Run ``work`` in a transaction that may write; durable when this returns, undone if it raises.

        Waits for other writers that are in the way: of SQLite all, elsewhere those that hold the same rows
        (``locks``). ``work`` may run more than once, but takes effect once. A cancelled call stops its statement and is undone, unless it was already
        being committed.
        """

        def finished(connection: Connection) -> _T:
            result = work(connection)
            self._finish(connection)
            return result

        return await self._run(self._writer_threads, self._writers, finished)

    async def run_read(self, work: Callable[[Connection], _T]) -> _T:
        """Run ``work`` in a transaction that sees one snapshot and cannot write."""
        return await self._run(self._reader_threads, self._readers, work)

    async def _run(self, threads: ThreadPoolExecutor, engine: Engine, work: Callable[[Connection], _T]) -> _T:
        transaction = Transaction(self._access, engine, work)
        running = threads.submit(transaction.run)
        done = asyncio.wrap_future(running)
        with self._access.translated_errors():
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
        self._writer_threads.shutdown()
        self._writers.dispose()


async def _stop(transaction: Transaction[Any], done: asyncio.Future[Any]) -> None:
    """Interrupt until it ends: an interrupt between two of its statements stops neither."""
    done.add_done_callback(_looked_at)
    while not done.done() and await asyncio.to_thread(transaction.cancel):
        await asyncio.wait([done], timeout=_INTERRUPT_EVERY_SECONDS)


def _looked_at(done: asyncio.Future[Any]) -> None:
    """So that nobody reports its error as overlooked."""
    if not done.cancelled():
        done.exception()
