"""A database comes back while nobody works: one idle process brings 10,000 owed records over."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from gristmill.domain.record import Item
from gristmill.engine.submit import submit
from gristmill.ports.clock import SystemClock
from gristmill.stores.failover.database import FailoverDatabase
from gristmill.stores.failover.options import FailoverOptions
from gristmill.stores.qdrant.connection import QdrantOptions
from gristmill.stores.qdrant.database import QdrantDatabase
from gristmill.stores.sql.postgres import Server, server_of
from gristmill.stores.sql.postgres_database import PostgresDatabase
from tests.support import builders
from tests.support.postgres_server import PostgresServer
from tests.support.qdrant_server import QdrantServer

RECORDS = 10_000
SECONDS = 10.0


@pytest.fixture
def postgresql() -> Iterator[PostgresServer]:
    server = PostgresServer()
    server.start()
    yield server
    server.remove()


@pytest.fixture
def qdrant(tmp_path: Path) -> Iterator[QdrantServer]:
    server = QdrantServer(tmp_path / "qdrant").start()
    yield server
    server.stop()


@asynccontextmanager
async def opened(
    postgresql: PostgresServer, qdrant: QdrantServer, folder: Path
) -> AsyncIterator[FailoverDatabase]:
    clock = SystemClock()
    server: Server = server_of(postgresql.url())
    database = FailoverDatabase(
        PostgresDatabase(server, clock=clock, folder=folder / "vectors"),
        QdrantDatabase(QdrantOptions(qdrant.url), clock=clock),
        clock=clock,
        options=FailoverOptions(call_timeout=10),
    )
    await database.open()
    try:
        yield database
    finally:
        await database.close()


async def submitted(database: FailoverDatabase) -> UUID:
    batch = builders.new_batch(uuid4())
    await database.batches.create_batch(batch)
    await submit(database.batches, batch.batch_id, (Item(f"i{n:05}", batch.kind) for n in range(RECORDS)))
    return batch.batch_id


async def nothing_is_owed(database: FailoverDatabase, within: float) -> float:
    """Wait for it; the background work alone does it. Returns the seconds."""
    started = time.monotonic()
    while any(each.problem for each in database.status().databases) or await owed(database):
        if time.monotonic() - started > within:
            raise AssertionError(
                f"{await owed(database)} rows after {within} s: {database.status().databases}"
            )
        await asyncio.sleep(0.05)
    return time.monotonic() - started


async def owed(database: FailoverDatabase) -> int:
    counted = [await each.replication.count_owed() for each in database.databases]
    return sum(each.rows for each in counted)


@pytest.mark.alone
@pytest.mark.parametrize("away", ["postgresql", "qdrant"])
async def test_ten_thousand_owed_records_are_brought_over_in_ten_seconds(
    postgresql: PostgresServer, qdrant: QdrantServer, tmp_path: Path, away: str
):
    gone = {"postgresql": postgresql, "qdrant": qdrant}[away]
    async with opened(postgresql, qdrant, tmp_path) as database:
        await nothing_is_owed(database, SECONDS)
        gone.kill()
        batch_id = await submitted(database)
        gone.start()

        await nothing_is_owed(database, SECONDS)

        for each in database.databases:
            progress = await each.batches.get_processing_progress(batch_id)
            assert progress.counters.pending == RECORDS, each.name
