"""A database behind a line that a test can cut, let hang or let lose answers; each process has a line of its own."""

import asyncio
from collections.abc import Callable

from gristmill.ports.database import Health, ReplicatedDatabase
from gristmill.ports.errors import StoreUnavailableError


class Line:
    """``cut`` refuses every call; ``hangs`` never answers; ``cut_after`` lets that many calls through first.

    ``lose_answers`` carries out that many calls and then says that it could not. ``refuses_writes`` is a full disk.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.cut = False
        self.hangs = False
        self.refuses_writes = False
        self.cut_after: int | None = None
        self.lose_answers = 0
        self.calls: list[str] = []
        self.on_call: Callable[[str], None] = lambda _name: None

    async def before(self, name: str) -> None:
        self.calls.append(name)
        self.on_call(name)
        if self.cut_after is not None:
            self.cut_after -= 1
            self.cut = self.cut or self.cut_after < 0
        if self.hangs:
            await asyncio.Event().wait()
        if self.cut:
            raise StoreUnavailableError(self.name, "the line is cut", "Mend it.")
        if self.refuses_writes and name not in READS:
            raise StoreUnavailableError(self.name, "the disk is full", "Free some space.")

    async def after(self, name: str) -> None:
        if self.lose_answers > 0 and name not in {"check", "touch", "standing", "set_acting"}:
            self.lose_answers -= 1
            raise StoreUnavailableError(self.name, "the answer was lost", "Ask again.")


READS = {
    "check", "standing", "owed", "count_owed", "list_set_aside", "conflicts", "rows", "find", "open", "close", "tidy", "get_batch", "list_batches",
    "list_workers", "next_due", "pending_events", "batch_status_view", "get_processing_progress",
    "get_processing_results", "get_error_groups", "get_processing_statistics", "list_collections", "missing_vectors",
    "find_documents", "list_documents", "list_chunks", "search", "count_stale",
}  # fmt: skip


class _Port:
    def __init__(self, target: object, line: Line) -> None:
        self._target = target
        self._line = line

    def __getattr__(self, name: str):
        getattr(self._target, name)  # Raises for what the port does not have.

        async def call(*args, **options):
            await self._line.before(name)
            answer = await getattr(self._target, name)(*args, **options)
            await self._line.after(name)
            return answer

        self.__dict__[name] = call  # Made once for each method.
        return call


class LinedDatabase:
    """The same database, seen from the other end of a line."""

    def __init__(self, database: ReplicatedDatabase, line: Line | None = None) -> None:
        self.name = database.name
        self.inner = database
        self.line = line or Line(database.name)
        self.batches = _Port(database.batches, self.line)
        self.documents = _Port(database.documents, self.line)
        self.replication = _Port(database.replication, self.line)

    async def open(self) -> None:
        await self.line.before("open")
        await self.inner.open()

    async def close(self) -> None:
        """Needs no line."""

    async def check(self) -> Health:
        try:
            await self.line.before("check")
        except StoreUnavailableError as error:
            return Health(self.name, ok=False, latency_seconds=0.0, problem=error.reason)
        return await self.inner.check()

    async def tidy(self) -> None:
        await self.line.before("tidy")
        await self.inner.tidy()
