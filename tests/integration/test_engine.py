"""The engine on a simulated clock: claims, outcomes, retries, take-over, tolerance and ends."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from gristmill.domain.batch import BatchStatus, NewBatch
from gristmill.domain.events import BatchEnded
from gristmill.domain.failures import Failure, FailureCategory
from gristmill.domain.hold import HOLD_AFTER
from gristmill.domain.identity import end_event_id
from gristmill.domain.record import (
    Done,
    Failed,
    Item,
    Outcome,
    Record,
    RecordStatus,
    Report,
    Result,
    Retry,
    Snooze,
)
from gristmill.engine.announce import Announcer
from gristmill.engine.lease import Lease
from gristmill.engine.liveness import has_ended_here, is_overdue, this_process
from gristmill.engine.submit import submit
from gristmill.engine.worker import Worker, WorkerOptions
from gristmill.ports.errors import StoreUnavailableError
from gristmill.ports.processor import Processed, ShowStage
from gristmill.stores.memory import MemoryDatabase
from tests.support.clocks import ManualClock

FAST = WorkerOptions(group_records=16, lanes=2, outcomes_per_write=4, poll_seconds=0.01)


@dataclass
class Scripted:
    """A processor whose outcome for an item is looked up, by default Done; it counts how often items ran."""

    script: Callable[[Record], Outcome] = lambda record: Done(Result(details={"item": record.item_id}))
    kind: str = "things"
    runs: dict[str, int] = field(default_factory=dict)

    async def process(self, records: Sequence[Record], show_stage: ShowStage) -> AsyncIterator[Processed]:
        await show_stage(records, "working", 10)
        for record in records:
            self.runs[record.item_id] = self.runs.get(record.item_id, 0) + 1
            yield Processed(record, self.script(record))


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
async def database(clock):
    database = MemoryDatabase(clock)
    await database.open()
    yield database
    await database.close()


def worker_of(database, clock, processor, options=FAST) -> Worker:
    lease = Lease(database.batches, this_process(now=clock.now()), clock=clock)
    return Worker(database, {processor.kind: processor}, clock=clock, lease=lease, options=options)


def items(count: int) -> list[Item]:
    return [Item(f"item-{number:04d}", "things") for number in range(count)]


async def submitted(database, count: int, **options) -> UUID:
    new = NewBatch(batch_id=uuid4(), kind="things", **options)
    await database.batches.create_batch(new)
    await submit(database.batches, new.batch_id, items(count))
    return new.batch_id


async def run_through(worker: Worker, clock, batch_id: UUID) -> None:
    """Run a batch to its end; time passes whenever the engine would wait."""
    running = asyncio.create_task(worker.run(batch_id))
    while not running.done():
        await asyncio.sleep(0.001)
        clock.advance(5)
    await running


def failing(category: FailureCategory) -> Callable[[Record], Outcome]:
    return lambda record: Retry(Failure(category, f"{record.item_id} did not work"))


async def test_every_item_of_a_batch_runs_once_and_the_batch_completes(database, clock):
    batch_id = await submitted(database, 100)
    processor = Scripted()
    await worker_of(database, clock, processor).run(batch_id)
    view = await database.batches.batch_status_view(batch_id)
    assert (view.completed_count, view.total_documents) == (100, 100)
    assert view.batch_status is view.computed_status is BatchStatus.COMPLETED
    assert set(processor.runs.values()) == {1}


async def test_an_empty_sealed_batch_completes_at_once(database, clock):
    batch_id = await submitted(database, 0)
    await worker_of(database, clock, Scripted()).run(batch_id)
    assert (await database.batches.get_batch(batch_id)).status is BatchStatus.COMPLETED


async def test_a_failure_that_may_pass_is_tried_four_times_and_then_fails(database, clock):
    batch_id = await submitted(database, 3)
    processor = Scripted(failing(FailureCategory.TIMEOUT))
    await run_through(worker_of(database, clock, processor), clock, batch_id)
    page = await database.batches.get_processing_results(batch_id)
    assert processor.runs == {f"item-{number:04d}": 4 for number in range(3)}
    assert {record.status for record in page.records} == {RecordStatus.FAILED}
    assert {record.attempts for record in page.records} == {4}
    assert (await database.batches.get_batch(batch_id)).status is BatchStatus.ERROR


async def test_a_permanent_failure_is_not_tried_again(database, clock):
    batch_id = await submitted(database, 2)
    processor = Scripted(failing(FailureCategory.ENCRYPTED))
    await worker_of(database, clock, processor).run(batch_id)
    assert set(processor.runs.values()) == {1}


async def test_one_bad_item_costs_one_item(database, clock):
    """Invariant 6: neighbours complete at their first attempt."""
    batch_id = await submitted(database, 50)
    bad = "item-0017"
    processor = Scripted(
        lambda record: Failed(Failure(FailureCategory.BAD_INPUT, "no")) if record.item_id == bad else Done()
    )
    await worker_of(database, clock, processor).run(batch_id)
    page = await database.batches.get_processing_results(batch_id)
    good = [record for record in page.records if record.item_id != bad]
    assert {(record.status, record.attempts) for record in good} == {(RecordStatus.COMPLETED, 1)}
    assert (await database.batches.get_batch(batch_id)).status is BatchStatus.COMPLETED_WITH_ERRORS


async def test_a_snooze_costs_no_attempt(database, clock):
    batch_id = await submitted(database, 1)
    answers = iter([Snooze(10.0), Snooze(10.0), Done()])
    await run_through(worker_of(database, clock, Scripted(lambda _: next(answers))), clock, batch_id)
    (record,) = (await database.batches.get_processing_results(batch_id)).records
    assert (record.status, record.attempts, record.retries_total) == (RecordStatus.COMPLETED, 1, 0)


async def test_a_processor_that_raises_charges_only_items_without_an_outcome(database, clock):
    batch_id = await submitted(database, 10)

    class Breaking(Scripted):
        async def process(self, records, show_stage):
            yield Processed(records[0], Done())
            if len(records) > 1:
                raise ValueError("broken on purpose")

    await run_through(worker_of(database, clock, Breaking()), clock, batch_id)
    page = await database.batches.get_processing_results(batch_id)
    completed = [record for record in page.records if record.status is RecordStatus.COMPLETED]
    failed = [record for record in page.records if record.status is RecordStatus.FAILED]
    assert 1 in {record.attempts for record in completed}
    assert all("ValueError: broken on purpose" in record.error.message for record in failed)
    assert len(completed) + len(failed) == 10


async def test_a_processor_that_forgets_an_item_fails_that_item_only(database, clock):
    batch_id = await submitted(database, 5)

    class Forgetful(Scripted):
        async def process(self, records, show_stage):
            for record in records:
                if record.item_id != "item-0002":
                    yield Processed(record, Done())

    await run_through(worker_of(database, clock, Forgetful()), clock, batch_id)
    view = await database.batches.batch_status_view(batch_id)
    assert (view.completed_count, view.failed_count) == (4, 1)


async def test_too_many_failures_stop_the_batch_with_the_reason(database, clock):
    batch_id = await submitted(database, 500, max_error_rate=10.0)
    processor = Scripted(failing(FailureCategory.BAD_INPUT))
    await worker_of(database, clock, processor).run(batch_id)
    batch = await database.batches.get_batch(batch_id)
    view = await database.batches.batch_status_view(batch_id)
    assert batch.status is view.computed_status is BatchStatus.ERROR
    assert "tolerates 10 %" in batch.error_message
    assert 20 <= view.failed_count <= 20 + 2 * FAST.group_records
    assert view.cancelled_count == 500 - view.failed_count


async def test_records_of_a_dead_process_come_back_at_once_and_those_started_are_charged(database, clock):
    batch_id = await submitted(database, 4)
    dead = replace(this_process(now=clock.now()), worker_id="dead", pid=2**22 - 7)
    await database.batches.renew_lease(dead)
    claimed = await database.batches.claim_records("dead", limit=4)
    await database.batches.record_stages(claimed[:1], stage="working", progress=10)
    processor = Scripted()
    await run_through(worker_of(database, clock, processor), clock, batch_id)
    page = await database.batches.get_processing_results(batch_id)
    assert [record.attempts for record in page.records].count(2) == 1
    assert {record.status for record in page.records} == {RecordStatus.COMPLETED}


async def test_a_late_outcome_from_a_lost_lease_is_refused(database, clock):
    """Invariant 3: what was taken back and done again is not overwritten."""
    batch_id = await submitted(database, 1)
    slow = replace(this_process(now=clock.now()), worker_id="slow", pid=2**22 - 7)
    await database.batches.renew_lease(slow)
    (held,) = await database.batches.claim_records("slow", limit=1)
    await run_through(worker_of(database, clock, Scripted()), clock, batch_id)
    late = Report(held, Failed(Failure(FailureCategory.INTERNAL, "too late")))
    (refusal,) = await database.batches.update_processing_status([late])
    assert refusal.met.status is RecordStatus.COMPLETED
    assert (await database.batches.batch_status_view(batch_id)).completed_count == 1


async def test_a_cancelled_worker_gives_back_what_it_holds(database, clock):
    batch_id = await submitted(database, 8)
    started = asyncio.Event()

    class Hanging(Scripted):
        async def process(self, records, show_stage):
            started.set()
            await asyncio.Event().wait()
            yield Processed(records[0], Done())

    running = asyncio.create_task(worker_of(database, clock, Hanging()).run(batch_id))
    await started.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    page = await database.batches.get_processing_results(batch_id)
    assert {(record.status, record.attempts) for record in page.records} == {(RecordStatus.PENDING, 0)}
    assert not await database.batches.list_workers()


async def test_an_outage_surfaces_as_itself(database, clock):
    batch_id = await submitted(database, 3)

    class Down(Scripted):
        async def process(self, records, show_stage):
            raise StoreUnavailableError("sqlite", "the disk is full", "Free some space.")
            yield

    with pytest.raises(StoreUnavailableError):
        await worker_of(database, clock, Down()).run(batch_id)


async def test_without_a_batch_the_worker_ends_when_nothing_is_due(database, clock):
    first, second = await submitted(database, 3), await submitted(database, 3)
    await worker_of(database, clock, Scripted()).run()
    for batch_id in (first, second):
        assert (await database.batches.get_batch(batch_id)).status is BatchStatus.COMPLETED


async def test_a_submission_repeated_under_its_id_adds_nothing(database, clock):
    new = NewBatch(batch_id=uuid4(), kind="things")
    await database.batches.create_batch(new)
    await database.batches.create_processing_records(new.batch_id, items(5))  # Interrupted: not sealed.
    await database.batches.create_batch(new)
    again = await submit(database.batches, new.batch_id, items(8))
    assert (again.created, again.existing, again.batch.total_files) == (3, 5, 8)


def test_a_process_of_this_machine_is_known_by_more_than_its_pid(clock):
    us = this_process(now=clock.now())
    assert not has_ended_here(us)
    assert has_ended_here(replace(us, pid=2**22 - 7))
    assert has_ended_here(replace(us, process_started=us.process_started - 60))
    assert has_ended_here(replace(us, boot_id="another boot"))
    elsewhere = replace(us, host_id="elsewhere", pid=2**22 - 7)
    assert not has_ended_here(elsewhere)
    assert not is_overdue(elsewhere, now=clock.now() + timedelta(seconds=30))
    assert is_overdue(elsewhere, now=clock.now() + timedelta(seconds=31))


async def test_run_of_so_many_items_leaves_the_rest(database, clock):
    batch_id = await submitted(database, 50)
    await worker_of(database, clock, Scripted()).run(max_items=21)
    view = await database.batches.batch_status_view(batch_id)
    assert (view.completed_count, view.queued_count) == (21, 29)


async def test_worker_that_stays_takes_what_comes_later(database, clock):
    worker = worker_of(database, clock, Scripted())
    running = asyncio.create_task(worker.run(stay=True))
    for _ in range(2):
        batch_id = await submitted(database, 3)
        async with asyncio.timeout(10):
            while not (await database.batches.get_batch(batch_id)).ended:  # noqa: ASYNC110 - as a user would.
                await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not await database.batches.list_workers()


@pytest.mark.parametrize("ticks", range(6))
async def test_worker_that_is_stopped_while_it_is_woken_stops(database, clock, ticks):
    """Python 3.11's ``asyncio.wait_for`` forgets a cancellation that comes with what it waits for."""
    slow = WorkerOptions(poll_seconds=60)
    worker = worker_of(database, clock, Scripted(), slow)
    running = asyncio.create_task(worker.run(stay=True))
    await asyncio.sleep(0.05)
    worker.wake()
    for _ in range(ticks):
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait([running], timeout=5)
    assert running.cancelled()


