"""What the protocol promises of two databases, one named test for each promise."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest

from gristmill.domain.batch import BatchStatus
from gristmill.domain.document import EmbeddingIdentity
from gristmill.domain.identity import end_event_id
from gristmill.domain.record import Done, Report
from gristmill.ports.documents import Published
from gristmill.ports.errors import (
    BatchNotFoundError,
)
from gristmill.ports.failover import Happening
from gristmill.ports.replication import acknowledging
from gristmill.ports.rows import Kind
from tests.contract import batches_contract_steps as batches
from tests.contract import documents_contract_steps as documents
from tests.support import builders
from tests.support.clocks import ManualClock
from tests.support.two_memories import QUICK, two_memories

PATIENT = replace(QUICK, call_timeout=5.0)


@pytest.fixture
async def two():
    async with two_memories() as made:
        yield made


async def test_invariant_1_what_is_acknowledged_as_replicated_survives_the_loss_of_either(two):
    for lost in ("one", "two"):
        process = await two.process()
        with acknowledging() as acknowledged:
            batch_id = await batches.submit(process, "a", "b", seal=True)
        assert acknowledged.replicated
        assert acknowledged.writes == 3
        process.lines[lost].cut = True
        assert await batches.statuses(process, batch_id) == {"a": "pending", "b": "pending"}
        process.lines[lost].cut = False
        await process.reconcile()


async def test_invariant_1_what_one_database_alone_holds_is_said_and_counted(two):
    process = await two.process()
    process.lines["two"].cut = True
    with acknowledging() as acknowledged:
        await batches.submit(process, "a", "b", seal=True)
    assert not acknowledged.replicated
    assert (await two.one.replication.count_owed()).rows == 3
    process.lines["two"].cut = False
    assert await process.reconcile()
    two.assert_equal()
    with acknowledging() as acknowledged:
        await batches.claim(process)
    assert acknowledged.replicated


@pytest.mark.parametrize(
    "error", [ValueError("invalid point id"), BatchNotFoundError(uuid4()), TimeoutError()]
)
async def test_invariant_5_a_bug_is_not_an_outage(two, error):
    process = await two.process()
    before = process.status().acting

    async def fails(_batch_id):
        raise error

    two.one.batches.get_batch = fails
    with pytest.raises(type(error)):
        await process.batches.get_batch(uuid4())
    assert process.status().acting == before
    assert two.acting() == {"one"}


async def test_invariant_7_a_record_completed_on_both_sides_of_a_split_has_one_result(two):
    left, right = await two.process(), await two.process()
    batch_id = await batches.submit(left, "a", seal=True)
    claimed = await batches.claim(left)
    left.lines["two"].cut = right.lines["one"].cut = True
    await batches.complete(left, *claimed)
    await batches.complete(right, *claimed)
    left.lines["two"].cut = right.lines["one"].cut = False
    for process in (left, right, left):
        await process.reconcile()
    two.assert_equal()
    assert len(await batches.records_of(left, batch_id)) == 1


async def test_what_is_written_again_is_not_said_to_be_replicated_while_it_is_owed(two):
    process = await two.process(options=replace(QUICK, page_rows=1))
    process.lines["two"].cut = True
    batch_id = await batches.submit(process, *"abcdef")
    process.lines["two"].cut = False
    await process._pair.sides[1].revive()
    with acknowledging() as acknowledged:
        await process.batches.create_processing_records(batch_id, builders.items("f"))
    assert not acknowledged.replicated
    await process.reconcile()
    with acknowledging() as acknowledged:
        await process.batches.create_processing_records(batch_id, builders.items("f"))
    assert acknowledged.replicated


async def test_writes_at_the_same_time_are_brought_over_together(two):
    process = await two.process()
    batch_id = await batches.submit(process, *"abcdefghijklmnopqrstuvwxyz")
    await process.settled()
    merge, merged = two.two.replication.merge, []

    async def slowly(rows, **options):
        merged.append(rows)
        await asyncio.sleep(0.01)
        return await merge(rows, **options)

    two.two.replication.merge = slowly
    with acknowledging() as acknowledged:
        claims = await asyncio.gather(*(batches.claim(process, 1, worker=f"w{n}") for n in range(20)))
    assert acknowledged.replicated
    assert len(merged) == 2  # What the first one had written, and all the rest.
    two.assert_equal()
    for claimed in claims:
        assert await batches.get(two.two, batch_id, claimed[0].item_id) == claimed[0]


def held_up(database):
    """Let settling wait for the event that is returned."""
    settle, going_on = database.replication.settle, asyncio.Event()

    async def late(rows, **options):
        await going_on.wait()
        return await settle(rows, **options)

    database.replication.settle = late
    return going_on


async def test_no_write_waits_for_its_marks_to_be_settled_and_nothing_is_sent_twice_for_that(two):
    process = await two.process(options=PATIENT)
    settling, merge, merged = held_up(two.one), two.two.replication.merge, []

    async def noted(rows, **options):
        merged.extend(row.token for row in rows)
        return await merge(rows, **options)

    two.two.replication.merge = noted
    with acknowledging() as acknowledged:
        batch_id = await batches.submit(process)
    assert acknowledged.replicated
    assert (await two.one.replication.count_owed()).rows == 1
    following = asyncio.create_task(process.batches.create_processing_records(batch_id, builders.items("a")))
    await asyncio.sleep(0.01)
    assert not following.done()
    settling.set()
    await following
    await process.settled()
    two.assert_equal()
    assert len(merged) == len(set(merged)) == 2


async def test_marks_of_a_process_that_dies_before_they_are_settled_are_settled_by_another(two):
    dying = await two.process(options=PATIENT)
    settle = two.one.replication.settle
    held_up(two.one)
    with acknowledging() as acknowledged:
        await batches.submit(dying)
    assert acknowledged.replicated
    two.one.replication.settle = settle
    two.opened.remove(dying)
    assert await (await two.process()).reconcile()
    two.assert_equal()


async def test_a_confirmation_from_before_everything_is_owed_again_settles_nothing_after_it(two):
    process = await two.process(options=PATIENT)
    settling = held_up(two.one)
    await batches.submit(process)
    owing = asyncio.create_task(process.owe_everything())
    await asyncio.sleep(0.01)
    settling.set()
    await owing
    await process.settled()
    assert (await two.one.replication.count_owed()).rows == 1


async def test_until_the_preferred_one_serves_again_writes_leave_no_mark_that_keeps_it_from_that(two):
    process = await two.process(one=True)
    process.lines["one"].cut = False
    assert await process.reconcile()
    assert two.acting() == {"two"}
    with acknowledging() as acknowledged:
        await batches.submit(process, "a")
    assert acknowledged.replicated
    assert (await two.two.replication.count_owed()).rows == 0


async def test_what_was_read_more_than_ten_minutes_ago_is_read_again_before_it_is_written(two):
    """B3: a process that was frozen between the two would bring back what was forgotten since."""
    process = await two.process()
    batch_id = await batches.submit(process, "a", seal=True)
    await batches.complete(process, *await batches.claim(process))
    await process.batches.end_batches()
    await two.one.replication.distrust(two.two.tables.identity)
    owed, merge, brought = two.one.replication.owed, two.two.replication.merge, []

    async def frozen_once(**options):
        page = await owed(**options)
        if batch_id in two.one.tables.batches:
            two.clock.advance(601)
            for each in (two.one, two.two):
                del each.tables.batches[batch_id], each.tables.records[batch_id]
                each.tables.marks.clear()
        return page

    async def noted(rows, **options):
        brought.extend(rows)
        return await merge(rows, **options)

    two.one.replication.owed, two.two.replication.merge = frozen_once, noted
    await process.reconcile()
    assert brought == []
    assert batch_id not in two.two.tables.batches


async def test_one_row_the_other_side_refuses_blocks_nothing(two):
    """A3."""
    left, right = await two.process(two=True), await two.process(one=True)
    await left.documents.open_collection("papers", builders.EMBEDDING)
    await right.documents.open_collection("papers", EmbeddingIdentity("another", "model", 3))
    batch_id = await batches.submit(right, "a")
    for process in (left, right):
        for line in process.lines.values():
            line.cut = False
        await process.reconcile()
    two.clock.advance(11)
    await left.reconcile()
    assert two.acting() == {"one"}
    assert await batches.statuses(left, batch_id) == {"a": "pending"}
    asides = [await each.replication.list_set_aside(limit=9) for each in (two.one, two.two)]
    assert {(row.kind, row.key) for rows in asides for row in rows} == {(Kind.COLLECTION, "papers")}
    assert Happening.SET_ASIDE in {event.what for event in left.status().events}


async def test_a_row_whose_merging_fails_by_a_bug_is_found_and_set_aside(two):
    process = await two.process()
    merge = two.two.replication.merge

    async def fails_for_b(rows, **options):
        if any(getattr(row.body, "item_id", None) == "b" for row in rows):
            raise RuntimeError("on purpose")
        return await merge(rows, **options)

    two.two.replication.merge = fails_for_b
    with acknowledging() as acknowledged:
        batch_id = await batches.submit(process, *"abcde")
    assert not acknowledged.replicated
    assert set(await batches.statuses(two.two, batch_id)) == set("acde")
    (aside,) = await two.one.replication.list_set_aside(limit=9)
    assert "on purpose" in aside.reason


async def test_one_process_cut_from_one_database_for_a_minute_while_all_goes_on(two):
    left, right = await two.process(), await two.process()
    await documents.open_papers(left)
    gone, kept = builders.version("file:///gone", ["gone"]), builders.version("file:///kept", ["kept"])
    await documents.show(left, gone, kept)
    names = [await batches.submit(left, *"abcd") for _ in range(4)]
    claimed = await batches.claim(left, batch_id=names[0])
    left.lines["one"].cut = True
    await batches.complete(left, *claimed[:2])
    await batches.fail(right, *claimed[2:])
    await left.batches.cancel_batch(names[1])
    await right.batches.seal_batch(names[2])
    await left.documents.delete_documents([gone.document_id])
    await right.batches.retry_failed(names[0], permanent=True)
    two.clock.advance(60)
    left.lines["one"].cut = False
    for _ in range(3):
        two.clock.advance(11)
        for process in (left, right):
            await process.reconcile()
    two.assert_equal()
    statuses = list((await batches.statuses(right, names[0])).values())
    assert sorted(statuses) == ["completed", "completed", "pending", "pending"]
    assert set((await batches.statuses(right, names[1])).values()) == {"cancelled"}
    assert (await right.batches.get_batch(names[2])).sealed_at
    assert await documents.near(right) == {"kept"}


async def test_worker_frozen_beyond_its_lease_across_a_switch_changes_nothing_when_it_thaws(two):
    frozen, other = await two.process(), await two.process()
    batch_id = await batches.submit(frozen, "a")
    await frozen.batches.renew_lease(builders.worker("w1", two.clock.now()))
    late = await batches.claim_one(frozen)
    other.lines["one"].cut = True
    two.clock.advance(120)
    await other.batches.take_back("w1", renewed_at=two.clock.now())
    two.clock.advance(120)
    again = await batches.claim_one(other, worker="w2")
    other.lines["one"].cut = False
    await other.reconcile()
    (refused,) = await frozen.batches.update_processing_status([Report(late, Done())])
    assert refused.met.claim == again.claim
    assert await batches.get(other, batch_id, "a") == again


async def test_sixty_seconds_of_clock_skew_decide_nothing(two):
    ahead = ManualClock(two.clock.now() + timedelta(seconds=60))
    two.two.tables.clock = ahead
    two.two.batches._clock = ahead
    process = await two.process()
    batch_id = await batches.submit(process, "a", "b", seal=True)
    first, second = await batches.claim(process)
    process.lines["one"].cut = True
    await batches.fail(process, first)
    process.lines["one"].cut = False
    slow = await two.process(two=True)
    await slow._pair.switch(slow._pair.preferred, "a split")
    await batches.complete(slow, first, second)
    slow.lines["two"].cut = False
    for _ in range(3):
        await process.reconcile()
        await slow.reconcile()
    two.assert_equal()
    assert await batches.statuses(process, batch_id) == {"a": "completed", "b": "completed"}


async def test_version_two_is_live_before_the_vectors_of_version_one(two):
    process = await two.process()
    await documents.open_papers(process)
    old, new = builders.version("file:///a", ["old"]), builders.version("file:///a", ["new"])
    (first,) = await process.documents.stage_versions([old])
    await documents.show(process, new)
    await process.documents.put_vectors(builders.EMBEDDING, builders.vectors_of(old))
    published = await process.documents.publish({old.document_id: first})
    assert published == {old.document_id: Published.SUPERSEDED}
    process.lines["one"].cut = True
    assert await documents.near(process) == {"new"}


async def test_a_new_document_staged_only_in_a_database_that_dies_is_tried_again_and_shown(two):
    process = await two.process()
    await documents.open_papers(process)
    new, gone = builders.version("file:///new", ["new"]), builders.version("file:///gone", ["gone"])
    process.lines["two"].cut = True
    wanted = dict(
        zip(
            (new.document_id, gone.document_id),
            await process.documents.stage_versions([new, gone]),
            strict=True,
        )
    )
    await process.documents.put_vectors(builders.EMBEDDING, builders.vectors_of(new, gone))
    await process.documents.delete_documents([gone.document_id])
    process.lines["one"].cut, process.lines["two"].cut = True, False
    await process._pair.sides[1].revive()
    published = await process.documents.publish(wanted)
    assert set(published.values()) == {Published.INCOMPLETE}  # As what is missing comes with a new try.
    await documents.show(process, new)
    assert await documents.near(process) == {"new"}
    process.lines["one"].cut = False
    assert await process.reconcile()
    assert await process.documents.publish(wanted) == {
        new.document_id: Published.LIVE,
        gone.document_id: Published.SUPERSEDED,
    }
    assert await documents.near(process) == {"new"}
    two.assert_equal()


async def test_the_same_text_in_two_documents_is_one_vector_on_both(two):
    process = await two.process()
    await documents.open_papers(process)
    await documents.show(
        process, builders.version("file:///a", ["same"]), builders.version("file:///b", ["same"])
    )
    assert [len(each.tables.vectors) for each in (two.one, two.two)] == [1, 1]
    process.lines["one"].cut = True
    assert len((await documents.search(process, vector=builders.random_unit(1))).vector) == 2


async def test_one_end_event_id_a_round_across_a_switch(two):
    process = await two.process()
    batch_id = await batches.submit(process, "a", seal=True)
    await batches.complete(process, *await batches.claim(process))
    await process.batches.end_batches()
    process.lines["one"].cut = True
    assert list(await process.batches.end_batches()) == []
    (event,) = await process.batches.pending_events(limit=9)
    assert event.event_id == end_event_id(batch_id, 0)
    await process.batches.events_delivered([event.event_id])
    process.lines["one"].cut = False
    two.clock.advance(11)
    await process.reconcile()
    two.clock.advance(11)
    await process.reconcile()
    assert two.acting() == {"one"}
    assert list(await process.batches.pending_events(limit=9)) == []
    assert (await process.batches.get_batch(batch_id)).status is BatchStatus.COMPLETED


@pytest.mark.parametrize("step", ["submit", "claim", "complete"])
@pytest.mark.parametrize("lost", range(4))
async def test_a_lost_answer_at_any_step_is_repeated_in_effect_once(two, step, lost):
    process = await two.process()
    batch_id = await batches.submit(process, *([] if step == "submit" else "ab"))
    claimed = await batches.claim(process) if step == "complete" else []
    process.lines["one"].lose_answers = lost % 2
    process.lines["two"].lose_answers = lost // 2
    if step == "submit":
        await process.batches.create_processing_records(batch_id, builders.items("a", "b"))
    elif step == "claim":
        await batches.claim(process)
    else:
        await process.batches.update_processing_status([Report(each, Done()) for each in claimed])
    await process.reconcile()
    two.assert_equal()
    records = await batches.records_of(process, batch_id)
    expected = {"submit": "pending", "claim": "processing", "complete": "completed"}[step]
    assert [record.status.value for record in records] == [expected] * 2
    assert all(record.attempts <= 1 for record in records)
