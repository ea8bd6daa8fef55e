"""End events: stored with the end, one a round, kept until listeners know of them."""

from datetime import timedelta
from uuid import UUID

from gristmill.domain.batch import BatchStatus, Counters
from gristmill.domain.events import BatchEnded
from gristmill.domain.identity import end_event_id
from gristmill.ports.database import Database
from tests.contract import batches_contract_steps as steps
from tests.support.clocks import ManualClock


async def events(database: Database) -> list[BatchEnded]:
    return list(await database.batches.pending_events(limit=100))


async def ended(database: Database, *item_ids: str, fail: int = 0, **batch: object) -> UUID:
    """A batch that has ended, the first ``fail`` items failed."""
    batch_id = await steps.submit(database, *item_ids, seal=True, **batch)
    claimed = await steps.claim(database, batch_id=batch_id)
    await steps.fail(database, *claimed[:fail])
    await steps.complete(database, *claimed[fail:])
    await database.batches.end_batches([batch_id])
    return batch_id


class EventsContract:
    async def test_end_of_a_batch_is_one_event(self, database: Database, clock: ManualClock):
        batch_id = await ended(database, "a", "b", "c", fail=1, name="Week 9", collection="papers")
        await database.batches.end_batches()
        assert await events(database) == [
            BatchEnded(
                event_id=end_event_id(batch_id, 0),
                batch_id=batch_id,
                round=0,
                kind="documents",
                name="Week 9",
                collection="papers",
                status=BatchStatus.COMPLETED_WITH_ERRORS,
                counters=Counters(completed=2, failed=1),
                error_message=None,
                ended_at=clock.now(),
            )
        ]

    async def test_batch_that_has_not_ended_has_no_event(self, database: Database):
        await steps.submit(database)
        await steps.submit(database, "a", seal=True)
        await database.batches.end_batches()
        assert await events(database) == []

    async def test_empty_and_cancelled_batches_have_theirs(self, database: Database, clock: ManualClock):
        empty = await ended(database)
        clock.advance(1)
        cancelled = await steps.submit(database, "a")
        await database.batches.cancel_batch(cancelled, error_message="Too many failed.")
        await database.batches.end_batches()
        first, second = await events(database)
        assert (first.batch_id, first.status, first.counters) == (empty, BatchStatus.COMPLETED, Counters())
        assert (second.batch_id, second.status) == (cancelled, BatchStatus.ERROR)
        assert (second.error_message, second.counters) == ("Too many failed.", Counters(cancelled=1))

    async def test_each_round_has_its_own_event(self, database: Database):
        batch_id = await ended(database, "a", "b", fail=2)
        await database.batches.retry_failed(batch_id, permanent=True)
        await steps.complete(database, *await steps.claim(database, batch_id=batch_id))
        await database.batches.end_batches()
        found = sorted((event.round, event.status) for event in await events(database))
        assert found == [(0, BatchStatus.ERROR), (1, BatchStatus.COMPLETED)]
        assert len({event.event_id for event in await events(database)}) == 2

    async def test_delivered_events_are_not_told_again(self, database: Database, clock: ManualClock):
        for item_id in "abc":
            await ended(database, item_id)
            clock.advance(1)
        first, second, third = await events(database)
        assert first.ended_at < second.ended_at < third.ended_at
        await database.batches.events_delivered([second.event_id, end_event_id(UUID(int=7), 0)])
        await database.batches.events_delivered([second.event_id])
        assert await events(database) == [first, third]
        assert await database.batches.pending_events(limit=1) == [first]

    async def test_cleanup_takes_delivered_events_only(self, database: Database, clock: ManualClock):
        await ended(database, "a")
        await ended(database, "b")
        told, untold = await events(database)
        await database.batches.events_delivered([told.event_id])
        clock.advance(days=9)
        await database.batches.cleanup_old_records(timedelta(), apply=True)
        assert await events(database) == [untold]

    async def test_batch_created_anew_after_cleanup_has_an_end_of_its_own(
        self, database: Database, clock: ManualClock
    ):
        for _ in range(2):
            batch_id = await ended(database, "a", batch_id=UUID(int=5))
            (event,) = await events(database)
            assert event.event_id == end_event_id(batch_id, 0)
            await database.batches.events_delivered([event.event_id])
            clock.advance(days=9)
            await database.batches.cleanup_old_records(timedelta(), apply=True)
