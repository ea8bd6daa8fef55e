"""``verify`` finds every difference between two databases, and nothing that is none."""

from dataclasses import replace
from datetime import timedelta

import pytest

from gristmill.commands.stores import reconcile
from gristmill.insights import verifying
from gristmill.insights.verifying import verify
from gristmill.ports.rows import Kind, VectorRow
from gristmill.stores.failover import FailoverDatabase, FailoverOptions
from gristmill.stores.memory import MemoryDatabase
from tests.contract import batches_contract_steps as batches
from tests.contract import replication_contract_steps as steps
from tests.support.clocks import ManualClock
from tests.support.databases import new_sqlite
from tests.support.lines import LinedDatabase

NOW = (0.0,)


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
async def two(clock):
    """A pair that holds rows of every kind on both sides."""
    one, other = MemoryDatabase(clock, name="one"), MemoryDatabase(clock, name="two")
    await steps.fill(one, clock.now())
    await steps.pair(one, other)
    await steps.exchange(one, other)
    return one, other


async def found(two, **options):
    return await verify(*two, look_again=NOW, **options)


async def only(two):
    (difference,) = (await found(two)).differences
    return difference


async def test_two_that_hold_the_same_do_not_differ_and_all_kinds_were_compared(two):
    result = await found(two)
    assert (result.count, list(result.differences)) == (0, [])
    assert set(result.compared) == set(Kind)
    assert result.compared[Kind.RECORD] == result.compared[Kind.VECTOR] == 2


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("lacking", [0, 1])
async def test_a_row_that_one_side_lacks_is_named(two, kind, lacking):
    row = next(row for row in await steps.everything(two[lacking]) if row.kind is kind)
    two[lacking].tables.drop(row.body)
    difference = await only(two)
    assert (difference.kind, difference.key) == (kind, row.key)
    assert difference.what == f"only in {('two', 'one')[lacking]}"


async def test_a_version_staged_again_with_other_metadata_and_another_order_is_no_difference(tmp_path, clock):
    one, other = MemoryDatabase(clock, name="one"), await new_sqlite(tmp_path, clock)
    await steps.fill(one, clock.now())
    await steps.pair(one, other)
    await steps.exchange(one, other)
    again = replace(steps.OLD, title="Z", metadata={"v": 9}, chunks=steps.OLD.chunks[::-1])
    await steps.show(one, again)
    await steps.exchange(one, other)
    assert (await found((one, other))).count == 0
    (row,) = steps.of(await steps.everything(one), Kind.DOCUMENT)
    assert (row.body.live.title, row.body.live.metadata) == ("Z", {"v": 9})
    one.tables.put(replace(row.body, live=replace(row.body.live, title="A")))
    assert (await only((one, other))).what == "differs in live.title"
    await other.close()


async def test_one_bit_of_a_vector_is_a_difference(two):
    (row, _) = steps.of(await steps.everything(two[1]), Kind.VECTOR)
    vector = row.body.vector.copy()
    vector.view("uint32")[0] ^= 1
    two[1].tables.put(VectorRow(row.body.vector_id, row.body.embedding, vector))
    difference = await only(two)
    assert (difference.key, difference.what) == (row.key, "differs in vector")


async def test_a_record_that_differs_is_named_by_its_item_and_what_differs(two):
    (row, _) = steps.of(await steps.everything(two[1]), Kind.RECORD)
    two[1].tables.put(replace(row.body, retries_total=7))
    difference = await only(two)
    assert difference.name == f"item {row.body.item_id!r} of batch {row.body.batch_id}"
    assert difference.what == "differs in retries_total"


async def test_a_row_of_equal_bytes_under_another_token_is_a_difference(two, monkeypatch):
    found_there = two[1].replication.find

    async def other_token(rows):
        return [replace(each, token="another") for each in await found_there(rows)]

    monkeypatch.setattr(two[1].replication, "find", other_token)
    assert {each.what for each in (await found(two)).differences} == {"differs in token"}


