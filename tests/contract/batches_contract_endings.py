"""Cancelling, and when a batch ends."""

from uuid import uuid4

import pytest

from gristmill.domain.batch import BatchStatus
from gristmill.domain.record import Done, RecordStatus, Report, Retry
from gristmill.domain.versions import Ending
from gristmill.ports.database import Database
from gristmill.ports.errors import BatchNotFoundError
from tests.contract import batches_contract_steps as steps
from tests.support import builders
from tests.support.clocks import ManualClock


class CancelContract:
    async def test_cancel_ends_what_is_open_and_nothing_else(self, database: Database, clock: ManualClock):
        batch_id = await steps.submit(database, "a", "b", "c", "d", "e")
        done, bad, held = await steps.claim(database, 3)
        await steps.complete(database, done)
        await steps.fail(database, bad)
        before = {record.item_id: record for record in await steps.records_of(database, batch_id)}
        clock.advance(9)
        assert await database.batches.cancel_batch(batch_id) == 3
        for record in await steps.records_of(database, batch_id):
            old = before[record.item_id]
            if record.item_id in {done.item_id, bad.item_id}:
                assert record == old
                continue
            assert (record.status, record.ended_at) == (RecordStatus.CANCELLED, clock.now())
            assert (record.attempts, record.epoch) == (old.attempts, old.epoch)
            assert record.version.ending is Ending.CANCELLED
            assert record.version > old.version
        counters = await steps.counters(database, batch_id)
        assert (counters.completed, counters.failed, counters.cancelled) == (1, 1, 3)
        (refusal,) = await database.batches.update_processing_status([Report(held, Done())])
        assert refusal.met == await steps.get(database, batch_id, held.item_id)

    async def test_cancel_seals_the_batch_with_what_it_has(self, database: Database, clock: ManualClock):
        batch_id = await steps.submit(database, "a", "b")
        clock.advance(9)
        await database.batches.cancel_batch(batch_id)
        batch = await database.batches.get_batch(batch_id)
        assert batch is not None
        assert (batch.sealed_at, batch.total_files, batch.cancel_requested) == (clock.now(), 2, True)
        assert (batch.error_message, batch.ended) == (None, False)
        (ended,) = await database.batches.end_batches()
        assert (ended.status, ended.completed_at) == (BatchStatus.CANCELLED, clock.now())

    async def test_cancel_of_a_sealed_batch_keeps_its_seal(self, database: Database, clock: ManualClock):
        batch_id = await steps.submit(database, "a", seal=True)
        sealed_at = clock.now()
        clock.advance(9)
        await database.batches.cancel_batch(batch_id)
        batch = await database.batches.get_batch(batch_id)
        assert batch is not None
        assert (batch.sealed_at, batch.total_files) == (sealed_at, 1)

    async def test_completion_before_the_cancel_stays(self, database: Database):
        batch_id = await steps.submit(database, "a")
        await steps.complete(database, await steps.claim_one(database))
        assert await database.batches.cancel_batch(batch_id) == 0
        assert await steps.statuses(database, batch_id) == {"a": "completed"}
        (ended,) = await database.batches.end_batches()
        assert ended.status is BatchStatus.COMPLETED

    async def test_completion_after_the_cancel_is_refused(self, database: Database):
        batch_id = await steps.submit(database, "a")
        claimed = await steps.claim_one(database)
        assert await database.batches.cancel_batch(batch_id) == 1
        before = await steps.get(database, batch_id, "a")
        (refusal,) = await database.batches.update_processing_status([Report(claimed, Done())])
        assert refusal.met == before == await steps.get(database, batch_id, "a")

    async def test_cancel_again_finds_nothing_open(self, database: Database):
        batch_id = await steps.submit(database, "a")
        assert await database.batches.cancel_batch(batch_id) == 1
        assert await database.batches.cancel_batch(batch_id) == 0

    async def test_cancel_keeps_to_its_batch(self, database: Database):
        one, two = await steps.submit(database, "a"), await steps.submit(database, "a")
        await database.batches.cancel_batch(one)
        assert await steps.statuses(database, two) == {"a": "pending"}
        assert {record.batch_id for record in await steps.claim(database)} == {two}

    async def test_cancel_of_an_ended_batch_changes_nothing(self, database: Database, clock: ManualClock):
        batch_id = await steps.submit(database, "a", seal=True)
        await steps.complete(database, await steps.claim_one(database))
        await database.batches.end_batches()
        before = await database.batches.get_batch(batch_id)
        clock.advance(9)
        assert await database.batches.cancel_batch(batch_id, error_message="Too late.") == 0
        assert await database.batches.get_batch(batch_id) == before

    async def test_batch_stopped_by_tolerance_ends_as_error_with_its_reason(self, database: Database):
        batch_id = await steps.submit(database, "a", "b", "c", seal=True)
        done, bad = await steps.claim(database, 2)
        await steps.complete(database, done)
        await steps.fail(database, bad)
        reason = "Больше 10 % не удалось."
        assert await database.batches.cancel_batch(batch_id, error_message=reason) == 1
        (ended,) = await database.batches.end_batches()
        assert (ended.status, ended.error_message) == (BatchStatus.ERROR, reason)
        view = await database.batches.batch_status_view(batch_id)
        assert view.batch_status == view.computed_status == BatchStatus.ERROR

    async def test_cancel_of_an_unknown_batch_is_refused(self, database: Database):
        with pytest.raises(BatchNotFoundError):
            await database.batches.cancel_batch(uuid4())


