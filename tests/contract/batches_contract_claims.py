"""Claims: in order, only what is due, and never the same record to two claimers."""

import asyncio
from datetime import timedelta
from uuid import uuid4

from gristmill.domain.batch import BatchStatus
from gristmill.domain.failures import Failure, FailureCategory
from gristmill.domain.record import QUEUED, RecordStatus, Report, Retry, Snooze, claim_order
from gristmill.domain.versions import Ending, Step
from gristmill.ports.database import Database
from tests.contract import batches_contract_steps as steps
from tests.support import builders
from tests.support.clocks import ManualClock


class ClaimsContract:
    async def test_claimed_record_is_held_by_its_worker(self, database: Database, clock: ManualClock):
        batch_id = await steps.submit(database, "a")
        pending = await steps.get(database, batch_id, "a")
        clock.advance(5)
        claimed = await steps.claim_one(database, worker="w1")
        assert claimed.status is RecordStatus.PROCESSING
        assert (claimed.worker, claimed.attempts, claimed.stage) == ("w1", 1, QUEUED)
        assert (claimed.started_at, claimed.updated_at) == (clock.now(), clock.now())
        assert claimed.claim == (0, 1, claimed.claim_id)
        assert (claimed.version.ending, claimed.version.step) == (Ending.OPEN, Step.PROCESSING)
        assert claimed.version > pending.version
        assert claimed.version.write_id != pending.version.write_id
        assert await steps.get(database, batch_id, "a") == claimed

    async def test_claimed_record_is_not_claimed_again(self, database: Database):
        await steps.submit(database, "a")
        await steps.claim_one(database)
        assert await steps.claim(database) == []
        assert await steps.claim(database, worker="w2") == []

    async def test_claims_of_a_call_share_one_id_that_no_other_call_has(self, database: Database):
        await steps.submit(database, "a", "b", "c", "d")
        first, second = await steps.claim(database, 2), await steps.claim(database, 2)
        claim_ids = {record.claim_id for record in first}, {record.claim_id for record in second}
        assert [len(each) for each in claim_ids] == [1, 1]
        assert claim_ids[0] != claim_ids[1]

    async def test_limit_is_kept_and_the_rest_stays_pending(self, database: Database):
        batch_id = await steps.submit(database, "a", "b", "c", "d", "e")
        assert len(await steps.claim(database, 3)) == 3
        counters = await steps.counters(database, batch_id)
        assert (counters.processing, counters.pending) == (3, 2)
        assert len(await steps.claim(database, 3)) == 2
        assert await steps.claim(database, 3) == []

    async def test_nothing_there_claims_nothing(self, database: Database):
        assert await steps.claim(database) == []
        assert await database.batches.next_due() is None

    async def test_older_records_come_first(self, database: Database, clock: ManualClock):
        for name in ["first", "second", "third"]:
            await steps.submit(database, f"{name}-1", f"{name}-2")
            clock.advance(0.000_001)
        claimed = await steps.claim(database)
        assert [item_id.split("-")[0] for item_id in steps.ids(claimed)] == (
            ["first"] * 2 + ["second"] * 2 + ["third"] * 2
        )

    async def test_records_of_one_age_come_by_record_id(self, database: Database):
        batch_id = await steps.submit(database, *(f"i{number}" for number in range(40)))
        stored = await steps.records_of(database, batch_id)
        claimed = [*await steps.claim(database, 15), *await steps.claim(database, 25)]
        assert [r.record_id for r in claimed] == sorted(r.record_id for r in stored)

    async def test_claim_order_holds_across_batches_ages_and_priorities(
        self, database: Database, clock: ManualClock
    ):
        batches = []
        for priority in [0, 3, -2, 1, 0, 3]:
            batches.append(await steps.submit(database, "a", "b", "c", priority=priority))
            clock.advance(minutes=4)
        stored = [record for each in batches for record in await steps.records_of(database, each)]
        claimed = [record for _ in range(6) for record in await steps.claim(database, 3)]
        expected = sorted(stored, key=claim_order)
        assert [r.record_id for r in claimed] == [r.record_id for r in expected]

    async def test_urgent_work_overtakes_but_starves_nothing(self, database: Database, clock: ManualClock):
        await steps.submit(database, "old and plain")
        clock.advance(minutes=9)
        await steps.submit(database, "urgent", priority=1)
        clock.advance(minutes=2)
        await steps.submit(database, "urgent but late", priority=1)
        claimed = [steps.ids(await steps.claim(database, 1)) for _ in range(3)]
        assert claimed == [["urgent"], ["old and plain"], ["urgent but late"]]

    async def test_age_counts_from_creation_also_after_a_retry(self, database: Database, clock: ManualClock):
        await steps.submit(database, "old")
        old = await steps.claim_one(database)
        await steps.report(database, Snooze(60), old)
        clock.advance(61)
        await steps.submit(database, "new")
        assert steps.ids(await steps.claim(database)) == ["old", "new"]

    async def test_record_is_claimed_only_when_due(self, database: Database, clock: ManualClock):
        batch_id = await steps.submit(database, "a")
        await steps.report(database, Snooze(30), await steps.claim_one(database))
        due = (await steps.get(database, batch_id, "a")).next_attempt_at
        assert due == clock.now() + timedelta(seconds=30)
        clock.advance(29.999_999)
        assert await steps.claim(database) == []
        clock.advance(0.000_001)
        assert steps.ids(await steps.claim(database)) == ["a"]

    async def test_records_that_wait_do_not_use_up_the_limit(self, database: Database, clock: ManualClock):
        await steps.submit(database, "waits-1", "waits-2", "waits-3", priority=9)
        await steps.report(database, Snooze(600), *await steps.claim(database))
        await steps.submit(database, "ready")
        assert steps.ids(await steps.claim(database, 1)) == ["ready"]

    async def test_only_the_kinds_asked_for_are_claimed(self, database: Database):
        batch_id = await steps.submit(database)
        for kind in ["documents", "prices", "materials"]:
            items = builders.items(f"{kind}-1", f"{kind}-2", kind=kind)
            await database.batches.create_processing_records(batch_id, items)
        assert await steps.claim(database, kinds=["photos"]) == []
        assert await steps.claim(database, kinds=[]) == []
        prices = await steps.claim(database, kinds={"prices"})
        assert sorted(steps.ids(prices)) == ["prices-1", "prices-2"]
        rest = await steps.claim(database, kinds=("documents", "materials"))
        assert sorted(steps.ids(rest)) == ["documents-1", "documents-2", "materials-1", "materials-2"]

    async def test_only_the_batch_asked_for_is_claimed(self, database: Database):
        one, two = await steps.submit(database, "a", "b"), await steps.submit(database, "a", "b")
        claimed = await steps.claim(database, batch_id=two)
        assert {record.batch_id for record in claimed} == {two}
        assert len(claimed) == 2
        assert (await steps.counters(database, one)).pending == 2
        assert await steps.claim(database, batch_id=uuid4()) == []

    async def test_first_claim_starts_the_batch_and_no_other(self, database: Database, clock: ManualClock):
        batch_id, other = await steps.submit(database, "a", "b"), await steps.submit(database, "a")
        clock.advance(10)
        started_at = clock.now()
        await steps.claim_one(database, batch_id=batch_id)
        clock.advance(10)
        await steps.claim_one(database, batch_id=batch_id)
        started = await database.batches.get_batch(batch_id)
        waiting = await database.batches.get_batch(other)
        assert started is not None
        assert waiting is not None
        assert (started.status, started.started_at) == (BatchStatus.PROCESSING, started_at)
        assert (waiting.status, waiting.started_at) == (BatchStatus.QUEUED, None)

    async def test_unsealed_batch_is_claimed_while_it_streams_in(self, database: Database):
        batch_id = await steps.submit(database, "a")
        assert steps.ids(await steps.claim(database)) == ["a"]
        await database.batches.create_processing_records(batch_id, builders.items("b"))
        assert steps.ids(await steps.claim(database)) == ["b"]

    async def test_ended_records_are_never_claimed(self, database: Database, clock: ManualClock):
        batch_id = await steps.submit(database, "done", "failed", "cancelled", seal=True)
        first, second, _ = await steps.claim(database)
        await steps.complete(database, first)
        await steps.fail(database, second)
        await database.batches.cancel_batch(batch_id)
        clock.advance(days=30)
        assert await steps.claim(database) == []
        await database.batches.end_batches()
        assert await steps.claim(database) == []

    async def test_records_that_come_back_into_a_stopped_batch_are_not_claimed(
        self, database: Database, clock: ManualClock
    ):
        stopped = await steps.submit(database, "a")
        ended = await steps.submit(database, seal=True)
        await database.batches.cancel_batch(stopped)
        await database.batches.end_batches([ended])
        for batch_id in [stopped, ended]:
            late = steps.claimed_elsewhere(batch_id, "late")
            reports = [Report(late, Retry(Failure(FailureCategory.TIMEOUT, "Slow.")))]
            assert list(await database.batches.update_processing_status(reports)) == []
            assert (await steps.statuses(database, batch_id))["late"] == "pending"
        clock.advance(days=1)
        assert await steps.claim(database) == []

    async def test_concurrent_claimers_never_get_the_same_record(self, database: Database):
        batch_id = await steps.submit(database)
        await database.batches.create_processing_records(batch_id, builders.numbered(300))
        claims = await asyncio.gather(
            *(database.batches.claim_records(f"w{n % 7}", limit=11) for n in range(40))
        )
        claimed = [record.item_id for claim in claims for record in claim]
        assert sorted(claimed) == steps.ids(builders.numbered(300))
        held = {(r.item_id, r.claim_id, r.worker) for r in await steps.records_of(database, batch_id)}
        assert held == {(r.item_id, r.claim_id, r.worker) for claim in claims for r in claim}
        assert (await steps.counters(database, batch_id)).processing == 300

    async def test_claims_reports_and_submission_at_the_same_time_lose_nothing(self, database: Database):
        batch_id = await steps.submit(database)

        async def submit() -> None:
            for start in range(0, 120, 20):
                items = builders.numbered(20, start=start)
                await database.batches.create_processing_records(batch_id, items)

        async def work(worker: str) -> list[str]:
            done = []
            while len(done) < 200:
                claimed = await steps.claim(database, 7, worker=worker)
                await steps.complete(database, *claimed)
                done += steps.ids(claimed)
                await asyncio.sleep(0)
                progress = await database.batches.get_processing_progress(batch_id)
                if not claimed and progress.counters.ended == 120:
                    break
            return done

        _, *done = await asyncio.gather(submit(), *(work(f"w{n}") for n in range(4)))
        assert sorted(item_id for each in done for item_id in each) == steps.ids(builders.numbered(120))
        assert (await steps.counters(database, batch_id)).completed == 120

    async def test_next_due_is_the_earliest_pending_record(self, database: Database, clock: ManualClock):
        batch_id = await steps.submit(database, "a", "b")
        assert await database.batches.next_due() == clock.now()
        first, second = await steps.claim(database)
        assert await database.batches.next_due() is None
        await steps.report(database, Snooze(90), first)
        await steps.report(database, Snooze(40), second)
        assert await database.batches.next_due() == clock.now() + timedelta(seconds=40)
        assert await database.batches.next_due(batch_id=batch_id) == clock.now() + timedelta(seconds=40)

    async def test_next_due_keeps_to_kinds_and_batch(self, database: Database, clock: ManualClock):
        documents = await steps.submit(database, "a")
        first = clock.now()
        second = clock.advance(10)
        prices = await steps.submit(database, "b", kind="prices")
        assert await database.batches.next_due() == first
        assert await database.batches.next_due(kinds=["prices"]) == second
        assert await database.batches.next_due(batch_id=prices) == second
        assert await database.batches.next_due(kinds=["prices"], batch_id=documents) is None
        assert await database.batches.next_due(kinds=["photos"]) is None
