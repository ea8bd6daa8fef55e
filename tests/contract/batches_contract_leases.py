"""Leases: who holds claims, what is given back, and what a worker that is gone is charged for."""

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

from gristmill.domain.failures import FailureCategory
from gristmill.domain.record import EXTRACTING, QUEUED, SUSPECT, SUSPECT_ALONE, Done, RecordStatus, Report
from gristmill.domain.versions import Step
from gristmill.ports.database import Database
from tests.contract import batches_contract_steps as steps
from tests.support import builders
from tests.support.clocks import ManualClock


class LeasesContract:
    async def test_worker_is_kept_as_given(self, database: Database, clock: ManualClock):
        workers = [
            builders.worker("w1", clock.now()),
            builders.worker(
                "w2",
                clock.now(),
                host_id="хост",
                boot_id="b",
                pid=2**22,
                process_started=1.5,
                lease_seconds=2.5,
            ),
        ]
        for worker in workers:
            await database.batches.renew_lease(worker)
        found = await database.batches.list_workers()
        assert sorted(found, key=lambda worker: worker.worker_id) == workers

    async def test_renewing_replaces_the_worker(self, database: Database, clock: ManualClock):
        await database.batches.renew_lease(builders.worker("w1", clock.now()))
        renewed = builders.worker("w1", clock.advance(20), pid=99)
        await database.batches.renew_lease(renewed)
        assert list(await database.batches.list_workers()) == [renewed]

    async def test_unstarted_claims_of_a_gone_worker_give_their_attempt_back(
        self, database: Database, clock: ManualClock
    ):
        batch_id = await steps.submit(database, "a", "b")
        await database.batches.renew_lease(builders.worker("w1", clock.now()))
        claimed = await steps.claim(database)
        renewed_at = clock.now()
        clock.advance(60)
        taken = await database.batches.take_back("w1", renewed_at=renewed_at)
        assert sorted(steps.ids(taken)) == ["a", "b"]
        for record in await steps.records_of(database, batch_id):
            assert record in taken
            assert (record.status, record.attempts, record.retries_total) == (RecordStatus.PENDING, 0, 0)
            assert (record.next_attempt_at, record.error) == (clock.now(), None)
            assert record.version > claimed[0].version
        assert (await steps.counters(database, batch_id)).pending == 2
        assert list(await database.batches.list_workers()) == []

    async def test_what_a_worker_holds_is_listed(self, database: Database, clock: ManualClock):
        await steps.submit(database, "a", "b", "c", "d")
        assert list(await database.batches.list_held("w1")) == []
        claimed = await database.batches.claim_records("w1", limit=2)
        await database.batches.claim_records("w2", limit=1)
        held = await database.batches.list_held("w1")
        assert sorted(held, key=lambda each: each.item_id) == sorted(claimed, key=lambda each: each.item_id)
        await database.batches.update_processing_status([Report(claimed[0], Done())])
        assert list(await database.batches.list_held("w1")) == [claimed[1]]

    async def test_started_claim_of_a_gone_worker_is_charged(self, database: Database, clock: ManualClock):
        batch_id = await steps.submit(database, "a")
        await database.batches.renew_lease(builders.worker("w1", clock.now()))
        await database.batches.record_stages(await steps.claim(database), stage=EXTRACTING, progress=10)
        (taken,) = await database.batches.take_back("w1", renewed_at=clock.now())
        stored = await steps.get(database, batch_id, "a")
        assert stored == taken
        assert (stored.status, stored.attempts, stored.retries_total) == (RecordStatus.PENDING, 1, 1)
        assert stored.error is not None
        assert stored.error.category is FailureCategory.CRASHED
        assert stored.last_error_at == clock.now()
        assert stored.next_attempt_at > clock.now()
        assert await steps.claim(database) == []

    async def test_of_several_begun_by_a_gone_worker_none_is_charged(
        self, database: Database, clock: ManualClock
    ):
        batch_id = await steps.submit(database, "a", "b", "c")
        await database.batches.renew_lease(builders.worker("w1", clock.now()))
        first, second, idle = await steps.claim(database)
        await database.batches.record_stages([first, second], stage=EXTRACTING, progress=10)
        taken = await database.batches.take_back("w1", renewed_at=clock.now())
        assert {record.attempts for record in taken} == {0}
        expected = {first.item_id: SUSPECT_ALONE, second.item_id: SUSPECT_ALONE, idle.item_id: QUEUED}
        assert await _stages(database, batch_id) == expected
        claimed = await steps.claim(database)
        assert {record.item_id: record.stage for record in claimed} == expected
        assert {record.attempts for record in claimed} == {1}
        await database.batches.take_back("w1", renewed_at=clock.now())
        assert await _stages(database, batch_id) == expected

    async def test_of_many_begun_by_a_gone_worker_each_is_a_suspect(
        self, database: Database, clock: ManualClock
    ):
        batch_id = await steps.submit(database, *"abcdefghij")
        await database.batches.record_stages(await steps.claim(database), stage=EXTRACTING, progress=10)
        await database.batches.take_back("w1", renewed_at=clock.now())
        assert set((await _stages(database, batch_id)).values()) == {SUSPECT}

    async def test_only_one_begun_by_a_gone_worker_is_charged_whatever_else_it_held(
        self, database: Database, clock: ManualClock
    ):
        batch_id = await steps.submit(database, "a", "b", "c")
        await database.batches.renew_lease(builders.worker("w1", clock.now()))
        first, *others = await steps.claim(database)
        await database.batches.record_stages([first], stage=EXTRACTING, progress=10)
        await database.batches.take_back("w1", renewed_at=clock.now())
        attempts = {r.item_id: r.attempts for r in await steps.records_of(database, batch_id)}
        assert attempts == {first.item_id: 1} | dict.fromkeys(steps.ids(others), 0)

    async def test_item_that_kills_every_worker_ends_as_crashed(self, database: Database, clock: ManualClock):
        batch_id = await steps.submit(database, "killer", "neighbour")
        (neighbour,) = [r for r in await steps.claim(database, worker="w0") if r.item_id == "neighbour"]
        await steps.complete(database, neighbour)
        await database.batches.take_back("w0", renewed_at=clock.now())
        for attempt in range(steps.MAX_ATTEMPTS):
            clock.advance(hours=1)
            (claimed,) = await steps.claim(database, worker=f"w{attempt}")
            assert claimed.attempts == attempt + 1
            await database.batches.record_stages([claimed], stage=EXTRACTING, progress=0)
            await database.batches.take_back(f"w{attempt}", renewed_at=clock.now())
            await steps.check_all(database)
        record = await steps.get(database, batch_id, "killer")
        assert (record.status, record.attempts, record.retries_total) == (RecordStatus.FAILED, 4, 3)
        assert record.error is not None
        assert record.error.category is FailureCategory.CRASHED
        clock.advance(days=1)
        assert await steps.claim(database) == []

    async def test_worker_that_renewed_meanwhile_keeps_its_claims(
        self, database: Database, clock: ManualClock
    ):
        batch_id = await steps.submit(database, "a")
        seen = clock.now()
        await database.batches.renew_lease(builders.worker("w1", seen))
        claimed = await steps.claim_one(database)
        renewed = builders.worker("w1", clock.advance(0.000_001))
        await database.batches.renew_lease(renewed)
        assert list(await database.batches.take_back("w1", renewed_at=seen)) == []
        assert await steps.get(database, batch_id, "a") == claimed
        assert list(await database.batches.list_workers()) == [renewed]
        taken = await database.batches.take_back("w1", renewed_at=renewed.renewed_at)
        assert steps.ids(taken) == ["a"]

    async def test_only_the_gone_worker_loses_its_claims(self, database: Database, clock: ManualClock):
        batch_id = await steps.submit(database, "a", "b", "c")
        for worker in ["w1", "w10"]:
            await database.batches.renew_lease(builders.worker(worker, clock.now()))
        gone = await steps.claim_one(database, worker="w1")
        alive = await steps.claim_one(database, worker="w10")
        taken = await database.batches.take_back("w1", renewed_at=clock.now())
        assert steps.ids(taken) == [gone.item_id]
        assert await steps.get(database, batch_id, alive.item_id) == alive
        assert [worker.worker_id for worker in await database.batches.list_workers()] == ["w10"]

    async def test_claims_in_every_batch_are_taken_back(self, database: Database, clock: ManualClock):
        batches = [await steps.submit(database, "a") for _ in range(3)]
        await steps.claim(database)
        taken = await database.batches.take_back("w1", renewed_at=clock.now())
        assert {record.batch_id for record in taken} == set(batches)
        for batch_id in batches:
            assert (await steps.counters(database, batch_id)).pending == 1

    async def test_ended_records_of_a_gone_worker_stay_ended(self, database: Database, clock: ManualClock):
        batch_id = await steps.submit(database, "a", "b", "c")
        await database.batches.renew_lease(builders.worker("w1", clock.now()))
        done, bad, held = await steps.claim(database)
        await steps.complete(database, done)
        await steps.fail(database, bad)
        taken = await database.batches.take_back("w1", renewed_at=clock.now())
        assert steps.ids(taken) == [held.item_id]
        counters = await steps.counters(database, batch_id)
        assert (counters.completed, counters.failed, counters.pending) == (1, 1, 1)

    async def test_taking_back_twice_moves_nothing_the_second_time(
        self, database: Database, clock: ManualClock
    ):
        batch_id = await steps.submit(database, "a")
        await database.batches.renew_lease(builders.worker("w1", clock.now()))
        await steps.claim(database)
        await database.batches.take_back("w1", renewed_at=clock.now())
        before = await steps.get(database, batch_id, "a")
        assert list(await database.batches.take_back("w1", renewed_at=clock.now())) == []
        assert await steps.get(database, batch_id, "a") == before

    async def test_outcome_after_the_lease_was_taken_back_is_refused(
        self, database: Database, clock: ManualClock
    ):
        batch_id = await steps.submit(database, "a")
        lost = await steps.claim_one(database)
        await database.batches.take_back("w1", renewed_at=clock.now())
        for _ in range(2):
            before = await steps.get(database, batch_id, "a")
            (refusal,) = await database.batches.update_processing_status([Report(lost, Done())])
            assert refusal.met == before == await steps.get(database, batch_id, "a")
            await steps.claim(database, worker="w2")

    async def test_stage_of_claimed_records_is_shown(self, database: Database, clock: ManualClock):
        batch_id = await steps.submit(database, "a", "b")
        claimed = await steps.claim(database)
        clock.advance(3)
        shown = await database.batches.record_stages(claimed, stage=EXTRACTING, progress=40)
        assert sorted(steps.ids(shown)) == ["a", "b"]
        for before in claimed:
            after = await steps.get(database, batch_id, before.item_id)
            assert after in shown
            assert (after.status, after.stage, after.progress) == (RecordStatus.PROCESSING, EXTRACTING, 40)
            assert (after.claim, after.attempts) == (before.claim, before.attempts)
            assert after.updated_at == clock.now()
            assert after.version > before.version
            assert after.version.write_id != before.version.write_id
        assert (await steps.counters(database, batch_id)).processing == 2

    async def test_stage_of_one_record_leaves_the_others_alone(self, database: Database):
        batch_id = await steps.submit(database, "a", "b")
        first, second = await steps.claim(database)
        await database.batches.record_stages([first], stage=EXTRACTING, progress=40)
        assert await steps.get(database, batch_id, second.item_id) == second

    async def test_stage_of_a_lost_claim_is_not_shown(self, database: Database, clock: ManualClock):
        batch_id = await steps.submit(database, "lost", "held")
        claimed = {record.item_id: record for record in await steps.claim(database)}
        await database.batches.release_records([claimed["lost"]])
        await steps.claim_one(database, worker="w2")
        before = await steps.get(database, batch_id, "lost")
        records = [claimed["lost"], claimed["held"]]
        shown = await database.batches.record_stages(records, stage=EXTRACTING, progress=1)
        assert steps.ids(shown) == ["held"]
        assert await steps.get(database, batch_id, "lost") == before

    async def test_stage_of_an_ended_record_is_not_shown(self, database: Database):
        batch_id = await steps.submit(database, "a")
        claimed = await steps.claim_one(database)
        await steps.complete(database, claimed)
        before = await steps.get(database, batch_id, "a")
        assert list(await database.batches.record_stages([claimed], stage=EXTRACTING, progress=1)) == []
        assert await steps.get(database, batch_id, "a") == before

    async def test_released_records_are_pending_again_at_no_cost(
        self, database: Database, clock: ManualClock
    ):
        batch_id = await steps.submit(database, "a", "b", "c")
        claimed = await steps.claim(database)
        started = await database.batches.record_stages(claimed[:1], stage=EXTRACTING, progress=1)
        clock.advance(5)
        assert await database.batches.release_records([started[0], claimed[1]]) == 2
        for before in claimed[:2]:
            after = await steps.get(database, batch_id, before.item_id)
            assert (after.status, after.attempts, after.retries_total) == (RecordStatus.PENDING, 0, 0)
            assert (after.stage, after.progress, after.version.step) == (QUEUED, 0, Step.PENDING)
            assert after.next_attempt_at == clock.now()
            assert after.version > before.version
        assert await steps.get(database, batch_id, claimed[2].item_id) == claimed[2]
        counters = await steps.counters(database, batch_id)
        assert (counters.pending, counters.processing) == (2, 1)

    async def test_release_of_a_claim_that_is_no_longer_held_is_left_alone(self, database: Database):
        batch_id = await steps.submit(database, "a")
        lost = await steps.claim_one(database)
        assert await database.batches.release_records([lost]) == 1
        assert await database.batches.release_records([lost]) == 0
        held = await steps.claim_one(database, worker="w2")
        assert await database.batches.release_records([lost]) == 0
        assert await steps.get(database, batch_id, "a") == held
        await steps.complete(database, held)
        assert await database.batches.release_records([held]) == 0
        assert await steps.statuses(database, batch_id) == {"a": "completed"}

    async def test_other_claim_of_the_same_epoch_can_neither_release_nor_show_a_stage(
        self, database: Database
    ):
        batch_id = await steps.submit(database, "a")
        held = await steps.claim_one(database)
        forged = replace(held, claim_id="another claim")
        assert await database.batches.release_records([forged]) == 0
        assert list(await database.batches.record_stages([forged], stage=EXTRACTING, progress=1)) == []
        assert await steps.get(database, batch_id, "a") == held

    async def test_pending_record_is_neither_released_nor_shown_at_a_stage(self, database: Database):
        batch_id = await steps.submit(database, "a")
        pending = await steps.get(database, batch_id, "a")
        assert await database.batches.release_records([pending]) == 0
        assert list(await database.batches.record_stages([pending], stage=EXTRACTING, progress=1)) == []
        assert await steps.get(database, batch_id, "a") == pending

    async def test_release_again_and_again_never_spends_an_attempt(
        self, database: Database, clock: ManualClock
    ):
        batch_id = await steps.submit(database, "a")
        for turn in range(steps.MAX_ATTEMPTS + 2):
            claimed = await steps.claim_one(database)
            assert (claimed.attempts, claimed.epoch) == (1, turn + 1)
            await database.batches.release_records([claimed])
            clock.advance(1)
        assert (await steps.get(database, batch_id, "a")).attempts == 0

    async def test_renewal_is_kept_to_the_microsecond_and_in_utc(
        self, database: Database, clock: ManualClock
    ):
        moment = clock.now() + timedelta(microseconds=1)
        await database.batches.renew_lease(builders.worker("w1", moment))
        (stored,) = await database.batches.list_workers()
        assert stored.renewed_at == moment
        assert stored.renewed_at.utcoffset() == timedelta(0)


async def _stages(database: Database, batch_id: UUID) -> dict[str, str]:
    return {record.item_id: record.stage for record in await steps.records_of(database, batch_id)}