async def test_held_batch_leaves_others_alone_and_goes_on_when_the_cause_is_gone(database, clock):
    down = Snooze(1.0, Failure(FailureCategory.PROVIDER_TRANSIENT, "The model does not load."))
    broken = True

    def outcome(record: Record) -> Outcome:
        return down if broken and record.batch_id == stuck else Done()

    processor = Scripted(outcome)
    stuck = await submitted(database, 100)
    options = replace(FAST, group_records=32, lanes=1, outcomes_per_write=1)
    worker = worker_of(database, clock, processor, options)
    assert await worker.run_once() == 32
    batch = await database.batches.get_batch(stuck)
    assert batch.hold.held
    assert len(processor.runs) == HOLD_AFTER
    page = await database.batches.get_processing_results(stuck, limit=200)
    assert {(record.status, record.attempts) for record in page.records} == {(RecordStatus.PENDING, 0)}
    other = await submitted(database, 3)
    assert await worker.run_once() == 3
    assert (await database.batches.batch_status_view(other)).completed_count == 3
    clock.advance(31)
    await worker.run_once()
    assert sum(processor.runs.values()) == HOLD_AFTER + 3 + 1  # One probe, then held again.
    broken = False
    await run_through(worker, clock, stuck)
    view = await database.batches.batch_status_view(stuck)
    assert (view.completed_count, view.max_retries) == (100, 0)


