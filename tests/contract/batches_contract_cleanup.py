"""Cleanup: old ended batches and their records go, and nothing else."""

from datetime import timedelta
from uuid import UUID

import pytest

from gristmill.ports.batches import Cleanup
from gristmill.ports.database import Database
from gristmill.ports.errors import BatchNotFoundError
from tests.contract import batches_contract_steps as steps
from tests.support import builders
from tests.support.clocks import ManualClock

WEEK = timedelta(days=7)


class CleanupContract:
    async def test_dry_run_counts_and_deletes_nothing(self, database: Database, clock: ManualClock):
        batch_id = await _ended(database, "a", "b", "c")
        clock.advance(days=8)
        before = await steps.records_of(database, batch_id)
        for _ in range(2):
            found = await database.batches.cleanup_old_records(WEEK, apply=False)
            assert found == Cleanup(batches=1, records=3)
        assert await steps.records_of(database, batch_id) == before

    async def test_old_ended_batches_go_with_their_records(self, database: Database, clock: ManualClock):
        old = [await _ended(database, "a", "b"), await _ended(database), await _ended(database, "a")]
        clock.advance(days=8)
        recent = await _ended(database, "a", "b")
        assert await database.batches.cleanup_old_records(WEEK, apply=True) == Cleanup(batches=3, records=3)
        for batch_id in old:
            assert await database.batches.get_batch(batch_id) is None
            with pytest.raises(BatchNotFoundError):
                await database.batches.get_processing_results(batch_id)
        assert await steps.all_batch_ids(database) == [recent]
        assert await steps.statuses(database, recent) == {"a": "completed", "b": "completed"}
        assert await database.batches.cleanup_old_records(WEEK, apply=True) == Cleanup(batches=0, records=0)

    async def test_records_of_a_deleted_batch_do_not_come_back_with_its_id(
        self, database: Database, clock: ManualClock
    ):
        batch_id = await _ended(database, "a", "b")
        clock.advance(days=8)
        await database.batches.cleanup_old_records(WEEK, apply=True)
        await database.batches.create_batch(builders.new_batch(batch_id))
        assert await steps.records_of(database, batch_id) == []
        assert (await steps.counters(database, batch_id)).total == 0
        since = await database.batches.get_processing_statistics(clock.now() - timedelta(days=99))
        assert (since.batches, since.items) == (1, 0)

    async def test_open_batches_stay_however_old(self, database: Database, clock: ManualClock):
        waiting = await steps.submit(database, "a", seal=True)
        unsealed = await steps.submit(database, "a")
        cancelled = await steps.submit(database, "a")
        await database.batches.cancel_batch(cancelled)
        clock.advance(days=400)
        for apply in [False, True]:
            found = await database.batches.cleanup_old_records(WEEK, apply=apply)
            assert found == Cleanup(batches=0, records=0)
        assert set(await steps.all_batch_ids(database)) == {waiting, unsealed, cancelled}

    async def test_reopened_batch_stays(self, database: Database, clock: ManualClock):
        batch_id = await steps.submit(database, "a", seal=True)
        await steps.fail(database, await steps.claim_one(database))
        await database.batches.end_batches()
        await database.batches.retry_failed(batch_id, permanent=True)
        clock.advance(days=8)
        assert await database.batches.cleanup_old_records(WEEK, apply=True) == Cleanup(batches=0, records=0)
        assert await steps.statuses(database, batch_id) == {"a": "pending"}

    async def test_age_counts_from_the_end_and_must_be_exceeded(self, database: Database, clock: ManualClock):
        batch_id = await steps.submit(database, "a", seal=True)
        await steps.complete(database, await steps.claim_one(database))
        clock.advance(days=30)
        await database.batches.end_batches()
        clock.advance(days=7)
        assert await database.batches.cleanup_old_records(WEEK, apply=True) == Cleanup(batches=0, records=0)
        clock.advance(0.000_001)
        assert await database.batches.cleanup_old_records(WEEK, apply=True) == Cleanup(batches=1, records=1)
        assert await database.batches.get_batch(batch_id) is None

    async def test_documents_and_vectors_are_never_cleaned_up(self, database: Database, clock: ManualClock):
        documents = database.documents
        await documents.open_collection("papers", builders.EMBEDDING)
        version = builders.version("file:///a", ["one two", "three"])
        (wanted,) = await documents.stage_versions([version])
        await documents.put_vectors(builders.EMBEDDING, builders.vectors_of(version))
        await documents.publish({version.document_id: wanted})
        await _ended(database, "file:///a")
        clock.advance(days=8)
        await database.batches.cleanup_old_records(WEEK, apply=True)
        assert len(await documents.list_chunks(version.document_id)) == 2
        assert await documents.missing_vectors(list(builders.vectors_of(version))) == set()


async def _ended(database: Database, *item_ids: str) -> UUID:
    batch_id = await steps.submit(database, *item_ids, seal=True)
    await steps.complete(database, *await steps.claim(database, batch_id=batch_id))
    await database.batches.end_batches([batch_id])
    return batch_id
