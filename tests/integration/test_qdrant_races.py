"""Another process comes between the reading and the writing of one: both end as if one had come after the other."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from qdrant_client import models

from gristmill.domain.batch import BatchStatus
from gristmill.domain.failures import FailureCategory
from gristmill.domain.record import Done, RecordStatus, Report
from gristmill.ports.documents import Published
from gristmill.ports.errors import BatchConflictError
from gristmill.ports.rows import Kind
from gristmill.stores.memory import MemoryDatabase
from gristmill.stores.qdrant import schema
from gristmill.stores.qdrant.database import QdrantDatabase
from gristmill.stores.qdrant.points import Points, point
from tests.contract import batches_contract_steps as steps
from tests.contract import documents_contract_steps as document_steps
from tests.contract import replication_contract_steps as replication_steps
from tests.support import builders
from tests.support.clocks import ManualClock
from tests.support.qdrant_crashes import InterruptedClient
from tests.support.qdrant_databases import new_qdrant, options

OLD = builders.version("file:///a", ["old one", "old two"])
NEW = builders.version("file:///a", ["new one"])


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def ours(clock: ManualClock) -> AsyncIterator[QdrantDatabase]:
    database = await new_qdrant(clock)
    yield database
    client = database._connection.client
    assert isinstance(client, InterruptedClient)
    assert client.interrupted
    await database.close()


@pytest.fixture
async def theirs(ours: QdrantDatabase, clock: ManualClock) -> AsyncIterator[QdrantDatabase]:
    database = QdrantDatabase(options(ours._connection.options.prefix), clock=clock)
    await database.open()
    yield database
    await database.close()


def interrupt(
    database: QdrantDatabase, collection: str, other: Callable[[], Awaitable[Any]], *, at: int = 1
) -> None:
    connection = database._connection
    connection.client = InterruptedClient(connection.client, collection, other, at=at)  # type: ignore[assignment]


async def test_records_inserted_under_a_seal_are_declared(ours: QdrantDatabase, theirs: QdrantDatabase):
    batch_id = await steps.submit(ours, "a")
    interrupt(ours, "records", lambda: theirs.batches.seal_batch(batch_id))
    await ours.batches.create_processing_records(batch_id, builders.items("b", "c"))
    batch = await theirs.batches.get_batch(batch_id)
    assert batch is not None
    assert batch.total_files == (await steps.counters(theirs, batch_id)).total == 3
    await steps.complete(theirs, *await steps.claim(theirs))
    assert [each.status for each in await theirs.batches.end_batches()] == [BatchStatus.COMPLETED]


async def test_records_inserted_into_an_ended_batch_are_taken_out(
    ours: QdrantDatabase, theirs: QdrantDatabase
):
    batch_id = await steps.submit(ours, "a")
    await steps.complete(ours, *await steps.claim(ours))

    async def end() -> None:
        await theirs.batches.seal_batch(batch_id)
        assert len(await theirs.batches.end_batches()) == 1

    interrupt(ours, "records", end)
    with pytest.raises(BatchConflictError):
        await ours.batches.create_processing_records(batch_id, builders.items("b"))
    assert await steps.statuses(theirs, batch_id) == {"a": "completed"}


async def test_records_inserted_while_a_seal_counts_are_declared(
    ours: QdrantDatabase, theirs: QdrantDatabase
):
    batch_id = await steps.submit(ours, "a")
    interrupt(
        ours,
        "state",
        lambda: theirs.batches.create_processing_records(batch_id, builders.items("b")),
    )
    assert (await ours.batches.seal_batch(batch_id)).total_files == 2


async def test_record_claimed_meanwhile_is_not_claimed_again(ours: QdrantDatabase, theirs: QdrantDatabase):
    await steps.submit(ours, "a", "b", "c")
    taken: list[Any] = []

    async def take() -> None:
        taken.extend(await steps.claim(theirs, 2, worker="w2"))

    interrupt(ours, "records", take)
    claimed = await steps.claim(ours, 2, worker="w1")
    assert len(taken) == 2
    assert len(claimed) == 1
    assert not {each.record_id for each in claimed} & {each.record_id for each in taken}


async def test_cancel_between_the_look_and_the_claim_wins(ours: QdrantDatabase, theirs: QdrantDatabase):
    batch_id = await steps.submit(ours, "a", "b")
    interrupt(ours, "records", lambda: theirs.batches.cancel_batch(batch_id))
    assert await steps.claim(ours) == []
    assert (await steps.counters(theirs, batch_id)).cancelled == 2


async def test_claim_between_the_steps_of_a_cancel_is_cancelled_too(
    ours: QdrantDatabase, theirs: QdrantDatabase
):
    batch_id = await steps.submit(ours, "a", "b")
    interrupt(ours, "state", lambda: steps.claim(theirs, 1))
    assert await ours.batches.cancel_batch(batch_id) == 2
    assert (await steps.counters(theirs, batch_id)).cancelled == 2


@pytest.mark.parametrize("come_between", ["cancel", "take_back"])
async def test_outcome_meets_what_came_between(
    ours: QdrantDatabase, theirs: QdrantDatabase, come_between: str
):
    batch_id = await steps.submit(ours, "a")
    claimed = await steps.claim_one(ours)
    if come_between == "cancel":
        interrupt(ours, "records", lambda: theirs.batches.cancel_batch(batch_id))
    else:
        interrupt(ours, "records", lambda: theirs.batches.take_back("w1", renewed_at=builders.START))
    (refusal,) = await ours.batches.update_processing_status([Report(claimed, Done())])
    stored = await steps.get(theirs, batch_id, "a")
    assert refusal.met == stored
    assert stored.status is (RecordStatus.CANCELLED if come_between == "cancel" else RecordStatus.PENDING)


async def test_batch_does_not_end_while_its_records_are_reopened(
    ours: QdrantDatabase, theirs: QdrantDatabase
):
    batch_id = await steps.submit(ours, "a", seal=True)
    await steps.fail(ours, await steps.claim_one(ours), category=FailureCategory.TIMEOUT)
    await ours.batches.end_batches()
    ended: list[Any] = []

    async def end() -> None:
        ended.extend(await theirs.batches.end_batches())

    interrupt(ours, "records", end)
    assert await ours.batches.retry_failed(batch_id) == 1
    assert ended == []
    await steps.complete(theirs, *await steps.claim(theirs))
    assert [each.round for each in await theirs.batches.end_batches()] == [1]
    events = await theirs.batches.pending_events(limit=9)
    assert {event.round: event.status for event in events} == {
        0: BatchStatus.ERROR,
        1: BatchStatus.COMPLETED,
    }


async def test_batch_that_is_retried_meanwhile_is_not_ended(
    ours: QdrantDatabase, theirs: QdrantDatabase, clock: ManualClock
):
    batch_id = await steps.submit(ours, "a", seal=True)
    await steps.fail(ours, await steps.claim_one(ours), category=FailureCategory.TIMEOUT)
    interrupt(ours, "state", lambda: theirs.batches.retry_failed(batch_id))
    assert list(await ours.batches.end_batches()) == []
    assert await steps.statuses(theirs, batch_id) == {"a": "pending"}


async def test_batch_retried_meanwhile_is_not_cleaned_up(
    ours: QdrantDatabase, theirs: QdrantDatabase, clock: ManualClock
):
    batch_id = await steps.submit(ours, "a", seal=True)
    await steps.fail(ours, await steps.claim_one(ours), category=FailureCategory.TIMEOUT)
    await ours.batches.end_batches()
    older_than = clock.advance(days=9) - clock.now()
    clock.advance(1)
    interrupt(ours, "state", lambda: theirs.batches.retry_failed(batch_id))
    assert (await ours.batches.cleanup_old_records(older_than, apply=True)).batches == 0
    assert await steps.statuses(theirs, batch_id) == {"a": "pending"}


async def test_two_stagings_at_once_have_an_ordinal_each_and_the_later_one_is_wanted(
    ours: QdrantDatabase, theirs: QdrantDatabase
):
    await document_steps.open_papers(ours)
    await ours.documents.put_vectors(builders.EMBEDDING, builders.vectors_of(OLD, NEW))
    first: list[Any] = []

    async def stage() -> None:
        first.extend(await theirs.documents.stage_versions([OLD]))

    interrupt(ours, "documents", stage)
    (second,) = await ours.documents.stage_versions([NEW])
    assert first[0].ordinal < second.ordinal
    assert await theirs.documents.publish({OLD.document_id: first[0]}) == {
        OLD.document_id: Published.SUPERSEDED
    }
    assert await theirs.documents.publish({NEW.document_id: second}) == {NEW.document_id: Published.LIVE}
    assert await _chunk_points(theirs) == 1


@pytest.mark.parametrize(("collection", "at"), [("chunks_8", 1), ("documents", 1)])
async def test_document_deleted_while_it_is_published_stays_deleted(
    ours: QdrantDatabase, theirs: QdrantDatabase, collection: str, at: int
):
    await document_steps.open_papers(ours)
    await document_steps.stage(ours, OLD)
    (wanted,) = await ours.documents.stage_versions([OLD])
    interrupt(ours, collection, lambda: theirs.documents.delete_documents([OLD.document_id]), at=at)
    assert await ours.documents.publish({OLD.document_id: wanted}) == {OLD.document_id: Published.SUPERSEDED}
    assert await document_steps.near(theirs) == set()
    assert await _chunk_points(theirs) == 0


async def test_metadata_changed_while_a_new_version_is_published_is_not_half_there(
    ours: QdrantDatabase, theirs: QdrantDatabase
):
    await document_steps.open_papers(ours)
    await document_steps.show(ours, OLD)
    await document_steps.stage(ours, NEW)
    (wanted,) = await ours.documents.stage_versions([NEW])
    interrupt(ours, "documents", lambda: theirs.documents.publish({NEW.document_id: wanted}))
    assert await ours.documents.update_metadata({OLD.document_id: {"k": "v"}}) == 1
    assert await document_steps.near(theirs, filters={"k": ["v"]}) == {"new one"}


async def _chunk_points(database: QdrantDatabase) -> int:
    points = await database._schema.ensure(schema.chunks_of(builders.EMBEDDING.dimensions))
    return await points.count(models.Filter())


# -- replication --------------------------------------------------------------------------------------


async def test_distrust_that_begins_while_marks_are_settled_loses_none(
    ours: QdrantDatabase, theirs: QdrantDatabase, clock: ManualClock
):
    other = MemoryDatabase(clock)
    await replication_steps.pair(ours, other)
    await steps.submit(ours, "a", "b")
    rows = await replication_steps.owed(ours)
    interrupt(ours, "records", lambda: theirs.replication.distrust(replication_steps.STRANGER))
    await ours.replication.settle(rows, peer=await replication_steps.identity(other))
    assert len(await replication_steps.owed(theirs, Kind.RECORD)) == 2


async def test_distrust_that_begins_while_rows_are_merged_owes_them_too(
    ours: QdrantDatabase, theirs: QdrantDatabase, clock: ManualClock
):
    other = MemoryDatabase(clock)
    await replication_steps.pair(ours, other)
    await steps.submit(other, "a", "b")
    interrupt(ours, "records", lambda: theirs.replication.distrust(replication_steps.STRANGER))
    await replication_steps.merge(
        ours, *await replication_steps.owed(other), source=await replication_steps.identity(other)
    )
    assert len(await replication_steps.owed(theirs, Kind.RECORD)) == 2


async def test_record_merged_into_a_batch_that_is_cleaned_up_meanwhile_is_gone(
    ours: QdrantDatabase, theirs: QdrantDatabase, clock: ManualClock
):
    other = MemoryDatabase(clock)
    await replication_steps.pair(ours, other)
    batch_id = await steps.submit(other, "a", seal=True)
    await replication_steps.exchange(ours, other)
    await steps.complete(theirs, *await steps.claim(theirs))
    await theirs.batches.end_batches()
    await steps.claim(other)
    rows = await replication_steps.owed(other, Kind.RECORD)
    clock.advance(days=8)
    interrupt(ours, "state", lambda: theirs.batches.cleanup_old_records(timedelta(seconds=-1), apply=True))
    await replication_steps.merge(ours, *rows, source=await replication_steps.identity(other))
    assert await theirs.batches.get_batch(batch_id) is None
    points = Points(theirs._connection, schema.RECORDS.name)
    assert await points.count(models.Filter()) == 0


async def test_copy_that_came_back_older_while_rows_are_merged_is_found_out(
    ours: QdrantDatabase, theirs: QdrantDatabase, clock: ManualClock
):
    other = MemoryDatabase(clock)
    await replication_steps.pair(ours, other)
    state = Points(theirs._connection, schema.STATE.name)
    older = (await state.get([schema.META_ID]))[schema.META_ID]
    await steps.submit(ours, "a")
    remembered = await replication_steps.identity(ours)
    await steps.submit(other, "b")
    interrupt(ours, "records", lambda: state.put([point(schema.META_ID, older)]))
    rows, source = await replication_steps.owed(other), await replication_steps.identity(other)
    merged = await ours.replication.merge(rows, source=source, expects=remembered)
    assert (merged.expected, list(merged.merges)) == (False, [])
    assert not (await theirs.replication.standing()).identity.continues(remembered)
