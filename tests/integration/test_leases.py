"""Leases by what a process sees itself: frozen workers, lost replies, clocks that jump, machines that sleep."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from gristmill.domain.failures import FailureCategory
from gristmill.domain.record import SUSPECTS_TOGETHER, Done, RecordStatus, Report
from gristmill.engine.lease import Lease, LeaseLostError, Watch
from gristmill.engine.liveness import this_process
from gristmill.engine.worker import Worker, WorkerOptions
from gristmill.ports.errors import StoreUnavailableError
from gristmill.ports.processor import Processed
from gristmill.stores.memory import MemoryDatabase
from tests.integration.test_engine import Scripted, run_through, submitted, worker_of
from tests.support.clocks import ManualClock


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
async def database(clock):
    return MemoryDatabase(clock)


@pytest.fixture
def other(clock):
    """A worker of another machine: only its lease tells of it."""
    return replace(this_process(now=clock.now()), worker_id="other", host_id="elsewhere")


def test_silent_worker_is_gone_after_silence_that_the_clock_confirms(clock, other):
    watch = Watch(clock)
    assert watch.gone(iter([other])) == []
    clock.advance(31)
    assert watch.gone(iter([other])) == [other]


def test_whoever_comes_later_watches_for_two_thirds_of_a_lease_first(clock, other):
    clock.advance(300)
    watch = Watch(clock)
    assert watch.gone(iter([other])) == []
    clock.advance(20)
    assert watch.gone(iter([other])) == []
    clock.advance(0.1)
    assert watch.gone(iter([other])) == [other]


@pytest.mark.parametrize("jump", [timedelta(hours=1), timedelta(hours=-1), timedelta(days=1)])
def test_clock_that_jumps_takes_no_work_from_the_living(clock, other, jump):
    watch = Watch(clock)
    assert watch.gone(iter([other])) == []
    clock.set_forward(jump)
    for _ in range(10):
        assert watch.gone(iter([other])) == []
        clock.advance(10)
        other = replace(other, renewed_at=clock.now())


def test_clock_that_was_set_back_does_not_keep_the_dead_alive(clock, other):
    watch = Watch(clock)
    clock.set_forward(timedelta(hours=-1))
    assert watch.gone(iter([other])) == []
    clock.advance(31)
    assert watch.gone(iter([other])) == [other]


async def test_claim_whose_answer_was_lost_goes_back_while_the_worker_lives(database, clock):
    """As when a database dies after it stored a claim, and the claim is made again on another one."""
    claim, lost = database.batches.claim_records, []

    async def claim_twice(worker_id, **asked):
        if not lost:
            lost.extend(await claim(worker_id, **{**asked, "limit": 2}))
        return await claim(worker_id, **asked)

    database.batches.claim_records = claim_twice
    batch_id = await submitted(database, 5)
    await run_through(worker_of(database, clock, Scripted()), clock, batch_id)
    assert len(lost) == 2
    records = (await database.batches.get_processing_results(batch_id)).records
    assert {(record.status, record.attempts) for record in records} == {(RecordStatus.COMPLETED, 1)}


def test_worker_that_renews_late_but_in_time_is_kept(clock, other):
    watch = Watch(clock)
    for _ in range(5):
        assert watch.gone(iter([other])) == []
        clock.advance(29)
        other = replace(other, renewed_at=clock.now())


async def test_lease_is_lost_after_two_thirds_without_renewal(clock, database):
    lease = Lease(database.batches, this_process(now=clock.now()), clock=clock)
    await lease.take()
    clock.advance(20)
    assert not lease.is_lost
    clock.advance(0.1)
    assert lease.is_lost
    await lease.renew()
    assert not lease.is_lost


async def test_worker_that_was_frozen_drops_what_it_held_and_begins_anew(clock, database):
    batch_id = await submitted(database, 4)
    identity = this_process(now=clock.now(), lease_seconds=0.3)
    lease = Lease(database.batches, identity, clock=clock)
    frozen = asyncio.Event()
    runs = 0

    class Freezing(Scripted):
        async def process(self, records, show_stage):
            nonlocal runs
            runs += 1
            if runs == 1:
                await show_stage(records, "working", 1)
                frozen.set()
                await asyncio.Event().wait()
            for record in records:
                yield Processed(record, Done())

    options = WorkerOptions(lanes=1, poll_seconds=0.01)
    worker = Worker(database, {"things": Freezing()}, clock=clock, lease=lease, options=options)
    running = asyncio.create_task(worker.run(batch_id))
    await frozen.wait()
    clock.advance(0.25)  # As after SIGSTOP: time has passed and nothing was renewed.
    await asyncio.wait_for(running, 10)
    page = await database.batches.get_processing_results(batch_id)
    assert {(record.status, record.attempts) for record in page.records} == {(RecordStatus.COMPLETED, 1)}
    assert runs == 2


async def test_lease_that_cannot_be_renewed_is_lost(clock, database, monkeypatch):
    lease = Lease(database.batches, this_process(now=clock.now(), lease_seconds=0.3), clock=clock)
    await lease.take()
    tries = 0

    async def unavailable(_worker):
        nonlocal tries
        tries += 1
        clock.advance(0.1)
        raise StoreUnavailableError("sqlite", "the disk is full", "Free some space.")

    monkeypatch.setattr(database.batches, "renew_lease", unavailable)
    with pytest.raises(LeaseLostError):
        await asyncio.wait_for(lease.keep(), 10)
    assert tries >= 2


async def test_worker_takes_back_its_own_lost_claims_first(clock, database):
    batch_id = await submitted(database, 3)
    lease = Lease(database.batches, this_process(now=clock.now()), clock=clock)
    await database.batches.claim_records(lease.worker.worker_id, limit=3)  # The reply was lost.
    await lease.take()
    page = await database.batches.get_processing_results(batch_id)
    assert {(record.status, record.attempts) for record in page.records} == {(RecordStatus.PENDING, 0)}


async def test_worker_gives_up_all_it_holds_though_the_clock_was_set_back(clock, database):
    batch_id = await submitted(database, 3)
    lease = Lease(database.batches, this_process(now=clock.now()), clock=clock)
    for end in [lease.give_up, lease.take]:
        await lease.take()
        await database.batches.claim_records(lease.worker.worker_id, limit=3)
        clock.set_forward(timedelta(minutes=-1))
        await end()
        page = await database.batches.get_processing_results(batch_id)
        assert {(record.status, record.attempts) for record in page.records} == {(RecordStatus.PENDING, 0)}
        clock.set_forward(timedelta(minutes=1))


@pytest.mark.parametrize(("count", "most"), [(4, 1), (12, 8)])
async def test_suspects_run_few_at_a_time_and_nothing_beside_them(clock, database, count, most):
    await submitted(database, count + 2)
    dead = replace(this_process(now=clock.now()), worker_id="dead", pid=2**22 - 7)
    await database.batches.renew_lease(dead)
    claimed = await database.batches.claim_records("dead", limit=count)
    await database.batches.record_stages(claimed, stage="working", progress=10)
    others = await submitted(database, 30)
    at_work: list[int] = []
    groups: list[tuple[int, bool]] = []

    class Watching(Scripted):
        async def process(self, records, show_stage):
            suspect = records[0].stage in SUSPECTS_TOGETHER
            at_work.append(len(records))
            groups.append((len(records), suspect))
            await asyncio.sleep(0.002)
            if suspect:
                assert at_work == [len(records)]
            for record in records:
                yield Processed(record, Done())
            at_work.remove(len(records))

    await worker_of(database, clock, Watching(), WorkerOptions(group_records=16, poll_seconds=0.01)).run()
    sizes = [size for size, suspect in groups if suspect]
    assert (sum(sizes), max(sizes) <= most) == (count, True)
    view = await database.batches.batch_status_view(others)
    assert view.completed_count == 30


async def test_item_that_kills_its_worker_ends_as_crashed_and_its_neighbours_complete(clock, database):
    """Invariant 6, for the worker itself: the killer costs itself alone."""
    batch_id = await submitted(database, 5)
    for life in range(10):
        await live_and_die(database, clock, f"life-{life}", killer="item-0003")
        clock.advance(minutes=20)
    page = await database.batches.get_processing_results(batch_id)
    found = {record.item_id: (record.status, record.attempts) for record in page.records}
    assert found.pop("item-0003") == (RecordStatus.FAILED, 4)
    assert set(found.values()) == {(RecordStatus.COMPLETED, 1)}
    (failed,) = (record for record in page.records if record.status is RecordStatus.FAILED)
    assert failed.error.category is FailureCategory.CRASHED


async def live_and_die(database, clock, worker_id: str, *, killer: str) -> None:
    """A worker that runs what it can, until it begins the item that kills it."""
    claimed = await database.batches.claim_records(worker_id, limit=5)
    fresh = [record for record in claimed if record.stage not in SUSPECTS_TOGETHER]
    for group in [fresh, *([record] for record in claimed if record not in fresh)]:
        await database.batches.record_stages(group, stage="working", progress=10)
        if killer in {record.item_id for record in group}:
            break
        await database.batches.update_processing_status([Report(record, Done()) for record in group])
    await database.batches.take_back(worker_id, renewed_at=clock.now())


def test_workers_of_one_name_are_told_apart(clock):
    """As in two containers with one host name and one pid."""
    first, second = this_process(now=clock.now()), this_process(now=clock.now())
    assert (first.host_id, first.pid) == (second.host_id, second.pid)
    assert first.worker_id != second.worker_id
