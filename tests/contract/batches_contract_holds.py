"""Holds: one cause that is not the items' own stops their batch, and lets it go on when it is gone."""

from datetime import timedelta
from uuid import UUID

import pytest

from gristmill.domain.failures import Failure, FailureCategory
from gristmill.domain.hold import HOLD_AFTER, NOT_HELD, Hold
from gristmill.domain.record import Done, Failed, Outcome, Report, Result, Retry, Snooze
from gristmill.ports.database import Database
from tests.contract import batches_contract_steps as steps
from tests.support import builders
from tests.support.clocks import ManualClock

PAUSE = timedelta(seconds=30)
DOWN = Failure(FailureCategory.PROVIDER_TRANSIENT, "The embedder does not answer. Start it.")
WAITS = Snooze(1.0, DOWN)


async def hold_of(database: Database, batch_id: UUID) -> Hold:
    batch = await database.batches.get_batch(batch_id)
    assert batch is not None
    return batch.hold


async def held_batch(database: Database, *, items: int = HOLD_AFTER + 5) -> UUID:
    """A batch in which HOLD_AFTER records came back for one cause; the others wait."""
    batch_id = await steps.submit(database, *(f"i{number:02}" for number in range(items)))
    await steps.report(database, WAITS, *await steps.claim(database, HOLD_AFTER, batch_id=batch_id))
    return batch_id