async def test_a_lone_settled_tombstone_is_none_and_an_owed_one_is(two, clock):
    one, other = two
    await one.documents.delete_documents([steps.OLD.document_id])
    await steps.exchange(one, other)
    clock.advance(100_000)
    assert await other.replication.purge(timedelta(hours=24)) > 0
    assert (await found(two)).count == 0
    (row,) = steps.of(await steps.everything(one), Kind.DOCUMENT)
    one.tables.mark(row)
    assert (await only(two)).what == "only in one"


async def test_told_ends_of_deleted_batches_are_none(two, clock):
    one, other = two
    (end,) = steps.of(await steps.everything(one), Kind.END)
    await one.batches.events_delivered([end.body.event.event_id])
    await steps.exchange(one, other)
    clock.advance(3_600)
    await one.batches.cleanup_old_records(timedelta(minutes=1), apply=True)
    await steps.exchange(one, other)
    assert (await found(two)).count == 0
    one.tables.put(replace(end.body, delivered=True))
    assert (await found(two)).count == 0


async def test_a_row_on_its_way_is_looked_at_again(two, monkeypatch):
    one, other = two
    await batches.submit(one, "late")

    pauses = []

    async def arrives(seconds):
        pauses.append(seconds)
        if len(pauses) == 2:
            await steps.exchange(one, other)

    monkeypatch.setattr(verifying.asyncio, "sleep", arrives)
    assert (await verify(*two)).count == 0
    assert pauses == list(verifying.LOOK_AGAIN[:2])


async def test_differences_are_all_counted_and_the_first_ones_listed(two):
    await batches.submit(two[0], *"abcdefgh")
    result = await found(two, shown=3)
    assert (result.count, len(result.differences)) == (9, 3)


async def test_reconciling_everything_heals_what_one_side_lost(clock, two):
    one, other = two
    other.tables.records.clear()
    other.tables.vectors.clear()
    options = FailoverOptions(reconcile_every=3_600)
    pair = FailoverDatabase(one, other, clock=clock, options=options)
    await pair.open()
    assert (await found(two)).count == 4
    result = await reconcile(pair)
    assert (result.done, result.moved["two"]) == (True, 0)
    assert (await found(two)).count == 4
    result = await reconcile(pair, everything=True)
    assert result.done
    assert result.moved["two"] == len(await steps.everything(one))
    assert (await found(two)).count == 0
    await pair.close()


async def test_a_file_and_memory_hold_the_same_after_an_outage_of_either(clock, tmp_path):
    sides = [LinedDatabase(await new_sqlite(tmp_path, clock)), LinedDatabase(MemoryDatabase(clock))]
    pair = FailoverDatabase(*sides, clock=clock, options=FailoverOptions(reconcile_every=3_600))
    await pair.open()
    await steps.fill(pair, clock.now())
    for side in sides:
        side.line.cut = True
        await batches.submit(pair, "a", "b", seal=True)
        await batches.complete(pair, *await batches.claim(pair, worker="w2"))
        await pair.documents.delete_documents([steps.OLD.document_id])
        await steps.show(pair, steps.NEW)
        side.line.cut = False
        assert (await reconcile(pair, pause=0)).done
        result = await verify(*pair.databases, look_again=NOW)
        assert (result.count, list(result.differences)) == (0, [])
        assert result.compared[Kind.CHUNKS] > 0
    await pair.close()
    await sides[0].inner.close()


async def test_tokens_are_counted_in_no_order_and_each_once_more_is_a_difference(two):
    (row,) = steps.of(await steps.everything(two[1]), Kind.CHUNKS)
    first, second = row.body.content.chunks

    def put(tokens):
        chunks = (replace(first, tokens=tokens), second)
        two[1].tables.put(replace(row.body, content=replace(row.body.content, chunks=chunks)))

    put(tuple(reversed(first.tokens)))
    assert (await found(two)).count == 0
    put((*first.tokens, first.tokens[0]))
    assert (await only(two)).what == "differs in content.chunks"
