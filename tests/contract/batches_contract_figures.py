"""Progress, error groups and statistics: every figure, exactly."""

from datetime import timedelta
from uuid import uuid4

import pytest

from gristmill.domain.batch import BatchStatus
from gristmill.domain.failures import Failure, FailureCategory
from gristmill.domain.record import Done, Failed, Record, Report, Retry
from gristmill.ports.batches import ErrorGroup
from gristmill.ports.database import Database
from gristmill.ports.errors import BatchNotFoundError
from tests.contract import batches_contract_steps as steps
from tests.support.clocks import ManualClock

CRASHED, TIMEOUT, EMPTY = FailureCategory.CRASHED, FailureCategory.TIMEOUT, FailureCategory.EMPTY
INTERNAL = FailureCategory.INTERNAL


class ProgressContract:
    async def test_progress_before_the_start(self, database: Database, clock: ManualClock):
        batch_id = await steps.submit(database, "a", "b")
        clock.advance(60)
        progress = await database.batches.get_processing_progress(batch_id)
        assert (progress.percent, progress.rate, progress.eta_seconds) == (0.0, 0.0, None)
        assert progress.failures == {}
        assert progress.batch == await database.batches.get_batch(batch_id)

    async def test_progress_in_the_middle(self, database: Database, clock: ManualClock):
        batch_id = await steps.submit(database, *"abcdefgh")
        clock.advance(60)
        claimed = await steps.claim(database)
        clock.advance(4)
        await steps.complete(database, claimed[0])
        await steps.fail(database, claimed[1], category=EMPTY)
        clock.advance(6)
        progress = await database.batches.get_processing_progress(batch_id)
        assert progress.percent == pytest.approx(25.0)
        assert progress.rate == pytest.approx(0.2)
        assert progress.eta_seconds == pytest.approx(30.0)
        assert progress.failures == {"empty": 1}

    async def test_progress_at_the_end(self, database: Database, clock: ManualClock):
        batch_id = await steps.submit(database, "a", "b", seal=True)
        claimed = await steps.claim(database)
        clock.advance(4)
        await steps.complete(database, *claimed)
        await database.batches.end_batches()
        clock.advance(600)
        progress = await database.batches.get_processing_progress(batch_id)
        assert progress.percent == pytest.approx(100.0)
        assert progress.batch.status is BatchStatus.COMPLETED

    async def test_failures_count_failed_records_only(self, database: Database):
        batch_id = await steps.submit(database, "a", "b", "c", "d")
        await steps.submit(database, "e")
        claimed = await steps.claim(database, batch_id=batch_id)
        await steps.fail(database, *claimed[:2], category=CRASHED)
        await steps.fail(database, claimed[2], category=EMPTY)
        await steps.report(database, Retry(Failure(TIMEOUT, "Slow.")), claimed[3])
        await steps.fail(database, await steps.claim_one(database), category=CRASHED)
        progress = await database.batches.get_processing_progress(batch_id)
        assert progress.failures == {"crashed": 2, "empty": 1}

    async def test_progress_of_an_unknown_batch_is_refused(self, database: Database):
        with pytest.raises(BatchNotFoundError):
            await database.batches.get_processing_progress(uuid4())


