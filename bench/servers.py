"""Databases on real servers of their own, for the benchmarks: PostgreSQL with fsync, and Qdrant's engine behind HTTP."""

import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from gristmill.ports.clock import SystemClock
from gristmill.stores.failover import FailoverDatabase, FailoverOptions
from gristmill.stores.qdrant.connection import QdrantOptions
from gristmill.stores.qdrant.database import QdrantDatabase
from gristmill.stores.sql.postgres_database import PostgresDatabase
from tests.support.postgres_databases import PostgresHost
from tests.support.postgres_server import PostgresServer
from tests.support.qdrant_server import QdrantServer

REQUEST_SECONDS = 60  # Nothing is down here; a busy machine is slow.


@dataclass(frozen=True, slots=True)
class Servers:
    postgres: PostgresHost
    qdrant_url: str

    def postgres_url(self) -> str:
        """Of a new database without tables."""
        return self.postgres.server(self.postgres.create()).url.render_as_string(hide_password=False)

    @asynccontextmanager
    async def postgresql(self) -> AsyncIterator[PostgresDatabase]:
        """A new database of ours."""
        async with self.postgres.attached(self.postgres.create(), SystemClock()) as database:
            yield database

    @asynccontextmanager
    async def qdrant(self) -> AsyncIterator[QdrantDatabase]:
        """New collections of ours."""
        options = QdrantOptions(
            self.qdrant_url, prefix=f"bench_{uuid4().hex}", timeout_seconds=REQUEST_SECONDS
        )
        database = QdrantDatabase(options, clock=SystemClock())
        await database.open()
        try:
            yield database
        finally:
            await database.close()

    @asynccontextmanager
    async def both(self) -> AsyncIterator[FailoverDatabase]:
        """New ones of both that hold the same; PostgreSQL is preferred."""
        with tempfile.TemporaryDirectory() as folder:
            server = self.postgres.server(self.postgres.create())
            options = QdrantOptions(
                self.qdrant_url, prefix=f"bench_{uuid4().hex}", timeout_seconds=REQUEST_SECONDS
            )
            clock = SystemClock()
            database = FailoverDatabase(
                PostgresDatabase(server, clock=clock, folder=Path(folder)),
                QdrantDatabase(options, clock=clock),
                clock=clock,
                options=FailoverOptions(call_timeout=REQUEST_SECONDS, probe_timeout=REQUEST_SECONDS),
            )
            await database.open()
            try:
                yield database
            finally:
                await database.close()


@contextmanager
def started() -> Iterator[Servers]:
    """Both servers; they end with it, and nothing of them stays."""
    with tempfile.TemporaryDirectory(prefix="gristmill-bench-") as folder:
        postgres, qdrant = PostgresServer(durable=True), QdrantServer(Path(folder))
        try:
            postgres.start()
            qdrant.start()
            yield Servers(PostgresHost(postgres.url()), qdrant.url)
        finally:
            qdrant.stop()
            postgres.remove()
