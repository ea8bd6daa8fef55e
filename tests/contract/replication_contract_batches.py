"""Batches, records, ends and workers that come from another database."""

from dataclasses import replace
from datetime import timedelta

import pytest

from gristmill.domain.batch import BatchStatus, Counters
from gristmill.domain.record import Done, Report, Snooze
from gristmill.ports.replication import Fate
from gristmill.ports.rows import Kind
from tests.contract import batches_contract_steps as batches
from tests.contract import replication_contract_steps as steps
from tests.support import builders

WEEK = timedelta(days=7)


async def ended(database, *item_ids: str):
    batch_id = await batches.submit(database, *item_ids, seal=True)
    await batches.complete(database, *await batches.claim(database, batch_id=batch_id))
    await database.batches.end_batches([batch_id])
    return batch_id


class RecordsContract:
    async def test_records_arrive_whole_and_counters_follow(self, database, other, clock):
        """B1: each database counts what it has."""
        await steps.pair(database, other)
        batch_id = await batches.submit(other, *"abcdef", seal=True, priority=2, name="Week")
        one, two, three, *_ = await batches.claim(other, 4, batch_id=batch_id)
        await batches.complete(other, one)
        await batches.fail(other, two)
        await batches.fail(other, three, message="Another.")
        await steps.exchange(database, other)
        assert await batches.records_of(database, batch_id) == await batches.records_of(other, batch_id)
        assert await batches.counters(database, batch_id) == Counters(2, 1, 1, 2, 0)
        assert await database.batches.get_batch(batch_id) == await other.batches.get_batch(batch_id)
        assert await database.batches.batch_status_view(batch_id) == await other.batches.batch_status_view(
            batch_id
        )
        assert await database.batches.get_error_groups(batch_id) == await other.batches.get_error_groups(
            batch_id
        )
        await other.batches.retry_failed(batch_id, permanent=True)
        await steps.exchange(database, other)
        assert await batches.counters(database, batch_id) == Counters(4, 1, 1, 0, 0)

    async def test_newer_row_stays_whichever_comes_last(self, database, other):
        await steps.pair(database, other)
        batch_id = await batches.submit(database, "a", seal=True)
        old = await steps.owed(database, Kind.RECORD)
        await steps.exchange(database, other)
        claimed = await batches.claim_one(database)
        await batches.complete(database, claimed)
        done = await batches.get(database, batch_id, "a")
        (merge,) = await steps.merge(database, *old)
        assert (merge.fate, merge.token) == (Fate.HELD, done.version.write_id)
        assert await batches.get(database, batch_id, "a") == done
        new = await steps.owed(database, Kind.RECORD)
        await steps.merge(other, *new)
        (merge,) = await steps.merge(other, *old)
        assert merge.token == done.version.write_id
        assert await batches.counters(other, batch_id) == Counters(completed=1)

    async def test_completion_of_one_side_beats_cancellation_on_the_other(self, database, other):
        await steps.pair(database, other)
        batch_id = await batches.submit(database, "a", "b", seal=True)
        claimed = await batches.claim(database)
        await steps.exchange(database, other)
        await batches.complete(other, claimed[0])
        await database.batches.cancel_batch(batch_id)
        await steps.exchange(database, other)
        for side in (database, other):
            found = await batches.statuses(side, batch_id)
            assert found.pop(claimed[0].item_id) == "completed"
            assert list(found.values()) == ["cancelled"]
            assert await batches.counters(side, batch_id) == Counters(completed=1, cancelled=1)

    async def test_claims_and_outcomes_go_on_over_there(self, database, other):
        await steps.pair(database, other)
        batch_id = await batches.submit(other, "a", "b", seal=True)
        claimed = await batches.claim(other, 1)
        await steps.exchange(database, other)
        (second,) = await batches.claim(database, worker="w2")
        assert second.item_id != claimed[0].item_id
        await batches.complete(database, claimed[0], second)
        await database.batches.end_batches([batch_id])
        assert (await database.batches.get_batch(batch_id)).status is BatchStatus.COMPLETED

    async def test_completion_of_a_later_claim_arrives_whole_over_an_earlier_claim(
        self, database, other, clock
    ):
        await steps.pair(database, other)
        batch_id = await batches.submit(other, "a")
        first = await batches.claim(other)
        await steps.exchange(database, other)
        await other.batches.release_records(first)
        clock.advance(5)
        await batches.complete(other, *await batches.claim(other, worker="w2"))
        await steps.exchange(database, other)
        assert await batches.records_of(database, batch_id) == await batches.records_of(other, batch_id)

    async def test_record_waits_for_its_batch(self, database, other):
        batch_id = await batches.submit(other, "a")
        await steps.pair(database, other)
        rows = await steps.owed(other, Kind.RECORD)
        (merge,) = await steps.merge(database, *rows)
        assert merge.fate is Fate.WITHHELD
        await steps.take_across(other, database, Kind.BATCH)
        (merge,) = await steps.merge(database, *rows)
        assert merge.fate is Fate.HELD
        assert await batches.statuses(database, batch_id) == {"a": "pending"}


