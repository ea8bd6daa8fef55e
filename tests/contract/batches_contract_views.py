"""The status view: every column, exactly."""

from dataclasses import fields
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from gristmill.domain.batch import BatchStatus, BatchStatusView, ErrorType
from gristmill.domain.failures import Failure, FailureCategory
from gristmill.domain.record import Failed, Report, Retry, Snooze
from gristmill.ports.database import Database
from gristmill.ports.errors import BatchNotFoundError
from tests.contract import batches_contract_steps as steps
from tests.support import builders
from tests.support.clocks import ManualClock

CRASHED, TIMEOUT, EMPTY = FailureCategory.CRASHED, FailureCategory.TIMEOUT, FailureCategory.EMPTY
INTERNAL = FailureCategory.INTERNAL


class StatusViewContract:
    async def test_view_of_a_new_batch(self, database: Database, clock: ManualClock):
        created_at = clock.now()
        batch_id = await steps.submit(database, "a", "b")
        clock.advance(hours=5)
        assert await database.batches.batch_status_view(batch_id) == _view(
            batch_id=batch_id,
            batch_created_at=created_at,
            total_files=2,
            total_documents=2,
            queued_count=2,
            computed_status=BatchStatus.QUEUED,
        )

    async def test_start_of_a_batch_stays_when_the_clock_is_set_back(
        self, database: Database, clock: ManualClock
    ):
        started_at = clock.now()
        batch_id = await steps.submit(database, "a")
        await steps.report(database, Snooze(0), await steps.claim_one(database))
        clock.set_forward(timedelta(hours=-1))
        await database.batches.claim_records("w1", limit=1)
        clock.advance(hours=2)
        await database.batches.claim_records("w1", limit=1)
        assert (await database.batches.batch_status_view(batch_id)).batch_started_at == started_at

    async def test_every_column_of_a_batch_in_the_middle(self, database: Database, clock: ManualClock):
        created_at = clock.now()
        batch_id = await steps.submit(database, *"abcdefgh", seal=True)
        await steps.submit(database, *"xyz", seal=True)
        started_at = clock.advance(100)
        claimed = {r.item_id: r for r in await steps.claim(database, batch_id=batch_id)}
        clock.advance(100)
        await steps.complete(database, claimed["a"], claimed["b"])
        await steps.fail(database, claimed["c"], category=EMPTY, message="No text.")
        clock.advance(100)
        await steps.fail(database, claimed["d"], category=TIMEOUT, message="Slow.")
        latest_error_at = clock.advance(100)
        await steps.report(database, Retry(Failure(CRASHED, "Crashed.")), claimed["e"])
        await database.batches.release_records([claimed["f"]])
        clock.advance(1000)
        assert await database.batches.batch_status_view(batch_id) == _view(
            batch_id=batch_id,
            batch_created_at=created_at,
            batch_status=BatchStatus.PROCESSING,
            total_files=8,
            total_documents=8,
            completed_count=2,
            failed_count=2,
            in_progress_count=2,
            queued_count=2,
            permanent_failures=1,
            max_retries=1,
            error_messages="Crashed.\nSlow.\nNo text.",
            latest_error_at=latest_error_at,
            batch_started_at=started_at,
            processing_hours=0.3611,
            error_rate_percentage=50.0,
            computed_status=BatchStatus.PROCESSING,
            top_error_types=(
                ErrorType("crashed", "Crashed.", 1),
                ErrorType("empty", "No text.", 1),
                ErrorType("timeout", "Slow.", 1),
            ),
        )

    async def test_every_column_of_an_ended_batch(self, database: Database, clock: ManualClock):
        created_at = clock.now()
        batch_id = await steps.submit(database, "a", "b", "c", "d", seal=True)
        started_at = clock.advance(10)
        first, second, third = await steps.claim(database, 3)
        failed_at = clock.advance(minutes=17)
        await steps.fail(database, first, category=EMPTY, message="No text.")
        await steps.complete(database, second, third)
        last_end = clock.advance(5)
        await database.batches.cancel_batch(batch_id)
        clock.advance(600)
        await database.batches.end_batches()
        clock.advance(days=3)
        assert await database.batches.batch_status_view(batch_id) == _view(
            batch_id=batch_id,
            batch_created_at=created_at,
            batch_status=BatchStatus.CANCELLED,
            total_files=4,
            total_documents=4,
            completed_count=2,
            failed_count=1,
            cancelled_count=1,
            permanent_failures=1,
            error_messages="No text.",
            latest_error_at=failed_at,
            batch_started_at=started_at,
            batch_completed_at=last_end,
            processing_hours=0.2847,
            error_rate_percentage=33.33,
            computed_status=BatchStatus.CANCELLED,
            top_error_types=(ErrorType("empty", "No text.", 1),),
        )

    async def test_view_has_the_twenty_columns_of_the_definition(self, database: Database):
        view = await database.batches.batch_status_view(await steps.submit(database))
        assert " ".join(field.name for field in fields(view)) == (
            "batch_id batch_created_at batch_status total_files total_documents completed_count failed_count "
            "in_progress_count queued_count permanent_failures max_retries error_messages latest_error_at "
            "batch_started_at batch_completed_at processing_hours error_rate_percentage computed_status "
            "top_error_types cancelled_count"
        )
        assert list(view.as_json()) == [field.name for field in fields(view)]

    async def test_permanent_failures_are_those_no_automatic_retry_takes(
        self, database: Database, clock: ManualClock
    ):
        spent = await steps.submit(database, "spent")
        await steps.fail_until_spent(database, clock, spent)
        assert (await database.batches.batch_status_view(spent)).permanent_failures == 1
        batch_id = await steps.submit(database, "permanent", "early", "waiting")
        claimed = {record.item_id: record for record in await steps.claim(database)}
        await steps.fail(database, claimed["permanent"], category=EMPTY)
        await steps.fail(database, claimed["early"], category=TIMEOUT)
        await steps.report(database, Retry(Failure(TIMEOUT, "Slow.")), claimed["waiting"])
        assert (await database.batches.batch_status_view(batch_id)).permanent_failures == 1

    async def test_max_retries_is_the_highest_and_survives_rounds(
        self, database: Database, clock: ManualClock
    ):
        batch_id = await steps.submit(database, "a")
        await steps.fail_until_spent(database, clock, batch_id)
        await database.batches.retry_failed(batch_id)
        await database.batches.create_processing_records(batch_id, builders.items("b", "c"))
        assert (await database.batches.batch_status_view(batch_id)).max_retries == 4
        await steps.complete(database, *await steps.claim(database))
        assert (await database.batches.batch_status_view(batch_id)).max_retries == 4

    async def test_newest_ten_distinct_messages_are_shown_newest_first(
        self, database: Database, clock: ManualClock
    ):
        batch_id = await steps.submit(database, *(f"i{n:02}" for n in range(15)))
        for number, record in enumerate(await steps.claim(database)):
            clock.advance(1)
            message = "Again." if number in {0, 14} else f"Сбой {number}."
            await steps.fail(database, record, message=message)
        view = await database.batches.batch_status_view(batch_id)
        newest = ["Again.", *(f"Сбой {number}." for number in range(13, 4, -1))]
        assert view.error_messages.split("\n") == newest
        assert view.latest_error_at == clock.now()

    async def test_messages_of_one_moment_are_in_order_of_their_text(self, database: Database):
        messages = ["d", "b", "ы", "c", "a", "b"]
        batch_id = await steps.submit(database, *(f"i{n}" for n in range(len(messages))))
        outcomes = [Failed(Failure(TIMEOUT, message)) for message in messages]
        claimed = await steps.claim(database)
        reports = [Report(record, outcome) for record, outcome in zip(claimed, outcomes, strict=True)]
        assert list(await database.batches.update_processing_status(reports)) == []
        view = await database.batches.batch_status_view(batch_id)
        assert view.error_messages.split("\n") == ["a", "b", "c", "d", "ы"]

    async def test_each_message_is_one_line_of_at_most_500_characters(
        self, database: Database, clock: ManualClock
    ):
        batch_id = await steps.submit(database, "a", "b", "c")
        for record, message in zip(
            await steps.claim(database), ["ю" * 500, "ы" * 501, "two\nlines\tor  more"], strict=True
        ):
            clock.advance(1)
            await steps.fail(database, record, message=message)
        view = await database.batches.batch_status_view(batch_id)
        assert view.error_messages.split("\n") == ["two lines or more", "ы" * 500, "ю" * 500]

    async def test_top_error_types_are_the_five_most_frequent_in_a_fixed_order(self, database: Database):
        counts = {
            (TIMEOUT, "Slow."): 3,
            (CRASHED, "b"): 2,
            (CRASHED, "a"): 2,
            (EMPTY, "a"): 2,
            (CRASHED, "Я"): 2,
            (INTERNAL, "rare"): 1,
            (CRASHED, "rare"): 1,
        }
        failures = [failure for failure, count in counts.items() for _ in range(count)]
        batch_id = await steps.submit(database, *(f"i{n:02}" for n in range(len(failures))))
        for record, (category, message) in zip(await steps.claim(database), failures, strict=True):
            await steps.fail(database, record, category=category, message=message)
        view = await database.batches.batch_status_view(batch_id)
        assert list(view.top_error_types) == [
            ErrorType("timeout", "Slow.", 3),
            ErrorType("crashed", "a", 2),
            ErrorType("crashed", "b", 2),
            ErrorType("crashed", "Я", 2),
            ErrorType("empty", "a", 2),
        ]

    async def test_errors_that_were_overcome_are_not_shown(self, database: Database, clock: ManualClock):
        batch_id = await steps.submit(database, "a", "b")
        first, second = await steps.claim(database)
        await steps.report(database, Retry(Failure(TIMEOUT, "Slow.")), first)
        await steps.fail(database, second, category=CRASHED, message="Crashed.")
        clock.advance(hours=1)
        await steps.complete(database, await steps.claim_one(database))
        await database.batches.retry_failed(batch_id)
        view = await database.batches.batch_status_view(batch_id)
        assert (view.error_messages, view.latest_error_at, view.top_error_types) == ("", None, ())

    async def test_hours_run_until_the_batch_has_ended(self, database: Database, clock: ManualClock):
        batch_id = await steps.submit(database, "a", "b", seal=True)
        clock.advance(hours=1)
        first, second = await steps.claim(database)
        clock.advance(hours=1.5)
        await steps.complete(database, first, second)
        clock.advance(hours=1)
        running = await database.batches.batch_status_view(batch_id)
        assert (running.processing_hours, running.batch_completed_at) == (2.5, None)
        await database.batches.end_batches()
        ended = await database.batches.batch_status_view(batch_id)
        assert ended.processing_hours == 1.5
        assert ended.batch_completed_at == clock.now() - timedelta(hours=1)

    async def test_computed_status_of_an_unsealed_batch(self, database: Database):
        empty = await steps.submit(database)
        assert await _computed(database, empty) is BatchStatus.PROCESSING
        batch_id = await steps.submit(database, "a", "b")
        assert await _computed(database, batch_id) is BatchStatus.QUEUED
        first, second = await steps.claim(database)
        assert await _computed(database, batch_id) is BatchStatus.PROCESSING
        await database.batches.release_records([first, second])
        assert await _computed(database, batch_id) is BatchStatus.PROCESSING
        await steps.complete(database, *await steps.claim(database))
        assert await _computed(database, batch_id) is BatchStatus.PROCESSING

    async def test_computed_status_of_a_sealed_batch(self, database: Database):
        empty = await steps.submit(database, seal=True)
        assert await _computed(database, empty) is BatchStatus.COMPLETED
        batch_id = await steps.submit(database, "a", "b", "c", seal=True)
        assert await _computed(database, batch_id) is BatchStatus.QUEUED
        first, second, third = await steps.claim(database)
        await steps.complete(database, first)
        assert await _computed(database, batch_id) is BatchStatus.PROCESSING
        await steps.fail(database, second)
        await steps.fail(database, third, category=TIMEOUT)
        assert await _computed(database, batch_id) is BatchStatus.COMPLETED_WITH_ERRORS
        await database.batches.retry_failed(batch_id)
        assert await _computed(database, batch_id) is BatchStatus.PROCESSING
        await database.batches.cancel_batch(batch_id)
        assert await _computed(database, batch_id) is BatchStatus.CANCELLED

    async def test_view_of_an_unknown_batch_is_refused(self, database: Database):
        with pytest.raises(BatchNotFoundError):
            await database.batches.batch_status_view(uuid4())


def _view(**columns: object) -> BatchStatusView:
    """The view of a batch to which nothing has happened yet, with the columns given."""
    defaults: dict[str, object] = {
        "batch_status": BatchStatus.QUEUED,
        "completed_count": 0,
        "failed_count": 0,
        "in_progress_count": 0,
        "queued_count": 0,
        "permanent_failures": 0,
        "max_retries": 0,
        "error_messages": "",
        "latest_error_at": None,
        "batch_started_at": None,
        "batch_completed_at": None,
        "processing_hours": None,
        "error_rate_percentage": 0.0,
        "top_error_types": (),
        "cancelled_count": 0,
    }
    return BatchStatusView(**(defaults | columns))  # type: ignore[arg-type]


async def _computed(database: Database, batch_id: UUID) -> BatchStatus:
    return (await database.batches.batch_status_view(batch_id)).computed_status
