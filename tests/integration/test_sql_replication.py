"""What replication must bear on SQL besides the contract: processes side by side, and those that know of no other."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from gristmill.domain.batch import Counters
from gristmill.domain.record import Done, Report
from gristmill.ports.rows import Kind
from gristmill.stores.memory import MemoryDatabase
from gristmill.stores.sql import bodies
from gristmill.stores.sql.database import AnySqlDatabase, SqlDatabase
from tests.contract import batches_contract_steps as batches
from tests.contract import documents_contract_steps as documents
from tests.contract import replication_contract_steps as steps
from tests.support import builders
from tests.support.clocks import ManualClock
from tests.support.databases import new_sqlite
from tests.support.postgres_databases import PostgresHost

Opener = Callable[[], AbstractAsyncContextManager[AnySqlDatabase]]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def other(clock: ManualClock) -> MemoryDatabase:
    return MemoryDatabase(clock, name="other")


@pytest.fixture(params=["sqlite", "postgresql"])
async def attach(
    request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock, postgres: PostgresHost
) -> AsyncIterator[Opener]:
    """Opens the same database once more, as another process does."""
    if request.param == "postgresql":
        with postgres.migrated() as name:
            yield lambda: postgres.attached(name, clock)
        return
    await (await new_sqlite(tmp_path, clock)).close()

    @asynccontextmanager
    async def opened() -> AsyncIterator[SqlDatabase]:
        database = SqlDatabase(tmp_path / "gristmill.db", clock=clock)
        await database.open()
        yield database
        await database.close()

    yield opened


async def test_changes_of_a_process_that_knows_of_no_other_database_are_owed(
    attach: Opener, other: MemoryDatabase
):
    async with attach() as ours, attach() as unaware:
        batch_id = await batches.submit(unaware, "a")
        await steps.pair(ours, other)
        await steps.exchange(ours, other)
        await unaware.batches.create_processing_records(batch_id, builders.items("b"))
        await unaware.batches.seal_batch(batch_id)
        await documents.open_papers(unaware)
        await steps.show(unaware, steps.OLD)
        assert (await ours.replication.count_owed()).rows > 0
        await steps.exchange(ours, other)
        assert await batches.records_of(other, batch_id) == await batches.records_of(unaware, batch_id)
        assert await other.batches.get_batch(batch_id) == await unaware.batches.get_batch(batch_id)
        assert await documents.near(other) == {"old one", "old two"}


async def test_merge_undoes_nothing_of_a_process_that_knows_of_no_other_database(
    attach: Opener, other: MemoryDatabase
):
    async with attach() as ours, attach() as unaware:
        batch_id = await batches.submit(unaware, "a")
        await steps.pair(ours, other)
        await steps.exchange(ours, other)
        await other.batches.cancel_batch(batch_id, error_message="Over there.")
        await unaware.batches.create_batch(builders.new_batch(batch_id, submitter="unaware"))
        await steps.take_across(other, ours)
        await steps.exchange(ours, other)
        found = await ours.batches.get_batch(batch_id)
        assert found == await other.batches.get_batch(batch_id)
        assert found.submitter == "unaware"
        assert found.error_message == "Over there."


async def test_versions_of_many_chunks_are_sent_a_few_at_a_time(
    attach: Opener, other: MemoryDatabase, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(bodies, "CHUNKS_A_PAGE", 9)
    async with attach() as ours:
        await steps.pair(ours, other)
        await documents.open_papers(ours)
        many = [builders.version(f"file:///{each}", [f"text {n}" for n in range(5)]) for each in range(3)]
        await documents.stage(ours, *many)
        for read in (ours.replication.owed, ours.replication.rows):
            pages, after = [], None
            while not pages or after is not None:
                page = await read(limit=5_000, after=after)
                pages.append([row.body.content for row in page.rows if row.kind is Kind.CHUNKS])
                after = page.after
            sent = [content for page in pages for content in page]
            assert sorted(len(page) for page in pages if page) == [1, 1, 1]
            assert sorted(content.source for content in sent) == [f"file:///{each}" for each in range(3)]


async def test_database_with_data_that_was_never_paired_is_told_from_an_empty_one(attach: Opener):
    async with attach() as ours:
        assert (await ours.replication.standing()).identity.sequence == 0
        await batches.submit(ours, "a")
        assert (await ours.replication.standing()).identity.sequence > 0


async def test_copy_made_again_undoes_nothing_that_was_done_alone_since(
    attach: Opener, other: MemoryDatabase, clock: ManualClock
):
    async with attach() as ours:
        batch_id = await batches.submit(other, "a")
        await documents.open_papers(other)
        await steps.show(other, steps.OLD)
        await steps.merge(ours, *await steps.everything(other))
        clock.advance(1)
        await ours.batches.seal_batch(batch_id)
        await ours.batches.renew_lease(builders.worker("w1", clock.now()))
        await steps.show(ours, steps.NEW)
        await steps.merge(ours, *await steps.everything(other))
        assert (await ours.batches.get_batch(batch_id)).sealed_at == clock.now()
        assert await documents.near(ours) == {"new one"}
        assert len(await ours.batches.list_workers()) == 1


async def test_processes_side_by_side_owe_all_that_they_changed(
    attach: Opener, other: MemoryDatabase, clock: ManualClock
):
    """Several claim and complete while what they did is brought over and settled, again and again."""
    async with AsyncExitStack() as stack:
        sides = [await stack.enter_async_context(attach()) for _ in range(3)]
        await steps.pair(sides[0], other)
        for side in sides:
            await side.replication.standing()
        items = [f"i{number:03}" for number in range(120)]
        batch_id = await batches.submit(sides[0], *items, seal=True)

        async def work(side: AnySqlDatabase, worker: str) -> None:
            await side.batches.renew_lease(builders.worker(worker, clock.now()))
            while claimed := await batches.claim(side, 10, worker=worker):
                await batches.complete(side, *claimed)

        workers = [asyncio.create_task(work(side, f"w{place}")) for place, side in enumerate(sides)]
        while not all(task.done() for task in workers):
            await steps.take_across(sides[0], other)
        await asyncio.gather(*workers)
        await sides[1].batches.end_batches()
        numbers = [(await side.replication.standing()).identity.sequence for side in sides]
        assert len(set(numbers)) == 1
        await steps.exchange(sides[2], other)
        assert await batches.counters(other, batch_id) == Counters(completed=len(items))
        for side in sides:
            assert await batches.records_of(side, batch_id) == await batches.records_of(other, batch_id)
            assert await side.batches.get_batch(batch_id) == await other.batches.get_batch(batch_id)
        assert len(await other.batches.list_workers()) == len(sides)


async def test_merges_and_local_writes_cross_without_loss(attach: Opener, other: MemoryDatabase):
    """Both sides of a split go on with the same batches while they are brought together."""
    async with attach() as ours, attach() as second:
        await steps.pair(ours, other)
        await second.replication.standing()
        ids = [await batches.submit(ours, "a", "b", seal=True) for _ in range(8)]
        await steps.exchange(ours, other)

        async def here() -> None:
            for batch_id in ids:
                claimed = await batches.claim(second, 1, batch_id=batch_id)
                # Refused where the cancellation came between.
                await second.batches.update_processing_status([Report(record, Done()) for record in claimed])

        async def there() -> None:
            for batch_id in reversed(ids):
                await other.batches.cancel_batch(batch_id, error_message="Stop.")
                await steps.take_across(other, ours)

        await asyncio.gather(here(), there())
        await steps.exchange(ours, other)
        for batch_id in ids:
            assert await batches.records_of(ours, batch_id) == await batches.records_of(other, batch_id)
            found = await ours.batches.get_batch(batch_id)
            assert (found.error_message, found.cancel_requested) == ("Stop.", True)
            assert found == await other.batches.get_batch(batch_id)
        assert await ours.replication.purge(timedelta(hours=24)) == 0


async def test_mark_that_a_running_transaction_sets_is_not_settled(
    postgres: PostgresHost, clock: ManualClock, other: MemoryDatabase
):
    """V3: settling meets a row whose next version is written, marked and not committed yet."""
    async with postgres.opened(clock) as ours:
        await steps.pair(ours, other)
        await batches.submit(ours, "a")
        rows = await steps.owed(ours, Kind.RECORD)
        peer = await steps.identity(other)
        held, go = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()

        def finish(connection):
            ours.replication.finish(connection)
            loop.call_soon_threadsafe(held.set)
            asyncio.run_coroutine_threadsafe(go.wait(), loop).result(10)

        ours._connections._finish = finish
        claiming = asyncio.create_task(batches.claim(ours))
        await held.wait()
        ours._connections._finish = ours.replication.finish
        assert await ours.replication.settle(rows, peer=peer) == 0
        go.set()
        (claimed,) = await claiming
        assert [row.body for row in await steps.owed(ours, Kind.RECORD)] == [claimed]
        assert await ours.replication.settle(rows, peer=peer) == 0
