"""Eight claimers at once on memory and on SQLite; on the servers see test_postgres_concurrency and test_qdrant_store."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from gristmill.domain.record import Record
from gristmill.ports.clock import SystemClock
from gristmill.ports.database import Database
from gristmill.stores.memory import MemoryDatabase
from gristmill.stores.sql.database import SqlDatabase
from tests.contract import batches_contract_steps as steps
from tests.support import builders

CLAIMERS = 8
ITEMS = 1_000


async def _on_memory(folder: Path, stack: AsyncExitStack) -> Sequence[Database]:
    database = MemoryDatabase(SystemClock())
    await database.open()
    return [database] * CLAIMERS


async def _on_sqlite(folder: Path, stack: AsyncExitStack) -> Sequence[Database]:
    """The same file, opened as often as by so many processes."""
    databases = [SqlDatabase(folder / "gristmill.db", clock=SystemClock()) for _ in range(CLAIMERS)]
    for database in databases:
        await database.open()
        stack.push_async_callback(database.close)
    return databases


@pytest.mark.parametrize("opened", [_on_memory, _on_sqlite])
async def test_eight_claimers_take_every_record_once(tmp_path: Path, opened):
    async with AsyncExitStack() as stack:
        databases = await opened(tmp_path, stack)
        batch_id = await steps.submit(databases[0])
        await databases[0].batches.create_processing_records(batch_id, builders.numbered(ITEMS))

        async def work(database: Database, worker: str) -> list[Record]:
            taken: list[Record] = []
            while claimed := await database.batches.claim_records(worker, limit=7):
                taken += claimed
                await asyncio.sleep(0)
                await steps.complete(database, *claimed)
            return taken

        taken = await asyncio.gather(*(work(each, f"w{n}") for n, each in enumerate(databases)))
        times = Counter(record.item_id for each in taken for record in each)
        assert len(times) == ITEMS
        assert set(times.values()) == {1}
        assert sum(map(bool, taken)) > 1
        assert (await steps.counters(databases[0], batch_id)).completed == ITEMS
