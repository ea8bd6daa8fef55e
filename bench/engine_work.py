"""The engine's database as the benchmarks use it: opened, filled with items, worked through."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID, uuid4

from bench.product import UnexpectedError
from gristmill.domain.batch import NewBatch
from gristmill.domain.record import Done, Item, Report
from gristmill.engine.submit import submit
from gristmill.ports.clock import SystemClock
from gristmill.ports.database import Database
from gristmill.stores.sql.database import SqlDatabase

KIND = "documents"
GROUP = 100
WORKER = "worker"


def items(count: int) -> Iterator[Item]:
    """Drawn one by one, like those of a folder."""
    for number in range(count):
        path = f"/data/files/{number // 1_000:04}/file-{number:07}.txt"
        yield Item(item_id=path, kind=KIND, source=path, payload={"path": path})


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[SqlDatabase]:
    database = SqlDatabase(path, clock=SystemClock())
    await database.open()
    try:
        yield database
    finally:
        await database.close()


async def submit_items(database: Database, count: int, batch_id: UUID | None = None) -> None:
    batch_id = batch_id or uuid4()
    await database.batches.create_batch(NewBatch(batch_id=batch_id, kind=KIND))
    submitted = await submit(database.batches, batch_id, items(count))
    if submitted.created != count:
        raise UnexpectedError(f"{submitted.created} of {count} records were created")


async def claim_and_complete(database: Database) -> int:
    """Until nothing is left; returns how many it was."""
    done = 0
    while claimed := await database.batches.claim_records(WORKER, limit=GROUP, kinds=[KIND]):
        refused = await database.batches.update_processing_status(
            [Report(record, Done()) for record in claimed]
        )
        if refused:
            raise UnexpectedError(f"{len(refused)} outcomes were refused")
        done += len(claimed)
    return done


def run_submission(path: Path, count: int, batch_id: UUID) -> None:
    async def run() -> None:
        async with opened(path) as database:
            await submit_items(database, count, batch_id)

    asyncio.run(run())