class BatchFactsContract:
    async def test_every_fact_of_a_batch_arrives(self, database, other, clock):
        await steps.pair(database, other)
        new = builders.new_batch(
            name="Week 9",
            collection="papers",
            priority=3,
            max_error_rate=5.5,
            options={"a": [1]},
            submitter="me",
        )
        await other.batches.create_batch(new)
        clock.advance(5)
        await other.batches.create_processing_records(new.batch_id, builders.items("a", "b"))
        await other.batches.seal_batch(new.batch_id)
        await batches.claim(other, 1)
        await steps.exchange(database, other)
        assert await database.batches.get_batch(new.batch_id) == await other.batches.get_batch(new.batch_id)
        await other.batches.cancel_batch(new.batch_id, error_message="Stopped.")
        await other.batches.end_batches()
        await steps.exchange(database, other)
        found = await database.batches.get_batch(new.batch_id)
        assert found == await other.batches.get_batch(new.batch_id)
        assert (found.status, found.error_message) == (BatchStatus.ERROR, "Stopped.")

    @pytest.mark.parametrize("ended", [False, True], ids=["open", "ended"])
    async def test_cancellation_of_long_ago_is_no_change_when_it_is_brought_over(
        self, database, other, clock, ended
    ):
        batch_id = await batches.submit(database, "a", seal=True)
        clock.advance(1)
        await database.batches.cancel_batch(batch_id, error_message="Stopped.")
        if ended:
            await database.batches.end_batches([batch_id])
        before = await database.batches.get_batch(batch_id)
        clock.advance(60)
        await steps.merge(other, *await steps.everything(database))
        assert await other.batches.get_batch(batch_id) == before
        await steps.pair(database, other)
        await steps.exchange(database, other)
        for side in (database, other):
            assert await side.batches.get_batch(batch_id) == before

    async def test_facts_from_both_sides_are_kept(self, database, other):
        """One side seals, the other cancels: neither is lost."""
        await steps.pair(database, other)
        batch_id = await batches.submit(database, "a")
        await steps.exchange(database, other)
        await database.batches.seal_batch(batch_id)
        await other.batches.create_batch(builders.new_batch(batch_id, submitter="another"))
        await other.batches.claim_records("w", limit=1)
        await other.batches.cancel_batch(batch_id, error_message="Enough.")
        await steps.exchange(database, other)
        found = await database.batches.get_batch(batch_id)
        assert found == await other.batches.get_batch(batch_id)
        assert (found.cancel_requested, found.error_message) == (True, "Enough.")
        assert found.submitter == "another"
        assert found.sealed_at
        assert found.started_at

    async def test_retry_on_one_side_beats_a_cancellation_on_the_other(self, database, other):
        await steps.pair(database, other)
        batch_id = await batches.submit(database, "a", "b", seal=True)
        await batches.fail(database, *await batches.claim(database, 1))
        await steps.exchange(database, other)
        await database.batches.cancel_batch(batch_id)
        await other.batches.retry_failed(batch_id, permanent=True)
        await steps.exchange(database, other)
        for side in (database, other):
            assert not (await side.batches.get_batch(batch_id)).cancel_requested
            assert await batches.counters(side, batch_id) == Counters(pending=1, cancelled=1)

    async def test_retry_reopens_a_record_that_is_in_a_later_round_than_its_batch(self, database, other):
        """An outcome brings its record here from where it was claimed (C1); the batch's round comes later."""
        await steps.pair(database, other)
        batch_id = await batches.submit(database, "a", "b", seal=True)
        await batches.fail(database, *await batches.claim(database))
        await steps.exchange(database, other)
        for _ in range(2):
            await other.batches.retry_failed(batch_id, permanent=True)
            claimed = await batches.claim_one(other)
            await batches.fail(other, claimed)
        await batches.fail(database, claimed)
        assert await database.batches.retry_failed(batch_id, permanent=True) == 2
        await steps.exchange(database, other)
        for side in (database, other):
            assert await batches.counters(side, batch_id) == Counters(pending=2)
            assert (await side.batches.get_batch(batch_id)).round == 3

    async def test_open_records_that_reach_a_cancelled_batch_are_swept(self, database, other):
        await steps.pair(database, other)
        batch_id = await batches.submit(database, "a")
        await steps.exchange(database, other)
        await other.batches.create_processing_records(batch_id, builders.items("b"))
        await database.batches.cancel_batch(batch_id)
        await steps.exchange(database, other)
        assert await batches.claim(database) == []
        await database.batches.end_batches()
        assert await batches.statuses(database, batch_id) == {"a": "cancelled", "b": "cancelled"}
        assert (await database.batches.get_batch(batch_id)).status is BatchStatus.CANCELLED

    async def test_batch_with_records_beyond_the_declared_total_ends_with_all_of_them(self, database, other):
        """Both sides of a split took items and one sealed."""
        await steps.pair(database, other)
        batch_id = await batches.submit(database, "a", "b")
        await steps.exchange(database, other)
        await other.batches.create_processing_records(batch_id, builders.items("c"))
        await database.batches.seal_batch(batch_id)
        await steps.exchange(database, other)
        for side in (database, other):
            assert (await batches.counters(side, batch_id)).total == 3
        await batches.complete(database, *await batches.claim(database, 2))
        assert list(await database.batches.end_batches()) == []
        await batches.complete(database, *await batches.claim(database))
        (batch,) = await database.batches.end_batches()
        assert (batch.status, batch.processed_files) == (BatchStatus.COMPLETED, 3)

    async def test_batch_is_shown_as_ended_only_with_all_its_records(self, database, other):
        """A7: an end that arrives before the last records is no end yet."""
        await steps.pair(database, other)
        batch_id = await ended(other, "a", "b")
        await steps.take_across(other, database, Kind.BATCH)
        await steps.take_across(other, database, Kind.END)
        assert not (await database.batches.get_batch(batch_id)).ended
        first, second = await steps.owed(other, Kind.RECORD)
        await steps.merge(database, first)
        assert not (await database.batches.get_batch(batch_id)).ended
        await steps.merge(database, second)
        found = await database.batches.get_batch(batch_id)
        assert found == await other.batches.get_batch(batch_id)
        assert found.status is BatchStatus.COMPLETED
        assert len(await database.batches.pending_events(limit=9)) == 1

    async def test_both_sides_end_a_round_with_one_event_id(self, database, other):
        await steps.pair(database, other)
        batch_id = await batches.submit(database, "a", seal=True)
        claimed = await batches.claim(database)
        await steps.exchange(database, other)
        for side in (database, other):
            await batches.complete(side, *claimed)
            await side.batches.end_batches()
        await steps.exchange(database, other)
        (event,) = await database.batches.pending_events(limit=9)
        assert list(await other.batches.pending_events(limit=9)) == [event]
        await other.batches.events_delivered([event.event_id])
        await steps.exchange(database, other)
        assert list(await database.batches.pending_events(limit=9)) == []
        assert await database.batches.get_batch(batch_id) == await other.batches.get_batch(batch_id)

    async def test_record_reopened_by_a_split_reopens_the_end_and_not_the_event(self, database, other):
        """The same round ends twice; its event is one."""
        await steps.pair(database, other)
        batch_id = await batches.submit(database, "a")
        await steps.exchange(database, other)
        await other.batches.create_processing_records(batch_id, builders.items("b"))
        await database.batches.seal_batch(batch_id)
        await batches.complete(database, *await batches.claim(database))
        await database.batches.end_batches()
        told = [event.event_id for event in await database.batches.pending_events(limit=9)]
        await database.batches.events_delivered(told)
        await steps.exchange(database, other)
        assert not (await database.batches.get_batch(batch_id)).ended
        await batches.complete(database, *await batches.claim(database))
        (batch,) = await database.batches.end_batches()
        assert (batch.processed_files, batch.status) == (2, BatchStatus.COMPLETED)
        assert {event.event_id for event in await database.batches.pending_events(limit=9)} <= set(told)

    async def test_tombstone_takes_the_records_and_is_final(self, database, other, clock):
        """B3: neither a merge nor an outcome brings a record back."""
        await steps.pair(database, other)
        batch_id = await ended(other, "a", "b")
        await steps.exchange(database, other)
        late = await batches.get(database, batch_id, "a")
        await database.replication.distrust(await steps.identity(other))
        rows = await steps.owed(database)
        clock.advance(days=8)
        await other.batches.cleanup_old_records(WEEK, apply=True)
        await steps.take_across(other, database)
        assert await database.batches.get_batch(batch_id) is None
        assert await batches.all_batch_ids(database) == []
        merges = await steps.merge(database, *rows)
        assert {each.fate for each in merges} == {Fate.HELD}
        assert await database.batches.get_batch(batch_id) is None
        (refusal,) = await database.batches.update_processing_status([Report(late, Done())])
        assert refusal.met is None
        await database.batches.create_batch(builders.new_batch(batch_id))
        assert await batches.records_of(database, batch_id) == []

    async def test_batch_created_anew_lives_on_both(self, database, other, clock):
        await steps.pair(database, other)
        batch_id = await ended(other, "a", "b")
        await steps.exchange(database, other)
        clock.advance(days=8)
        await other.batches.cleanup_old_records(WEEK, apply=True)
        await other.batches.create_batch(builders.new_batch(batch_id, name="anew"))
        await other.batches.create_processing_records(batch_id, builders.items("c"))
        await steps.exchange(database, other)
        assert (await database.batches.get_batch(batch_id)).name == "anew"
        assert await batches.statuses(database, batch_id) == {"c": "pending"}

    async def test_outcome_of_an_earlier_life_is_refused(self, database, other, clock):
        """B3: its record died with the batch that had the id before."""
        await steps.pair(database, other)
        batch_id = await batches.submit(database, "a", "b", seal=True)
        late = await batches.claim_one(database)
        await database.batches.cancel_batch(batch_id)
        await database.batches.end_batches()
        clock.advance(days=8)
        await database.batches.cleanup_old_records(WEEK, apply=True)
        await database.batches.create_batch(builders.new_batch(batch_id))
        (refusal,) = await database.batches.update_processing_status([Report(late, Done())])
        assert refusal.met is None
        assert await batches.records_of(database, batch_id) == []

    async def test_end_of_a_new_life_is_told_though_nobody_was_told_of_the_old_one(
        self, database, other, clock
    ):
        await steps.pair(database, other)
        batch_id = await ended(database, "a")
        clock.advance(days=8)
        await database.batches.cleanup_old_records(WEEK, apply=True)
        await database.batches.create_batch(builders.new_batch(batch_id))
        await database.batches.create_processing_records(batch_id, builders.items("b", "c"))
        await database.batches.seal_batch(batch_id)
        await batches.complete(database, *await batches.claim(database))
        await database.batches.end_batches()
        (event,) = await database.batches.pending_events(limit=9)
        assert (event.counters.completed, event.ended_at) == (2, clock.now())
        await steps.exchange(database, other)
        assert list(await other.batches.pending_events(limit=9)) == [event]

    async def test_tombstones_are_purged_when_both_know_and_they_are_old(self, database, other, clock):
        await steps.pair(database, other)
        await ended(database, "a")
        await steps.exchange(database, other)
        clock.advance(days=8)
        await database.batches.cleanup_old_records(WEEK, apply=True)
        clock.advance(days=2)
        assert await database.replication.purge(timedelta(hours=24)) == 0
        await steps.take_across(database, other)
        assert await database.replication.purge(timedelta(days=3)) == 0
        assert await database.replication.purge(timedelta(hours=24)) == 1
        assert await other.replication.purge(timedelta(hours=24)) == 1

    async def test_hold_arrives(self, database, other):
        await steps.pair(database, other)
        failure = builders.failure(builders.FailureCategory.PROVIDER_RATE, "Slow down.")
        batch_id = await batches.submit(other, *(f"i{n:02}" for n in range(25)))
        await batches.report(other, Snooze(1.0, failure), *await batches.claim(other, 20))
        await steps.exchange(database, other)
        found = await database.batches.get_batch(batch_id)
        assert found.hold.held
        assert found == await other.batches.get_batch(batch_id)
        assert await batches.claim(database) == []


