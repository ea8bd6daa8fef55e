"""A crash between the calls of one logical write: whatever was sent of it, the same again completes it.

The process ends before its n-th write to the server, for every n there is. Then another process looks (nothing
may be half there), does the same again, and must come to what an uninterrupted run comes to.
"""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from qdrant_client import models

from gristmill.domain.failures import FailureCategory
from gristmill.domain.record import Done, Failed, Report
from gristmill.ports.database import Database
from gristmill.ports.documents import Published
from gristmill.stores.qdrant import schema
from gristmill.stores.qdrant.database import QdrantDatabase
from tests.contract import batches_contract_steps as batch_steps
from tests.contract import documents_contract_steps as document_steps
from tests.support import builders
from tests.support.clocks import ManualClock
from tests.support.qdrant_crashes import Crash, CrashingClient
from tests.support.qdrant_databases import empty, new_qdrant, options

BATCH_ID = UUID(int=77)
OLD = builders.version("file:///a", ["old one", "old two"], metadata={"v": 1})
NEW = builders.version("file:///a", ["new one", "new two", "new three"], metadata={"v": 2})
MOST_WRITES = 40

Step = Callable[[Database], Awaitable[Any]]


async def submit(database: Database) -> None:
    await database.batches.create_batch(builders.new_batch(BATCH_ID))
    await database.batches.create_processing_records(BATCH_ID, builders.items("a", "b", "c"))
    await database.batches.seal_batch(BATCH_ID)


async def work(database: Database) -> None:
    """One of the records fails, one is completed, one stays as it is."""
    first, second = await batch_steps.claim(database, 2)
    failed = Failed(builders.failure(FailureCategory.TIMEOUT))
    await database.batches.update_processing_status([Report(first, failed), Report(second, Done())])


async def claim(database: Database) -> None:
    await database.batches.take_back("w1", renewed_at=builders.START)
    assert len(await batch_steps.claim(database, 2)) == 2


async def cancel(database: Database) -> None:
    await database.batches.cancel_batch(BATCH_ID)


async def end(database: Database) -> None:
    await database.batches.end_batches()
    assert len(await database.batches.pending_events(limit=9)) == 1


async def cancel_and_end(database: Database) -> None:
    await cancel(database)
    await end(database)


async def retry(database: Database) -> None:
    await database.batches.retry_failed(BATCH_ID)
    statuses = await batch_steps.statuses(database, BATCH_ID)
    assert sorted(statuses.values()) == ["completed", "pending", "pending"]


async def clean_up(database: Database) -> None:
    await database.batches.cleanup_old_records(timedelta(), apply=True)


async def seed_document(database: Database) -> None:
    await document_steps.open_papers(database)
    await document_steps.show(database, OLD, builders.version("file:///b", ["word"]))


async def show_new(database: Database) -> None:
    await document_steps.show(database, NEW)


async def delete(database: Database) -> None:
    await database.documents.delete_documents([OLD.document_id])


async def change_metadata(database: Database) -> None:
    assert await database.documents.update_metadata({OLD.document_id: {"v": 3, "w": "x"}}) == 1


async def picture_of_batch(database: Database) -> Any:
    if await database.batches.get_batch(BATCH_ID) is None:
        return None, len(await database.batches.pending_events(limit=9))
    await batch_steps.check_all(database)
    batch = await database.batches.get_batch(BATCH_ID)
    assert batch is not None
    events = await database.batches.pending_events(limit=9)
    records = await batch_steps.records_of(database, BATCH_ID)
    return (
        (batch.status, batch.total_files, batch.processed_files, batch.cancel_requested),
        [(record.item_id, record.status, record.attempts) for record in records],
        [(event.event_id, event.counters, event.status) for event in events],
    )


async def picture_of_documents(database: Database) -> Any:
    """What readers see; a document is never half there."""
    text = await document_steps.found(database, "old new word")
    assert text == await document_steps.near(database)
    assert not ({"old one"} <= text and {"new one"} <= text)
    wholes = [{chunk.text for chunk in each.chunks} for each in (OLD, NEW)]
    assert text - {"word"} in (set(), *wholes)
    by_metadata = {
        value: await document_steps.near(database, filters={"v": [value]}) for value in ["1", "2", "3"]
    }
    documents = await database.documents.find_documents([OLD.document_id])
    metadata = [dict(each.metadata) for each in documents.values()]
    shown = {value for value, found in by_metadata.items() if found}
    assert shown <= {str(each["v"]) for each in metadata}
    for each in metadata:
        assert by_metadata[str(each["v"])] == text - {"word"}
    return text, by_metadata, metadata, await document_steps.counts(database)


