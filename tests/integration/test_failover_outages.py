"""Outages of one of two databases, its return, and the hand-over to it, one named test for each thing that can happen."""

import asyncio
import time
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest

from gristmill.ports.database import Health
from gristmill.ports.errors import (
    AccessDeniedError,
    AllStoresUnavailableError,
    StoreUnavailableError,
)
from gristmill.ports.failover import Happening
from gristmill.ports.replication import acknowledging
from gristmill.stores.failover import FailoverOptions
from gristmill.stores.memory.tables import Tables
from tests.contract import batches_contract_steps as batches
from tests.contract import documents_contract_steps as documents
from tests.support import builders
from tests.support.clocks import START
from tests.support.simulation import copied
from tests.support.two_memories import QUICK, Two, two_memories
from tests.support.virtual_time import VirtualClock, VirtualLoop


@pytest.fixture
async def two():
    async with two_memories() as made:
        yield made


async def test_background_work_leaves_to_a_call_what_it_has_just_written(two):
    background = FailoverOptions(call_timeout=5, probe_timeout=5, reconcile_every=0.01, in_flight=3.0)
    process = await two.process(options=background)
    await batches.submit(two.one, "a")  # By somebody who is about to bring it over.
    for seconds, owed in ((0, True), (2.9, True), (0.2, False)):
        two.clock.advance(seconds)
        await asyncio.sleep(0.2)
        assert bool(two.one.tables.marks) is owed
    two.assert_equal()
    assert [each.lacks for each in process.status().databases] == [None, None]


async def test_a_call_that_fails_while_the_probe_is_well_is_tried_once_more_and_then_raised(two):
    process = await two.process()
    process.lines["one"].lose_answers = 1
    await process.batches.list_workers()
    process.lines["one"].lose_answers = 2
    with pytest.raises(StoreUnavailableError):
        await process.batches.list_workers()
    assert two.acting() == {"one"}
    assert not any(event.what is Happening.DOWN for event in process.status().events)


async def test_a_database_that_dies_before_its_write_is_sent_is_not_believed(two):
    """Nobody was told of the write yet: it is made again, on the other one."""
    process = await two.process()
    process.lines["one"].cut_after = 2
    batch_id = await batches.submit(process)
    assert batch_id in two.one.tables.batches
    assert (await process.batches.get_batch(batch_id)).batch_id == batch_id
    assert process.status().acting.database == "two"


async def test_a_withheld_row_stays_owed_and_keeps_the_preferred_database_waiting(two):
    process = await two.process()
    process.lines["one"].cut = True
    await documents.open_papers(process)
    await documents.show(process, builders.version("file:///a", ["one two"]))
    two.one.replication._waits_for = lambda body: "all is" if hasattr(body, "wanted") else None
    process.lines["one"].cut = False
    for _ in range(3):
        two.clock.advance(11)
        assert not await process.reconcile()
    assert two.acting() == {"two"}
    assert (await two.two.replication.count_owed()).rows == 1
    del two.one.replication._waits_for
    assert await process.reconcile()
    two.assert_equal()
    assert two.acting() == {"one"}


async def test_a_database_that_refuses_writes_is_left(two):
    process = await two.process()
    process.lines["one"].refuses_writes = True
    await batches.submit(process, "a")
    assert process.status().acting.database == "two"
    assert "full" in process.status().acting.reason


async def test_a_hanging_database_counts_as_down_and_holds_nothing_else_up(two):
    process = await two.process()
    batch_id = await batches.submit(process, "a")
    process.lines["one"].hangs = True
    async with asyncio.timeout(1):
        await batches.claim(process)
    calls = len(process.lines["one"].calls)
    for _ in range(20):
        await batches.statuses(process, batch_id)
    assert len(process.lines["one"].calls) == calls


