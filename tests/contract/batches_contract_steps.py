"""Steps that the batch contract takes again and again, and the checks that hold after each."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from gristmill.domain.batch import Batch, BatchStatusView, Counters
from gristmill.domain.failures import Failure, FailureCategory
from gristmill.domain.record import Done, Failed, Outcome, Record, RecordStatus, Report, Result, Retry
from gristmill.domain.versions import Step
from gristmill.ports.batches import Progress
from gristmill.ports.database import Database
from tests.contract.walks import pages
from tests.support import builders

MAX_ATTEMPTS = 4  # Three retries after the first attempt: the policy every contract run uses.


async def submit(database: Database, *item_ids: str, seal: bool = False, **batch: Any) -> UUID:
    """A new batch with these items."""
    created = await database.batches.create_batch(builders.new_batch(**batch))
    kind = batch.get("kind", "documents")
    if item_ids:
        await database.batches.create_processing_records(
            created.batch_id, builders.items(*item_ids, kind=kind)
        )
    if seal:
        await database.batches.seal_batch(created.batch_id)
    return created.batch_id


async def claim(database: Database, limit: int = 1000, *, worker: str = "w1", **chosen: Any) -> list[Record]:
    return list(await database.batches.claim_records(worker, limit=limit, **chosen))


async def claim_one(database: Database, *, worker: str = "w1", **chosen: Any) -> Record:
    (record,) = await database.batches.claim_records(worker, limit=1, **chosen)
    return record


async def report(database: Database, outcome: Outcome, *records: Record) -> None:
    """Report one outcome for all of the records; none may be refused."""
    reports = [Report(record, outcome) for record in records]
    assert list(await database.batches.update_processing_status(reports)) == []


async def complete(database: Database, *records: Record) -> None:
    await report(database, Done(Result(chunks=1)), *records)


async def fail(
    database: Database,
    *records: Record,
    category: FailureCategory = FailureCategory.UNREADABLE,
    message: str = "The file is damaged.",
) -> None:
    await report(database, Failed(Failure(category, message)), *records)


async def fail_until_spent(
    database: Database, clock: Any, batch_id: UUID, message: str = "Crashed."
) -> Record:
    """Let the only pending record of the batch fail until its attempts are spent."""
    for _ in range(MAX_ATTEMPTS):
        record = await claim_one(database, batch_id=batch_id)
        await report(database, Retry(Failure(FailureCategory.CRASHED, message)), record)
        clock.advance(hours=1)
    return await get(database, batch_id, record.item_id)


async def records_of(database: Database, batch_id: UUID, *, limit: int = 1000, **chosen: Any) -> list[Record]:
    """All records of the batch in order of item_id, over as many pages as it takes."""
    records: list[Record] = []
    async for page in pages(
        lambda after: database.batches.get_processing_results(batch_id, limit=limit, after=after, **chosen)
    ):
        records += page.records
    return records


async def get(database: Database, batch_id: UUID, item_id: str) -> Record:
    (record,) = [r for r in await records_of(database, batch_id) if r.item_id == item_id]
    return record


async def statuses(database: Database, batch_id: UUID) -> dict[str, str]:
    return {record.item_id: record.status.value for record in await records_of(database, batch_id)}


@dataclass(frozen=True, slots=True)
class Shown:
    """All that is shown of a batch."""

    records: list[Record]
    progress: Progress
    view: BatchStatusView
    batch: Batch


async def shown(database: Database, batch_id: UUID) -> Shown:
    records = await records_of(database, batch_id)
    progress = await database.batches.get_processing_progress(batch_id)
    view = await database.batches.batch_status_view(batch_id)
    batch = await database.batches.get_batch(batch_id)
    assert batch is not None
    return Shown(records, progress, view, batch)


async def counters(database: Database, batch_id: UUID) -> Counters:
    """The batch's counters, after checking that every place that shows them agrees with the records."""
    return _counters(await shown(database, batch_id))


def _counters(found: Shown) -> Counters:
    counted = Counters.of(Counter(record.status for record in found.records))
    view = found.view
    assert found.progress.counters == counted
    assert found.progress.batch == found.batch
    assert found.batch.processed_files == counted.ended
    assert (
        Counters(
            pending=view.queued_count,
            processing=view.in_progress_count,
            completed=view.completed_count,
            failed=view.failed_count,
            cancelled=view.cancelled_count,
        )
        == counted
    )
    assert view.total_documents == counted.total == len(found.records)
    return counted


def claimed_elsewhere(batch_id: UUID, item_id: str) -> Record:
    """A record that this database has never seen, as its worker claimed it."""
    pending = builders.record(batch_id=batch_id, item_id=item_id, payload={"n": 1})
    version = replace(pending.version, epoch=1, step=Step.PROCESSING, revision=2, write_id="elsewhere:1")
    return replace(
        pending,
        status=RecordStatus.PROCESSING,
        claim_id="claim-elsewhere",
        worker="w9",
        attempts=1,
        started_at=pending.created_at,
        version=version,
    )


async def all_batch_ids(database: Database) -> list[UUID]:
    found: list[UUID] = []
    async for page in pages(lambda after: database.batches.list_batches(limit=100, after=after)):
        found += [batch.batch_id for batch in page.batches]
    return found


async def check_all(database: Database) -> dict[UUID, Shown]:
    """What holds at every instant, of every batch and record; returns what is shown of them."""
    everything = {each: await shown(database, each) for each in await all_batch_ids(database)}
    for found in everything.values():
        _counters(found)
        for record in found.records:
            check_record(record)
    return everything


def check_record(record: Record) -> None:
    held = record.status is RecordStatus.PROCESSING
    ended = record.status not in {RecordStatus.PENDING, RecordStatus.PROCESSING}
    assert 0 <= record.attempts <= MAX_ATTEMPTS
    assert (record.claim_id is not None, record.worker is not None) == (held, held)
    assert (record.ended_at is not None) == ended
    assert record.version.write_id
    if record.status is RecordStatus.COMPLETED:
        assert record.error is None
        assert record.result is not None
    if record.status is RecordStatus.FAILED:
        assert record.error is not None
        assert record.last_error_at is not None


def ids(records: Sequence[Record]) -> list[str]:
    return [record.item_id for record in records]