class HoldsContract:
    @pytest.mark.parametrize(
        ("outcome", "is_common"),
        [
            (WAITS, True),
            (Retry(DOWN), True),
            (Failed(Failure(FailureCategory.PROVIDER_CONTRACT, "Wrong count.")), True),
            (Retry(Failure(FailureCategory.STORE_UNAVAILABLE, "Gone.")), True),
            (Snooze(1.0, Failure(FailureCategory.INTERNAL, "No process.")), True),
            (Snooze(1.0), False),
            (Retry(Failure(FailureCategory.CRASHED, "It crashed.")), False),
            (Failed(Failure(FailureCategory.PROVIDER_INPUT, "Too long.")), False),
            (Failed(Failure(FailureCategory.EMPTY, "Empty.")), False),
        ],
    )
    async def test_twenty_records_in_a_row_of_one_common_cause_hold_their_batch(
        self, database: Database, clock: ManualClock, outcome: Outcome, *, is_common: bool
    ):
        batch_id = await steps.submit(database, *(f"i{number:02}" for number in range(HOLD_AFTER)))
        claimed = await steps.claim(database)
        await steps.report(database, outcome, *claimed[:-1])
        assert not (await hold_of(database, batch_id)).held
        clock.advance(2)
        await steps.report(database, outcome, claimed[-1])
        hold = await hold_of(database, batch_id)
        assert hold.held is is_common
        if is_common:
            assert (hold.since, hold.until, hold.streak) == (clock.now(), clock.now() + PAUSE, HOLD_AFTER)

    async def test_hold_is_of_one_batch_and_says_why(self, database: Database):
        batch_id = await held_batch(database)
        other = await steps.submit(database, "other")
        hold = await hold_of(database, batch_id)
        assert (hold.reason, hold.cause) == (DOWN.message, DOWN.category)
        assert await hold_of(database, other) == NOT_HELD

    async def test_item_that_gets_through_breaks_the_row(self, database: Database):
        batch_id = await steps.submit(database, *(f"i{number:02}" for number in range(HOLD_AFTER + 1)))
        claimed = await steps.claim(database)
        outcomes = [WAITS] * 10 + [Done()] + [WAITS] * 10
        reports = [Report(record, outcome) for record, outcome in zip(claimed, outcomes, strict=True)]
        assert list(await database.batches.update_processing_status(reports)) == []
        hold = await hold_of(database, batch_id)
        assert (hold.streak, hold.held) == (10, False)

    async def test_another_cause_begins_another_row(self, database: Database):
        batch_id = await steps.submit(database, *(f"i{number:02}" for number in range(HOLD_AFTER)))
        claimed = await steps.claim(database)
        await steps.report(database, WAITS, *claimed[:-1])
        await steps.report(database, Retry(Failure(FailureCategory.PROVIDER_RATE, "Slow down.")), claimed[-1])
        hold = await hold_of(database, batch_id)
        assert (hold.streak, hold.cause) == (1, FailureCategory.PROVIDER_RATE)

    async def test_item_that_was_stored_already_and_one_that_is_bad_break_no_row(self, database: Database):
        batch_id = await steps.submit(database, *(f"i{number:02}" for number in range(HOLD_AFTER + 2)))
        claimed = await steps.claim(database)
        await steps.report(database, WAITS, *claimed[:10])
        await steps.report(database, Done(Result(reused=True)), claimed[10])
        await steps.fail(database, claimed[11])
        await steps.report(database, WAITS, *claimed[12:])
        assert (await hold_of(database, batch_id)).held

    async def test_refused_outcome_counts_for_nothing(self, database: Database):
        batch_id = await steps.submit(database, "a")
        (record,) = await steps.claim(database)
        await steps.report(database, WAITS, record)
        await database.batches.update_processing_status([Report(record, WAITS)] * 30)
        assert (await hold_of(database, batch_id)).streak == 1

    async def test_held_batch_is_not_claimed_until_its_probe(self, database: Database, clock: ManualClock):
        batch_id = await held_batch(database)
        clock.advance(PAUSE.total_seconds() - 1)
        assert await steps.claim(database) == []
        assert await steps.claim(database, batch_id=batch_id) == []
        clock.advance(1)
        assert len(await steps.claim(database, 1)) == 1
        assert len(await steps.claim(database, 1, batch_id=batch_id)) == 1

    async def test_others_are_claimed_in_their_order_while_one_is_held(
        self, database: Database, clock: ManualClock
    ):
        first = await steps.submit(database, "first")
        clock.advance(1)
        held = await held_batch(database)
        clock.advance(1)
        second = await steps.submit(database, "second-a", "second-b")
        clock.advance(1)
        await steps.submit(database, "third", "third-b", kind="prices")
        clock.advance(1)
        urgent = await steps.submit(database, "urgent", priority=1)
        claimed = await steps.claim(database, 4)
        assert [record.item_id for record in claimed][:2] == ["urgent", "first"]
        assert {record.item_id for record in claimed[2:]} == {"second-a", "second-b"}
        assert {record.batch_id for record in claimed} == {urgent, first, second}
        assert len({record.claim_id for record in claimed}) == 1
        assert len(await steps.claim(database, 9, kinds=["prices", "documents"])) == 2
        assert await steps.claim(database) == []
        assert (await hold_of(database, held)).held

    async def test_next_due_of_a_held_batch_is_its_probe(self, database: Database, clock: ManualClock):
        batch_id = await held_batch(database)
        probe = clock.now() + PAUSE
        assert await database.batches.next_due() == probe
        assert await database.batches.next_due(batch_id=batch_id) == probe
        clock.advance(1)
        await steps.submit(database, "other")
        assert await database.batches.next_due() == clock.now()
        assert await database.batches.next_due(batch_id=batch_id, kinds=["prices"]) is None

    async def test_failing_probe_holds_on_and_a_good_one_lets_go(
        self, database: Database, clock: ManualClock
    ):
        batch_id = await held_batch(database)
        since = (await hold_of(database, batch_id)).since
        clock.advance(PAUSE.total_seconds())
        await steps.report(database, WAITS, *await steps.claim(database, 1))
        hold = await hold_of(database, batch_id)
        assert (hold.since, hold.until) == (since, clock.now() + PAUSE)
        assert await steps.claim(database) == []
        clock.advance(PAUSE.total_seconds())
        await steps.complete(database, *await steps.claim(database, 1))
        assert await hold_of(database, batch_id) == NOT_HELD
        assert len(await steps.claim(database)) == HOLD_AFTER + 4

    async def test_snoozed_records_keep_their_attempts(self, database: Database, clock: ManualClock):
        batch_id = await held_batch(database)
        for _ in range(10):
            clock.advance(PAUSE.total_seconds())
            await steps.report(database, WAITS, *await steps.claim(database, 1))
        records = await steps.records_of(database, batch_id)
        assert {record.attempts for record in records} == {0}

    async def test_cancelling_and_retrying_end_a_hold(self, database: Database):
        batch_id = await held_batch(database)
        await database.batches.cancel_batch(batch_id)
        await database.batches.end_batches([batch_id])
        assert await hold_of(database, batch_id) == NOT_HELD
        other = await steps.submit(database, *(f"i{number:02}" for number in range(HOLD_AFTER + 1)))
        claimed = await steps.claim(database, batch_id=other)
        await steps.report(database, Failed(builders.failure()), claimed[0])
        await steps.report(database, WAITS, *claimed[1:])
        assert (await hold_of(database, other)).held
        assert await database.batches.retry_failed(other) == 1
        assert await hold_of(database, other) == NOT_HELD
