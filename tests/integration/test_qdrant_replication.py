"""Replication on Qdrant has no transactions: every prefix of its writes is repeatable."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from qdrant_client import models

from gristmill.ports.replication import Fate, Identity, SetAside
from gristmill.ports.rows import Kind
from gristmill.stores.memory import MemoryDatabase
from gristmill.stores.qdrant import schema
from gristmill.stores.qdrant.database import QdrantDatabase
from gristmill.stores.qdrant.points import Points
from tests.contract import batches_contract_steps as batches
from tests.contract import documents_contract_steps as documents
from tests.contract import replication_contract_steps as steps
from tests.support import builders
from tests.support.clocks import ManualClock
from tests.support.qdrant_crashes import Crash, CrashingClient
from tests.support.qdrant_databases import new_qdrant

BATCH_ID, OLD_BATCH_ID = UUID(int=77), UUID(int=78)
OTHER = Identity(uuid4(), 9)
MOST_WRITES = 90

Step = Callable[[QdrantDatabase, MemoryDatabase], Awaitable[Any]]


async def fill(database: Any) -> None:
    """Something of every kind, with an end, a tombstone, a worker that is gone and a version that was replaced."""
    await database.batches.create_batch(builders.new_batch(OLD_BATCH_ID))
    await database.batches.create_processing_records(OLD_BATCH_ID, builders.items("x"))
    await database.batches.seal_batch(OLD_BATCH_ID)
    await batches.complete(database, *await batches.claim(database))
    await database.batches.end_batches()
    await database.batches.cleanup_old_records(timedelta(seconds=-1), apply=True)
    await database.batches.create_batch(builders.new_batch(BATCH_ID))
    await database.batches.create_processing_records(BATCH_ID, builders.items("a", "b"))
    await database.batches.seal_batch(BATCH_ID)
    await database.batches.renew_lease(builders.worker("w1", builders.START))
    await batches.complete(database, *await batches.claim(database))
    await database.batches.end_batches()
    await database.batches.take_back("w1", renewed_at=builders.START)
    await documents.open_papers(database)
    await steps.show(database, steps.OLD, builders.version("file:///b", ["word"]))


async def nothing(_: QdrantDatabase, other: MemoryDatabase) -> None:
    await fill(other)


async def filled(database: QdrantDatabase, other: MemoryDatabase) -> None:
    await database.replication.distrust(await steps.identity(other))
    await fill(database)


async def both_filled(database: QdrantDatabase, other: MemoryDatabase) -> None:
    """The old state is here; the other one goes on to a newer one."""
    await steps.pair(database, other)
    await fill(other)
    await steps.exchange(database, other)
    await steps.show(other, steps.NEW)
    await other.documents.delete_documents([builders.version("file:///b", ["word"]).document_id])
    await other.batches.cleanup_old_records(timedelta(seconds=-1), apply=True)


async def settled(database: QdrantDatabase, other: MemoryDatabase) -> None:
    await filled(database, other)
    await settle(database, other)


async def merge(database: QdrantDatabase, other: MemoryDatabase) -> None:
    if await steps.owed(other) == []:
        await other.replication.distrust(OTHER)
    merges = await steps.merge(database, *await steps.owed(other), source=await steps.identity(other))
    assert {each.fate for each in merges} == {Fate.HELD}


async def settle(database: QdrantDatabase, other: MemoryDatabase) -> None:
    rows = await steps.owed(database)
    await database.replication.settle(rows, peer=await steps.identity(other))
    assert await steps.owed(database) == []


async def distrust(database: QdrantDatabase, other: MemoryDatabase) -> None:
    await database.replication.distrust(OTHER)


async def set_some_aside(database: QdrantDatabase, other: MemoryDatabase) -> None:
    rows = await steps.owed(database, Kind.COLLECTION, Kind.BATCH, Kind.END)
    await database.replication.set_aside([SetAside(row.kind, row.key, row.token, "no") for row in rows])


async def purge(database: QdrantDatabase, other: MemoryDatabase) -> None:
    await database.replication.purge(timedelta(seconds=-1))


async def picture(database: QdrantDatabase) -> Any:
    """What readers see and what is owed; a document is never half there, and counters add up."""
    text: set[str] = set()
    if await database.documents.list_collections():
        text = await documents.found(database, "old new word")
        assert text == await documents.near(database)
    assert not {"old one", "new one"} <= text
    assert len(text & {"old one", "old two"}) != 1
    batch = await database.batches.get_batch(BATCH_ID)
    if batch is not None:
        counters = await batches.counters(database, BATCH_ID)
        assert counters.total == batch.total_files or not batch.ended
    owed, count = await steps.owed(database), await database.replication.count_owed()
    assert count.rows == len(owed)
    assert count.set_aside == len(await database.replication.list_set_aside(limit=99))
    return (
        text,
        batch and (batch.status, batch.processed_files),
        await batches.all_batch_ids(database),
        [(row.kind, row.key) for row in owed],
        count.set_aside,
        [event.event_id for event in await database.batches.pending_events(limit=9)],
        (await database.replication.standing()).peer,
    )


@pytest.mark.parametrize(
    ("before", "step"),
    [
        (nothing, merge),
        (both_filled, merge),
        (filled, settle),
        (filled, set_some_aside),
        (settled, distrust),
        (settled, purge),
    ],
    ids=lambda each: each.__name__,
)
async def test_step_that_is_cut_short_at_any_write_and_taken_again_comes_to_the_same(
    before: Step, step: Step
):
    """Cut short before its first write, taken again and cut short before its second one, and so on to its end."""
    expected, _ = await _after(before, step, cut=False)
    found, cuts = await _after(before, step, cut=True)
    assert cuts > 1
    assert found == expected


async def _after(before: Step, step: Step, *, cut: bool) -> tuple[Any, int]:
    """What is there after the step, and how often it was cut short."""
    clock = ManualClock()
    other = MemoryDatabase(clock)
    other.tables.incarnation = UUID(int=5)
    database = await new_qdrant(clock)
    await before(database, other)
    clock.advance(61)
    cuts = 0
    while cut and await _is_cut(database, step, other, at=cuts + 1):
        cuts += 1
        await picture(database)
        assert cuts < MOST_WRITES
    await step(database, other)
    shown = await picture(database)
    # What a crash left goes with the next change of its document.
    clock.advance(61)
    await steps.show(database, steps.OLD, builders.version("file:///b", ["word"]))
    shown = shown, await _points(database)
    await database.close()
    return shown, cuts


async def _is_cut(database: QdrantDatabase, step: Step, other: MemoryDatabase, *, at: int) -> bool:
    connection = database._connection
    client = connection.client
    connection.client = CrashingClient(client, at)  # type: ignore[assignment]
    try:
        await step(database, other)
    except Crash:
        return True
    finally:
        connection.client = client
    return False


async def _points(database: QdrantDatabase) -> dict[str, int]:
    layouts = (schema.STATE, schema.RECORDS, schema.DOCUMENTS, schema.VERSIONS, schema.chunks_of(8))
    found = {}
    for layout in layouts:
        points: Points = await database._schema.ensure(layout)
        found[layout.name] = await points.count(models.Filter())
    return found