@pytest.mark.parametrize(
    ("count", "fails"),
    [(0, 0), (1, 0), (1_000, 0), (30, 30), (30, 10)],
    ids=["0", "1", "1000", "all", "some"],
)
async def test_each_round_of_a_batch_ends_with_one_event(database, clock, count, fails):
    told: list[BatchEnded] = []
    bad = {f"item-{number:04d}" for number in range(fails)}
    empty = Failed(Failure(FailureCategory.TIMEOUT, "Too slow."))
    processor = Scripted(lambda record: empty if record.item_id in bad else Done())
    batch_id = await submitted(database, count)
    announcer = Announcer(database.batches, [told.append])
    lease = Lease(database.batches, this_process(now=clock.now()), clock=clock)
    worker = Worker(
        database, {"things": processor}, clock=clock, lease=lease, options=FAST, announcer=announcer
    )
    await worker.run(batch_id)
    assert [(event.batch_id, event.round) for event in told] == [(batch_id, 0)]
    counters = told[0].counters
    assert (counters.completed, counters.failed) == (count - fails, fails)
    await worker.run()
    assert len(told) == 1
    bad.clear()
    if await database.batches.retry_failed(batch_id):
        await worker.run(batch_id)
        assert [event.round for event in told] == [0, 1]
        assert told[1].counters.completed == count
        assert told[0].event_id != told[1].event_id


async def test_event_is_told_again_until_every_listener_took_it(database, clock):
    told: list[str] = []
    fails = 2

    async def moody(event: BatchEnded) -> None:
        nonlocal fails
        fails -= 1
        if fails >= 0:
            raise ConnectionError("not now")
        told.append("moody")

    announcer = Announcer(database.batches, [lambda event: told.append("steady"), moody])
    await submitted(database, 0)
    await database.batches.end_batches()
    assert [await announcer.deliver() for _ in range(4)] == [0, 0, 1, 0]
    assert told == ["steady", "steady", "steady", "moody"]


async def test_worker_and_one_that_died_may_tell_of_the_same_end(database, clock):
    """At least once: who dies between telling and noting it leaves the event to be told again, under one id."""
    batch_id = await submitted(database, 0)
    await database.batches.end_batches()
    told: list[BatchEnded] = []
    (seen,) = await database.batches.pending_events(limit=9)
    told.append(seen)  # Told, and killed before that was noted.
    await Announcer(database.batches, [told.append]).deliver()
    assert [event.event_id for event in told] == [end_event_id(batch_id, 0)] * 2