class WorkersContract:
    async def test_workers_arrive_and_go(self, database, other, clock):
        await steps.pair(database, other)
        worker = builders.worker("w1", clock.now())
        await other.batches.renew_lease(worker)
        await steps.exchange(database, other)
        assert list(await database.batches.list_workers()) == [worker]
        await other.batches.take_back("w1", renewed_at=clock.now())
        await steps.exchange(database, other)
        assert list(await database.batches.list_workers()) == []
        back = replace(worker, renewed_at=clock.advance(-5))
        await database.batches.renew_lease(back)
        await steps.exchange(database, other)
        assert list(await other.batches.list_workers()) == [back]

    async def test_worker_that_was_forgotten_and_holds_records_is_listed(self, database, other, clock):
        """A split took it for gone on one side while it claimed on the other."""
        await steps.pair(database, other)
        batch_id = await batches.submit(database, "a")
        worker = builders.worker("w1", clock.now())
        await database.batches.renew_lease(worker)
        await steps.exchange(database, other)
        await batches.claim(other, worker="w1")
        await database.batches.take_back("w1", renewed_at=clock.now())
        await steps.exchange(database, other)
        assert list(await database.batches.list_workers()) == [worker]
        (taken,) = await database.batches.take_back("w1", renewed_at=clock.now())
        assert taken.item_id == "a"
        assert list(await database.batches.list_workers()) == []
        assert await batches.statuses(database, batch_id) == {"a": "pending"}

    async def test_forgotten_worker_is_listed_no_longer_than_it_holds_records(self, database, other, clock):
        await steps.pair(database, other)
        await batches.submit(database, "a")
        await database.batches.renew_lease(builders.worker("w1", clock.now()))
        await steps.exchange(database, other)
        claimed = await batches.claim_one(other)
        await database.batches.take_back("w1", renewed_at=clock.now())
        await steps.exchange(database, other)
        await batches.complete(database, claimed)
        assert list(await database.batches.list_workers()) == []

    async def test_gone_workers_are_purged(self, database, other, clock):
        await steps.pair(database, other)
        await database.batches.renew_lease(builders.worker("w1", clock.now()))
        await database.batches.take_back("w1", renewed_at=clock.now())
        await steps.exchange(database, other)
        clock.advance(days=2)
        assert await database.replication.purge(timedelta(hours=24)) == 1