class ErrorGroupsContract:
    async def test_failed_records_are_grouped_with_their_newest_example(
        self, database: Database, clock: ManualClock
    ):
        batch_id = await steps.submit(database, *(f"i{n}" for n in range(7)))
        await steps.submit(database, "elsewhere")
        claimed = await steps.claim(database, batch_id=batch_id)
        plan = [(TIMEOUT, "z"), (CRASHED, "old"), (EMPTY, "only"), (CRASHED, "new"), (TIMEOUT, "a")]
        for record, (category, message) in zip(claimed, plan, strict=False):
            clock.advance(1)
            await steps.fail(database, record, category=category, message=message)
        await steps.report(database, Retry(Failure(INTERNAL, "Waits.")), claimed[5])
        await steps.complete(database, claimed[6])
        await steps.fail(database, await steps.claim_one(database), category=EMPTY)
        assert list(await database.batches.get_error_groups(batch_id)) == [
            ErrorGroup(CRASHED, 2, permanent=False, item_id=claimed[3].item_id, example="new"),
            ErrorGroup(TIMEOUT, 2, permanent=False, item_id=claimed[4].item_id, example="a"),
            ErrorGroup(EMPTY, 1, permanent=True, item_id=claimed[2].item_id, example="only"),
        ]

    async def test_most_frequent_group_comes_first(self, database: Database):
        batch_id = await steps.submit(database, "a", "b", "c")
        claimed = await steps.claim(database)
        await steps.fail(database, claimed[0], category=CRASHED)
        await steps.fail(database, *claimed[1:], category=TIMEOUT)
        groups = await database.batches.get_error_groups(batch_id)
        assert [(group.category, group.count) for group in groups] == [(TIMEOUT, 2), (CRASHED, 1)]

    async def test_batch_without_failures_has_no_groups(self, database: Database):
        assert list(await database.batches.get_error_groups(await steps.submit(database, "a"))) == []

    async def test_groups_of_an_unknown_batch_are_refused(self, database: Database):
        with pytest.raises(BatchNotFoundError):
            await database.batches.get_error_groups(uuid4())


class StatisticsContract:
    async def test_nothing_there_is_all_zeros(self, database: Database, clock: ManualClock):
        found = await database.batches.get_processing_statistics(clock.now())
        assert found.since == clock.now()
        assert (found.batches, found.items, found.completed, found.failed, found.cancelled) == (0, 0, 0, 0, 0)
        assert (found.batches_by_status, found.failures) == ({}, {})
        assert (found.success_rate_percentage, found.mean_seconds, found.items_per_hour) == (0.0, None, None)

    async def test_only_batches_created_since_are_counted(self, database: Database, clock: ManualClock):
        await steps.fail(database, *await _claimed(database, "a", "b"), category=CRASHED)
        since = clock.advance(1)
        await steps.complete(database, *await _claimed(database, "a"))
        clock.advance(1)
        await steps.submit(database, "a", "b", "c")
        found = await database.batches.get_processing_statistics(since)
        assert (found.batches, found.items, found.completed, found.failed) == (2, 4, 1, 0)
        assert found.batches_by_status == {"processing": 1, "queued": 1}
        later = await database.batches.get_processing_statistics(since + timedelta(microseconds=1))
        assert (later.batches, later.items) == (1, 3)
        everything = await database.batches.get_processing_statistics(since - timedelta(days=1))
        assert (everything.batches, everything.items, everything.failures) == (3, 6, {"crashed": 2})

    async def test_rates_and_times(self, database: Database, clock: ManualClock):
        since = clock.now()
        ended = await steps.submit(database, *"abcdef", seal=True)
        clock.advance(100)
        claimed = await steps.claim(database, 4)
        clock.advance(600)
        await steps.complete(database, claimed[0])
        clock.advance(600)
        await steps.complete(database, claimed[1])
        await steps.fail(database, claimed[2], category=CRASHED)
        clock.advance(600)
        await steps.fail(database, claimed[3], category=EMPTY)
        await database.batches.cancel_batch(ended)
        await database.batches.end_batches()
        clock.advance(3600)
        found = await database.batches.get_processing_statistics(since)
        assert (found.completed, found.failed, found.cancelled) == (2, 2, 2)
        assert found.success_rate_percentage == pytest.approx(50.0)
        assert found.mean_seconds == pytest.approx(900.0)
        assert found.items_per_hour == pytest.approx(12.0)
        assert found.failures == {"crashed": 1, "empty": 1}
        assert found.batches_by_status == {"cancelled": 1}

    async def test_success_rate_is_a_percentage_of_completed_and_failed(
        self, database: Database, clock: ManualClock
    ):
        first, second, third = await _claimed(database, "a", "b", "c", "d", limit=3)
        reports = [
            Report(first, Done()),
            Report(second, Done()),
            Report(third, Failed(Failure(EMPTY, "Empty."))),
        ]
        await database.batches.update_processing_status(reports)
        found = await database.batches.get_processing_statistics(clock.now())
        assert found.success_rate_percentage == pytest.approx(66.67, abs=0.01)


async def _claimed(database: Database, *item_ids: str, limit: int = 1000) -> list[Record]:
    return await steps.claim(database, limit, batch_id=await steps.submit(database, *item_ids))
