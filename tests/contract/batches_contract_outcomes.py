"""Outcomes: applied once, to the claim they belong to; late ones are refused and change nothing."""

from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest

from gristmill.domain.failures import Failure, FailureCategory
from gristmill.domain.moves import IllegalMoveError
from gristmill.domain.record import (
    DONE,
    EXTRACTING,
    QUEUED,
    Done,
    Failed,
    Outcome,
    RecordStatus,
    Report,
    Result,
    Retry,
    Snooze,
)
from gristmill.domain.retry import RetryPolicy
from gristmill.domain.versions import Ending, Step
from gristmill.ports.database import Database
from tests.contract import batches_contract_steps as steps
from tests.support import builders
from tests.support.clocks import ManualClock

TIMEOUT = Failure(FailureCategory.TIMEOUT, "Слишком долго: 60 s.")
RESULT = Result(
    document_id=uuid4(),
    version="v" * 64,
    chunks=17,
    reused=True,
    superseded=True,
    warnings=("Page 3 has no text.", "Страница 4 пуста."),
    details={"matched": {"гайка": 2}, "list": [1, 2.5, None]},
)


class OutcomesContract:
    async def test_done_completes_the_record_and_keeps_its_result(
        self, database: Database, clock: ManualClock
    ):
        batch_id = await steps.submit(database, "a")
        claimed = await steps.claim_one(database)
        started_at = clock.now()
        clock.advance(7)
        await steps.report(database, Done(RESULT), claimed)
        record = await steps.get(database, batch_id, "a")
        assert (record.status, record.stage, record.progress) == (RecordStatus.COMPLETED, DONE, 100)
        assert record.result == RESULT
        assert (record.started_at, record.ended_at) == (started_at, clock.now())
        assert record.version.ending is Ending.COMPLETED
        assert record.version > claimed.version
        assert (await steps.counters(database, batch_id)).completed == 1

    async def test_failed_fails_the_record_with_its_error_and_stage(
        self, database: Database, clock: ManualClock
    ):
        batch_id = await steps.submit(database, "a")
        claimed = await steps.claim(database)
        await database.batches.record_stages(claimed, stage=EXTRACTING, progress=30)
        clock.advance(7)
        await steps.report(database, Failed(TIMEOUT), claimed[0])
        record = await steps.get(database, batch_id, "a")
        assert (record.status, record.stage, record.attempts) == (RecordStatus.FAILED, EXTRACTING, 1)
        assert (record.error, record.last_error_at, record.ended_at) == (TIMEOUT, clock.now(), clock.now())
        assert record.version.ending is Ending.FAILED
        assert (await steps.counters(database, batch_id)).failed == 1

    async def test_retry_waits_as_the_policy_says(self, database: Database, clock: ManualClock):
        batch_id = await steps.submit(database, "a")
        for attempt in range(1, steps.MAX_ATTEMPTS):
            claimed = await steps.claim_one(database)
            assert claimed.attempts == attempt
            await steps.report(database, Retry(TIMEOUT), claimed)
            record = await steps.get(database, batch_id, "a")
            pause = RetryPolicy().delay_seconds(attempt, seed=str(record.record_id))
            assert record.next_attempt_at == clock.now() + timedelta(seconds=pause)
            assert (record.status, record.stage) == (RecordStatus.PENDING, QUEUED)
            assert (record.attempts, record.retries_total) == (attempt, attempt)
            assert (record.error, record.last_error_at) == (TIMEOUT, clock.now())
            assert record.version.step is Step.PENDING
            assert (await steps.counters(database, batch_id)).pending == 1
            assert await steps.claim(database) == []
            clock.advance(pause + 0.000_001)

    async def test_attempts_end_at_the_cap(self, database: Database, clock: ManualClock):
        batch_id = await steps.submit(database, "a")
        record = await steps.fail_until_spent(database, clock, batch_id, "Crashed again.")
        assert (record.status, record.attempts, record.retries_total) == (RecordStatus.FAILED, 4, 3)
        assert record.error == Failure(FailureCategory.CRASHED, "Crashed again.")
        clock.advance(days=9)
        assert await steps.claim(database) == []

    async def test_retry_of_a_permanent_category_fails_at_once(self, database: Database):
        batch_id = await steps.submit(database, "a")
        encrypted = Failure(FailureCategory.ENCRYPTED, "The PDF wants a password.")
        await steps.report(database, Retry(encrypted), await steps.claim_one(database))
        record = await steps.get(database, batch_id, "a")
        assert (record.status, record.attempts) == (RecordStatus.FAILED, 1)

    @pytest.mark.parametrize("outcome", [Snooze(45, TIMEOUT), Snooze(45)])
    async def test_snooze_costs_no_attempt(self, database: Database, clock: ManualClock, outcome: Snooze):
        batch_id = await steps.submit(database, "a")
        for _ in range(steps.MAX_ATTEMPTS + 2):
            claimed = await steps.claim_one(database)
            assert claimed.attempts == 1
            await steps.report(database, outcome, claimed)
            record = await steps.get(database, batch_id, "a")
            assert (record.status, record.attempts, record.retries_total) == (RecordStatus.PENDING, 0, 0)
            assert record.next_attempt_at == clock.now() + timedelta(seconds=45)
            assert record.error == outcome.failure
            clock.advance(45)

    async def test_retry_for_a_fault_of_others_snoozes(self, database: Database, clock: ManualClock):
        batch_id = await steps.submit(database, "a")
        full = Failure(FailureCategory.PROVIDER_QUOTA, "The quota of key 'default' is used up.")
        await steps.report(database, Retry(full), await steps.claim_one(database))
        record = await steps.get(database, batch_id, "a")
        assert (record.status, record.attempts, record.error) == (RecordStatus.PENDING, 0, full)
        assert record.next_attempt_at == clock.now() + timedelta(seconds=RetryPolicy().snooze_seconds)

    async def test_completion_after_a_failed_attempt_leaves_no_error(
        self, database: Database, clock: ManualClock
    ):
        batch_id = await steps.submit(database, "a")
        first_start = clock.now()
        await steps.report(database, Retry(TIMEOUT), await steps.claim_one(database))
        clock.advance(hours=1)
        await steps.complete(database, await steps.claim_one(database))
        record = await steps.get(database, batch_id, "a")
        assert (record.error, record.last_error_at, record.retries_total) == (None, None, 1)
        assert record.started_at == first_start

    async def test_many_outcomes_in_one_call_each_meet_their_record(
        self, database: Database, clock: ManualClock
    ):
        batch_id = await steps.submit(database)
        await database.batches.create_processing_records(batch_id, builders.numbered(200))
        claimed = await steps.claim(database)
        outcomes = [Done(RESULT), Failed(TIMEOUT), Retry(TIMEOUT), Snooze(10)]
        reports = [Report(record, outcomes[n % 4]) for n, record in enumerate(claimed)]
        assert list(await database.batches.update_processing_status(reports)) == []
        expected = ["completed", "failed", "pending", "pending"]
        assert await steps.statuses(database, batch_id) == {
            record.item_id: expected[n % 4] for n, record in enumerate(claimed)
        }
        counters = await steps.counters(database, batch_id)
        assert (counters.completed, counters.failed, counters.pending) == (50, 50, 100)

    async def test_no_reports_change_nothing(self, database: Database):
        assert list(await database.batches.update_processing_status([])) == []

    @pytest.mark.parametrize("outcome", [Done(RESULT), Failed(TIMEOUT), Retry(TIMEOUT), Snooze(10)])
    async def test_same_report_twice_is_refused_the_second_time(self, database: Database, outcome: object):
        batch_id = await steps.submit(database, "a")
        report = Report(await steps.claim_one(database), outcome)
        assert list(await database.batches.update_processing_status([report])) == []
        before = await steps.get(database, batch_id, "a")
        (refusal,) = await database.batches.update_processing_status([report])
        assert (refusal.report, refusal.met) == (report, before)
        assert await steps.get(database, batch_id, "a") == before
        await steps.check_all(database)

    async def test_same_report_twice_in_one_call_is_refused_the_second_time(self, database: Database):
        batch_id = await steps.submit(database, "a")
        claimed = await steps.claim_one(database)
        first, second = Report(claimed, Done(RESULT)), Report(claimed, Failed(TIMEOUT))
        (refusal,) = await database.batches.update_processing_status([first, second])
        stored = await steps.get(database, batch_id, "a")
        assert (refusal.report, refusal.met, stored.status) == (second, stored, RecordStatus.COMPLETED)
        assert (await steps.counters(database, batch_id)).completed == 1

    async def test_late_outcome_of_a_lost_claim_is_refused_and_the_row_stays(
        self, database: Database, clock: ManualClock
    ):
        batch_id = await steps.submit(database, "a")
        lost = await steps.claim_one(database, worker="w1")
        await database.batches.release_records([lost])
        held = await steps.claim_one(database, worker="w2")
        assert held.claim != lost.claim
        clock.advance(5)
        for outcome in [Done(RESULT), Failed(TIMEOUT), Retry(TIMEOUT), Snooze(1)]:
            (refusal,) = await database.batches.update_processing_status([Report(lost, outcome)])
            assert refusal.met == held == await steps.get(database, batch_id, "a")
        await steps.complete(database, held)

    async def test_other_claim_of_the_same_epoch_is_refused(self, database: Database):
        batch_id = await steps.submit(database, "a")
        held = await steps.claim_one(database)
        older = replace(held.version, revision=held.version.revision - 1, write_id="elsewhere:1")
        forged = replace(held, claim_id="another claim", version=older)
        (refusal,) = await database.batches.update_processing_status([Report(forged, Done())])
        assert refusal.met == held == await steps.get(database, batch_id, "a")

    async def test_late_failure_never_undoes_a_completion(self, database: Database):
        batch_id = await steps.submit(database, "a")
        lost = await steps.claim_one(database)
        await database.batches.release_records([lost])
        await steps.complete(database, await steps.claim_one(database, worker="w2"))
        before = await steps.get(database, batch_id, "a")
        (refusal,) = await database.batches.update_processing_status([Report(lost, Failed(TIMEOUT))])
        assert refusal.met == before == await steps.get(database, batch_id, "a")

    async def test_refusals_come_in_the_order_given_and_the_others_apply(self, database: Database):
        batch_id = await steps.submit(database, "a", "b", "c", "d", "e")
        claimed = {record.item_id: record for record in await steps.claim(database)}
        await database.batches.release_records([claimed["d"], claimed["b"]])
        reports = [Report(claimed[item_id], Done()) for item_id in "edcba"]
        refusals = await database.batches.update_processing_status(reports)
        assert [refusal.report for refusal in refusals] == [reports[1], reports[3]]
        assert await steps.statuses(database, batch_id) == {
            "a": "completed",
            "b": "pending",
            "c": "completed",
            "d": "pending",
            "e": "completed",
        }
        await steps.check_all(database)

    async def test_outcome_of_a_claim_meets_the_row_that_showed_stages_since(self, database: Database):
        batch_id = await steps.submit(database, "a")
        claimed = await steps.claim_one(database)
        (shown,) = await database.batches.record_stages([claimed], stage=EXTRACTING, progress=9)
        await steps.complete(database, claimed)
        record = await steps.get(database, batch_id, "a")
        assert record.status is RecordStatus.COMPLETED
        assert record.version > shown.version

    async def test_outcome_of_an_unknown_record_is_inserted(self, database: Database, clock: ManualClock):
        batch_id = await steps.submit(database, "a")
        unknown = steps.claimed_elsewhere(batch_id, "b")
        await steps.report(database, Done(RESULT), unknown)
        record = await steps.get(database, batch_id, "b")
        assert (record.status, record.result) == (RecordStatus.COMPLETED, RESULT)
        assert (record.payload, record.created_at) == (unknown.payload, unknown.created_at)
        counters = await steps.counters(database, batch_id)
        assert (counters.completed, counters.pending) == (1, 1)

    async def test_outcome_of_an_unknown_record_of_an_unknown_batch_is_refused(self, database: Database):
        batch_id = await steps.submit(database, "a")
        report = Report(steps.claimed_elsewhere(uuid4(), "b"), Done())
        known = Report(await steps.claim_one(database), Done())
        (refusal,) = await database.batches.update_processing_status([report, known])
        assert (refusal.report, refusal.met) == (report, None)
        assert await database.batches.get_batch(report.record.batch_id) is None
        assert await steps.statuses(database, batch_id) == {"a": "completed"}

    @pytest.mark.parametrize(
        ("outcome", "status"), [(Failed(TIMEOUT), RecordStatus.FAILED), (Done(), RecordStatus.COMPLETED)]
    )
    async def test_outcome_of_a_newer_claim_replaces_an_older_row(
        self, database: Database, outcome: Outcome, status: RecordStatus
    ):
        batch_id = await steps.submit(database, "a")
        held = await steps.claim_one(database)
        newer = replace(
            held,
            claim_id="claim-elsewhere",
            worker="w9",
            attempts=2,
            version=replace(held.version, epoch=2, write_id="elsewhere:2"),
        )
        await steps.report(database, outcome, newer)
        record = await steps.get(database, batch_id, "a")
        assert (record.status, record.attempts, record.epoch) == (status, 2, 2)
        (refusal,) = await database.batches.update_processing_status([Report(held, Done())])
        assert refusal.met == record
        counters = await steps.counters(database, batch_id)
        assert getattr(counters, status.value) == counters.total == 1

    async def test_outcome_of_an_old_round_is_refused(self, database: Database):
        batch_id = await steps.submit(database, "a")
        old = await steps.claim_one(database)
        await steps.fail(database, old)
        await database.batches.retry_failed(batch_id, permanent=True)
        before = await steps.get(database, batch_id, "a")
        (refusal,) = await database.batches.update_processing_status([Report(old, Done())])
        assert refusal.met == before == await steps.get(database, batch_id, "a")

    async def test_report_of_a_record_that_is_not_claimed_is_our_mistake_and_applies_nothing(
        self, database: Database
    ):
        batch_id = await steps.submit(database, "a", "b")
        claimed = await steps.claim_one(database)
        (pending,) = await steps.records_of(database, batch_id, status=RecordStatus.PENDING)
        with pytest.raises(IllegalMoveError):
            await database.batches.update_processing_status(
                [Report(claimed, Done()), Report(pending, Done())]
            )
        assert await steps.get(database, batch_id, claimed.item_id) == claimed
        await steps.check_all(database)