async def nothing(database: Database) -> None:
    """No state to begin from."""


async def submitted_and_worked(database: Database) -> None:
    await submit(database)
    await work(database)


async def all_ended(database: Database) -> None:
    await submitted_and_worked(database)
    await batch_steps.complete(database, *await batch_steps.claim(database))


async def over(database: Database) -> None:
    await all_ended(database)
    await database.batches.end_batches()


@pytest.mark.parametrize(
    ("before", "step", "picture"),
    [
        (nothing, submit, picture_of_batch),
        (submit, claim, picture_of_batch),
        (submitted_and_worked, cancel, picture_of_batch),
        (submitted_and_worked, cancel_and_end, picture_of_batch),
        (submitted_and_worked, retry, picture_of_batch),
        (all_ended, end, picture_of_batch),
        (over, clean_up, picture_of_batch),
        (seed_document, show_new, picture_of_documents),
        (seed_document, delete, picture_of_documents),
        (seed_document, change_metadata, picture_of_documents),
    ],
    ids=lambda each: getattr(each, "__name__", None),
)
async def test_every_prefix_of_a_write_is_harmless_and_repeatable(before: Step, step: Step, picture: Step):
    clock = ManualClock()
    expected = await _after(clock, before, step, picture, crash_at=MOST_WRITES)
    for crash_at in range(1, MOST_WRITES):
        found = await _after(clock, before, step, picture, crash_at=crash_at)
        if found is NotImplemented:
            assert crash_at > 1
            return
        assert found == expected, f"after a crash before write {crash_at}"
    raise AssertionError("more writes than are tried")


async def _after(clock: ManualClock, before: Step, step: Step, picture: Step, *, crash_at: int) -> Any:
    """What is seen after the step was cut short and taken again; NotImplemented if it was not cut short."""
    first = await new_qdrant(clock)
    await before(first)
    clock.advance(61)
    first._connection.client = CrashingClient(first._connection.client, crash_at)
    try:
        await step(first)
        crashed = False
    except Crash:
        crashed = True
    prefix = first._connection.options.prefix
    await first.close()
    if not crashed and crash_at < MOST_WRITES:
        return NotImplemented
    clock.advance(61)
    again = QdrantDatabase(options(prefix), clock=clock)
    await again.open()
    if crashed:
        await picture(again)
        await step(again)
    shown = await picture(again), await _left_over(again)
    await again.close()
    return shown


async def _left_over(database: QdrantDatabase) -> int:
    """How many points of chunks and records there are, whoever sees them."""
    left = 0
    for layout in (schema.chunks_of(builders.EMBEDDING.dimensions), schema.RECORDS):
        points = await database._schema.ensure(layout)
        left += await points.count(models.Filter())
    return left


async def test_sweep_finishes_a_cancel_that_was_cut_short():
    clock = ManualClock()
    database = await new_qdrant(clock)
    await submitted_and_worked(database)
    client = database._connection.client
    database._connection.client = CrashingClient(client, crash_at=2)  # type: ignore[assignment]
    with pytest.raises(Crash):
        await cancel(database)
    database._connection.client = client
    assert "pending" in (await batch_steps.statuses(database, BATCH_ID)).values()
    assert len(await database.batches.end_batches()) == 1
    statuses = await batch_steps.statuses(database, BATCH_ID)
    assert sorted(statuses.values()) == ["cancelled", "completed", "failed"]
    await database.close()


async def test_publish_that_was_cut_short_goes_on_with_the_same_call():
    clock = ManualClock()
    database = await new_qdrant(clock)
    await seed_document(database)
    (wanted,) = await database.documents.stage_versions([NEW])
    await database.documents.put_vectors(builders.EMBEDDING, builders.vectors_of(NEW))
    client = database._connection.client
    for crash_at in (1, 2, 3):
        database._connection.client = CrashingClient(client, crash_at)
        try:
            published = await database.documents.publish({NEW.document_id: wanted})
        except Crash:
            database._connection.client = client
            text = await document_steps.found(database, "old new")
            assert text in ({"old one", "old two"}, {"new one", "new two", "new three"})
    database._connection.client = client
    published = await database.documents.publish({NEW.document_id: wanted})
    assert published == {NEW.document_id: Published.LIVE}
    assert await document_steps.found(database, "old new") == {"new one", "new two", "new three"}
    await database.close()
    empty(database._connection.options)
