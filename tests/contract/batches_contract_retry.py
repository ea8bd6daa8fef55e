"""Retry: a new round of attempts for failed records, and only for those asked for."""

from uuid import uuid4

import pytest

from gristmill.domain.batch import BatchStatus
from gristmill.domain.failures import FailureCategory
from gristmill.domain.record import QUEUED, RecordStatus
from gristmill.domain.versions import Ending
from gristmill.ports.database import Database
from gristmill.ports.errors import BatchNotFoundError
from tests.contract import batches_contract_steps as steps
from tests.support.clocks import ManualClock

CRASHED, TIMEOUT, ENCRYPTED = FailureCategory.CRASHED, FailureCategory.TIMEOUT, FailureCategory.ENCRYPTED


class RetryContract:
    async def test_retry_opens_a_new_round_of_attempts(self, database: Database, clock: ManualClock):
        batch_id = await steps.submit(database, "a")
        failed = await steps.fail_until_spent(database, clock, batch_id)
        assert await database.batches.retry_failed(batch_id) == 1
        record = await steps.get(database, batch_id, "a")
        assert (record.status, record.stage, record.progress) == (RecordStatus.PENDING, QUEUED, 0)
        assert (record.attempts, record.retries_total, record.round) == (0, 4, 1)
        assert (record.error, record.last_error_at, record.ended_at) == (None, None, None)
        assert record.next_attempt_at == clock.now()
        assert record.version.ending is Ending.OPEN
        assert record.version > failed.version
        assert (await steps.counters(database, batch_id)).pending == 1

    async def test_reopened_record_gets_as_many_attempts_again(self, database: Database, clock: ManualClock):
        batch_id = await steps.submit(database, "a")
        for retry_round in [1, 2]:
            record = await steps.fail_until_spent(database, clock, batch_id)
            assert (record.attempts, record.retries_total) == (4, 4 * retry_round - 1)
            await database.batches.retry_failed(batch_id)
            assert (await steps.get(database, batch_id, "a")).round == retry_round
            batch = await database.batches.get_batch(batch_id)
            assert batch is not None
            assert batch.round == retry_round

    async def test_ended_batch_returns_to_processing_and_can_end_again(
        self, database: Database, clock: ManualClock
    ):
        batch_id = await steps.submit(database, "a", "b", seal=True)
        first, second = await steps.claim(database)
        await steps.complete(database, first)
        await steps.fail(database, second, category=TIMEOUT)
        (ended,) = await database.batches.end_batches()
        assert ended.status is BatchStatus.COMPLETED_WITH_ERRORS
        clock.advance(60)
        assert await database.batches.retry_failed(batch_id) == 1
        reopened = await database.batches.get_batch(batch_id)
        assert reopened is not None
        assert (reopened.status, reopened.round, reopened.completed_at) == (BatchStatus.PROCESSING, 1, None)
        assert (reopened.processed_files, reopened.total_files) == (1, 2)
        assert (reopened.sealed_at, reopened.started_at) == (ended.sealed_at, ended.started_at)
        assert list(await database.batches.end_batches()) == []
        await steps.complete(database, await steps.claim_one(database))
        (again,) = await database.batches.end_batches()
        assert (again.status, again.completed_at) == (BatchStatus.COMPLETED, clock.now())

    async def test_permanent_failures_are_retried_only_when_asked(self, database: Database):
        batch_id = await steps.submit(database, "locked", "slow")
        claimed = {record.item_id: record for record in await steps.claim(database)}
        await steps.fail(database, claimed["locked"], category=ENCRYPTED)
        await steps.fail(database, claimed["slow"], category=TIMEOUT)
        assert await database.batches.retry_failed(batch_id, categories=[ENCRYPTED]) == 0
        assert await database.batches.retry_failed(batch_id) == 1
        assert await steps.statuses(database, batch_id) == {"locked": "failed", "slow": "pending"}
        assert await database.batches.retry_failed(batch_id, permanent=True) == 1
        assert await steps.statuses(database, batch_id) == {"locked": "pending", "slow": "pending"}

    async def test_every_permanent_category_needs_to_be_asked_for(self, database: Database):
        batch_id = await steps.submit(database, *FailureCategory)
        for record in await steps.claim(database):
            await steps.fail(database, record, category=FailureCategory(record.item_id))
        assert await database.batches.retry_failed(batch_id) == 11
        left = await steps.records_of(database, batch_id, status=RecordStatus.FAILED)
        assert set(steps.ids(left)) == {
            *("unsupported_format", "unreadable", "encrypted", "empty", "no_text_layer"),
            *("too_large", "bad_input", "provider_input"),
        }

    async def test_only_the_categories_named_are_retried(self, database: Database):
        batch_id = await steps.submit(database, "crashed", "encrypted", "timeout", "internal")
        for record in await steps.claim(database):
            await steps.fail(database, record, category=FailureCategory(record.item_id))
        chosen = {CRASHED, ENCRYPTED, TIMEOUT}
        assert await database.batches.retry_failed(batch_id, categories=[]) == 0
        assert await database.batches.retry_failed(batch_id, categories=chosen) == 2
        assert await database.batches.retry_failed(batch_id, categories=chosen, permanent=True) == 1
        assert await steps.statuses(database, batch_id) == {
            "crashed": "pending",
            "encrypted": "pending",
            "internal": "failed",
            "timeout": "pending",
        }

    async def test_retry_leaves_everything_but_failed_records_alone(self, database: Database):
        batch_id = await steps.submit(database, "a", "b", "c", "d", "e")
        completed, failed, _ = await steps.claim(database, 3)
        await steps.complete(database, completed)
        await steps.fail(database, failed, category=TIMEOUT)
        before = {record.item_id: record for record in await steps.records_of(database, batch_id)}
        assert await database.batches.retry_failed(batch_id, permanent=True) == 1
        after = {record.item_id: record for record in await steps.records_of(database, batch_id)}
        changed = {item_id for item_id in before if before[item_id] != after[item_id]}
        assert changed == {failed.item_id}

    async def test_retry_keeps_to_its_batch(self, database: Database):
        one, two = await steps.submit(database, "a"), await steps.submit(database, "a")
        await steps.fail(database, *await steps.claim(database), category=TIMEOUT)
        assert await database.batches.retry_failed(one) == 1
        assert await steps.statuses(database, two) == {"a": "failed"}
        untouched = await database.batches.get_batch(two)
        assert untouched is not None
        assert untouched.round == 0

    async def test_retry_of_nothing_changes_nothing(self, database: Database, clock: ManualClock):
        batch_id = await steps.submit(database, "a", "b", seal=True)
        first, second = await steps.claim(database)
        await steps.complete(database, first)
        await steps.fail(database, second, category=ENCRYPTED)
        await database.batches.end_batches()
        before = await database.batches.get_batch(batch_id)
        clock.advance(60)
        assert await database.batches.retry_failed(batch_id) == 0
        assert await database.batches.get_batch(batch_id) == before

    async def test_retry_of_an_unknown_batch_is_refused(self, database: Database):
        with pytest.raises(BatchNotFoundError):
            await database.batches.retry_failed(uuid4())

    async def test_retry_of_a_stopped_batch_runs_again(self, database: Database):
        batch_id = await steps.submit(database, "a", "b", seal=True)
        await steps.fail(database, await steps.claim_one(database), category=TIMEOUT)
        await database.batches.cancel_batch(batch_id, error_message="Too many failed.")
        await database.batches.end_batches()
        assert await database.batches.retry_failed(batch_id) == 1
        reopened = await database.batches.get_batch(batch_id)
        assert reopened is not None
        assert (reopened.cancel_requested, reopened.error_message) == (False, None)
        await steps.complete(database, await steps.claim_one(database))
        counters = await steps.counters(database, batch_id)
        assert (counters.completed, counters.cancelled) == (1, 1)
        (ended,) = await database.batches.end_batches()
        assert ended.status is BatchStatus.CANCELLED