async def test_writes_that_wait_for_a_push_that_hangs_do_not_hang_too(two):
    process = await two.process(options=replace(QUICK, call_timeout=1.0))
    batch_id = await batches.submit(process, *"abcdef")
    process.lines["two"].hangs = True
    started = time.monotonic()
    claims = [asyncio.create_task(batches.claim(process, 1)) for _ in range(2)]
    await asyncio.sleep(0.1)
    await asyncio.gather(*claims, *(batches.claim(process, 1) for _ in range(2)))
    assert time.monotonic() - started < 1.9  # One time-out; two if they waited one after the other.
    assert list((await batches.statuses(two.one, batch_id)).values()).count("processing") == 4


async def test_a_new_database_that_was_down_at_the_first_start_is_set_up_when_it_is_there(two):
    """Before that it has nothing in it, and its check fails."""
    opened = []

    async def open_it():
        opened.append(two.one)

    async def check():
        return Health("one", ok=bool(opened), latency_seconds=0.0, problem="it has no tables")

    two.one.open, two.one.check = open_it, check
    process = await two.process(one=True)
    batch_id = await batches.submit(process, "a")
    process.lines["one"].cut = False
    assert await process.reconcile()
    assert await batches.statuses(two.one, batch_id) == {"a": "pending"}


async def test_refused_credentials_at_run_time_stop_that_database_and_say_so(two):
    process = await two.process()

    async def denied():
        raise AccessDeniedError("The password of database 'one' is wrong.")

    two.one.replication.standing = denied
    await batches.submit(process, "a")
    assert process.status().acting.database == "two"
    (one, _) = process.status().databases
    assert "password" in one.problem


async def test_both_down_raises_with_a_time_to_try_again(two):
    process = await two.process()
    for name in ("two", "one"):
        two.clock.advance(60)
        process.lines[name].cut = True
        with suppress(AllStoresUnavailableError):
            await process.reconcile()
    two.clock.advance(60)
    with pytest.raises(AllStoresUnavailableError) as caught:
        await batches.submit(process, "a")
    assert caught.value.retry_after_seconds >= 1
    one, both = START + timedelta(seconds=60), START + timedelta(seconds=120)
    assert caught.value.since == {"two": one, "one": both}
    assert f"'one' (since {both:%Y-%m-%d %H:%M:%S} UTC): the line is cut; 'two' (since" in str(caught.value)
    with pytest.raises(AllStoresUnavailableError):
        await two.process(one=True, two=True)
    process.lines["two"].cut = False
    two.clock.advance(3_601)
    await batches.submit(process, "a")


async def test_preferred_takes_over_at_zero_owed_and_after_ten_seconds_of_health(two):
    process = await two.process()
    process.lines["one"].cut = True
    batch_id = await batches.submit(process, "a", "b")
    process.lines["one"].cut = False
    assert await process.reconcile()
    assert two.acting() == {"two"}
    two.clock.advance(9)
    await process.reconcile()
    assert two.acting() == {"two"}
    two.clock.advance(2)
    await process.reconcile()
    assert two.acting() == {"one"}
    two.assert_equal()
    assert await batches.statuses(process, batch_id) == {"a": "pending", "b": "pending"}


async def test_new_writes_go_to_both_while_one_catches_up(two):
    process = await two.process(options=FailoverOptions(page_rows=1, reconcile_every=3_600))
    process.lines["one"].cut = True
    await batches.submit(process, *"abcdefgh")
    process.lines["one"].cut = False
    await process._pair.preferred.revive()
    backlog = (await two.two.replication.count_owed()).rows
    with acknowledging() as acknowledged:
        batch_id = await batches.submit(process)
    assert not acknowledged.replicated  # It may rest on what is still owed.
    assert (await two.two.replication.count_owed()).rows < backlog
    assert batch_id in two.one.tables.batches


async def test_serving_one_dies_during_catch_up_and_the_stale_one_serves_marked(two):
    """A4."""
    process = await two.process(options=replace(QUICK, page_rows=1))
    process.lines["one"].cut = True
    batch_id = await batches.submit(process, *"abcdef")
    process.lines["one"].cut = False
    process.lines["two"].cut_after = 9
    await process.reconcile()
    acting_before = process.status().acting.term
    assert await process.batches.list_workers() == []
    acting = process.status().acting
    assert (acting.database, acting.term > acting_before) == ("one", True)
    assert acting.missing is not None
    process.lines["two"].cut, process.lines["two"].cut_after = False, None
    await process.reconcile()
    assert process.status().acting.missing is None
    assert len(await batches.records_of(process, batch_id)) == 6