class EndingContract:
    async def test_batch_ends_when_sealed_and_all_ended(self, database: Database, clock: ManualClock):
        batch_id = await steps.submit(database, "a", "b")
        first, second = await steps.claim(database)
        await steps.complete(database, first)
        assert list(await database.batches.end_batches()) == []
        await database.batches.seal_batch(batch_id)
        assert list(await database.batches.end_batches()) == []
        await steps.complete(database, second)
        clock.advance(11)
        (ended,) = await database.batches.end_batches()
        assert (ended.batch_id, ended.status) == (batch_id, BatchStatus.COMPLETED)
        assert (ended.completed_at, ended.processed_files, ended.total_files) == (clock.now(), 2, 2)
        assert await database.batches.get_batch(batch_id) == ended

    async def test_unsealed_batch_does_not_end(self, database: Database):
        batch_id = await steps.submit(database, "a")
        await steps.complete(database, await steps.claim_one(database))
        await steps.submit(database)
        assert list(await database.batches.end_batches()) == []
        batch = await database.batches.get_batch(batch_id)
        assert batch is not None
        assert (batch.status, batch.completed_at) == (BatchStatus.PROCESSING, None)

    async def test_retry_waits_keep_a_batch_open(self, database: Database, clock: ManualClock):
        await steps.submit(database, "a", seal=True)
        record = await steps.claim_one(database)
        await steps.report(database, Retry(builders.failure()), record)
        clock.advance(days=1)
        assert list(await database.batches.end_batches()) == []

    async def test_batch_with_more_records_than_declared_ends_with_all_of_them(self, database: Database):
        batch_id = await steps.submit(database, "a", seal=True)
        claimed = await steps.claim_one(database)
        await steps.complete(database, claimed)
        late = steps.claimed_elsewhere(batch_id, "from elsewhere")
        await steps.complete(database, late)
        assert (await steps.counters(database, batch_id)).completed == 2
        (ended,) = await database.batches.end_batches()
        assert (ended.total_files, ended.processed_files) == (1, 2)

    async def test_sealed_empty_batch_ends_as_completed(self, database: Database, clock: ManualClock):
        batch_id = await steps.submit(database, seal=True)
        (ended,) = await database.batches.end_batches()
        assert (ended.batch_id, ended.status) == (batch_id, BatchStatus.COMPLETED)
        assert (ended.completed_at, ended.total_files) == (clock.now(), 0)

    async def test_batch_ends_once(self, database: Database, clock: ManualClock):
        batch_id = await steps.submit(database, seal=True)
        (ended,) = await database.batches.end_batches()
        clock.advance(9)
        assert list(await database.batches.end_batches()) == []
        assert list(await database.batches.end_batches([batch_id])) == []
        assert await database.batches.get_batch(batch_id) == ended

    async def test_only_the_batches_given_end(self, database: Database):
        one, two, three = [await steps.submit(database, seal=True) for _ in range(3)]
        assert list(await database.batches.end_batches([])) == []
        ended = await database.batches.end_batches([three, one, uuid4()])
        assert {batch.batch_id for batch in ended} == {one, three}
        assert [batch.batch_id for batch in await database.batches.end_batches()] == [two]

    @pytest.mark.parametrize(
        ("completed", "failed", "cancelled", "status"),
        [
            (2, 0, 0, BatchStatus.COMPLETED),
            (1, 1, 0, BatchStatus.COMPLETED_WITH_ERRORS),
            (0, 2, 0, BatchStatus.ERROR),
            (1, 1, 1, BatchStatus.CANCELLED),
            (1, 0, 1, BatchStatus.CANCELLED),
            (0, 0, 2, BatchStatus.CANCELLED),
        ],
    )
    async def test_stored_status_is_the_computed_one(
        self, database: Database, completed: int, failed: int, cancelled: int, status: BatchStatus
    ):
        total = completed + failed + cancelled
        batch_id = await steps.submit(database, *(f"i{n}" for n in range(total)), seal=True)
        claimed = await steps.claim(database, completed + failed)
        await steps.complete(database, *claimed[:completed])
        await steps.fail(database, *claimed[completed:])
        if cancelled:
            await database.batches.cancel_batch(batch_id)
        (ended,) = await database.batches.end_batches()
        view = await database.batches.batch_status_view(batch_id)
        assert ended.status == view.batch_status == view.computed_status == status