@pytest.mark.parametrize("empty", [True, False])
async def test_a_database_that_comes_back_empty_or_older_is_noticed_and_refilled(two, empty):
    """A5: it does not serve before it has all."""
    process = await two.process()
    older = Tables(two.clock) if empty else copied(two.one.tables)
    batch_id = await batches.submit(process, "a", "b", seal=True)
    await batches.complete(process, *await batches.claim(process))
    process.lines["one"].cut = True
    await process.batches.list_workers()
    vars(two.one.tables).update(vars(older))
    process.lines["one"].cut = False
    assert await batches.statuses(process, batch_id) == {"a": "completed", "b": "completed"}
    for _ in range(3):
        two.clock.advance(11)
        await process.reconcile()
    assert two.acting() == {"one"}
    two.assert_equal()
    assert await batches.statuses(process, batch_id) == {"a": "completed", "b": "completed"}


async def test_the_serving_database_replaced_by_an_older_copy_stops_serving(two):
    process = await two.process()
    older = copied(two.one.tables)
    batch_id = await batches.submit(process, "a")
    vars(two.one.tables).update(vars(older))
    assert await batches.statuses(process, batch_id) == {"a": "pending"}
    assert process.status().acting.database == "two"
    assert Happening.DISTRUSTED in {event.what for event in process.status().events}


async def test_older_copy_that_serves_alone_is_refilled_when_the_other_one_is_back(two):
    process = await two.process()
    older = copied(two.one.tables)
    lost = await batches.submit(process, "a")
    process.lines["two"].cut = True
    await batches.submit(process)
    vars(two.one.tables).update(vars(older))
    for _ in range(30):
        await batches.submit(process, "x")  # Its number rises past the one it had.
    process.lines["two"].cut = False
    for _ in range(3):
        await process.reconcile()
    two.assert_equal()
    assert await batches.statuses(process, lost) == {"a": "pending"}


@pytest.mark.parametrize("filled", ["one", "two"])
async def test_switching_failover_on_for_an_existing_installation_brings_all_of_it_across(two, filled):
    alone = getattr(two, filled)
    batch_id = await batches.submit(alone, "a", "b")
    await documents.open_papers(alone)
    version = builders.version("file:///a", ["one two"])
    await documents.show(alone, version)
    process = await two.process()
    assert process.status().acting.database == filled
    for _ in range(3):
        two.clock.advance(11)
        await process.reconcile()
    two.assert_equal()
    assert two.acting() == {"one"}
    assert await batches.statuses(two.two, batch_id) == {"a": "pending", "b": "pending"}
    assert await documents.near(two.two) == {"one two"}


def test_an_idle_process_brings_ten_thousand_owed_records_across_within_ten_seconds_of_the_return():
    async def history() -> None:
        clock = VirtualClock(asyncio.get_running_loop())
        two = Two(clock)
        process = await two.process(options=FailoverOptions(), clock=clock)
        process.lines["two"].cut = True
        batch_id = await batches.submit(process)
        await process.batches.create_processing_records(batch_id, builders.numbered(10_000))
        await asyncio.sleep(60)
        process.lines["two"].cut = False
        await asyncio.sleep(10)
        two.assert_equal()
        assert len(two.two.tables.records[batch_id]) == 10_000
        await process.close()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(history())


def test_a_flapping_database_is_not_handed_back_to_until_it_is_well_for_a_while():
    async def history() -> None:
        clock = VirtualClock(asyncio.get_running_loop())
        two = Two(clock)
        process = await two.process(options=FailoverOptions(), clock=clock)
        for _ in range(20):
            process.lines["one"].cut = not process.lines["one"].cut
            await batches.submit(process, "a")
            await asyncio.sleep(4)
        switches = [event for event in process.status().events if event.what is Happening.SWITCHED]
        assert [event.database for event in switches] == ["one", "two"]
        await asyncio.sleep(30)
        assert two.acting() == {"one"}
        await process.close()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(history())
