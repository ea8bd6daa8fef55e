"""A database of two that comes back older than it was (protocol A5), and nobody compares in time."""

import pytest

from gristmill.ports.replication import acknowledging
from tests.contract import batches_contract_steps as batches
from tests.support import builders
from tests.support.simulation import copied
from tests.support.two_memories import two_memories


@pytest.fixture
async def two():
    async with two_memories() as made:
        yield made


async def test_an_older_copy_is_noticed_though_nobody_writes(two):
    process = await two.process()
    older = copied(two.two.tables)
    await batches.submit(process, "a")
    vars(two.two.tables).update(vars(older))
    await process.reconcile()
    await process.reconcile()
    two.assert_equal()
    assert two.acting() == {"one"}


async def write_past(process, database, remembered) -> None:
    """Write on until the number of the database is above the one that is remembered of it."""
    while database.tables.sequence <= remembered.sequence:
        await batches.submit(process, "later")


async def check_that_both_have(two, kept, *processes) -> None:
    """Each process looks in turn; then both databases hold the same, the items b and c of the batch among it."""
    for process in processes:
        await process.reconcile()
    two.assert_equal()
    for process in processes:
        assert await batches.statuses(process, kept) == {"b": "pending", "c": "pending"}


async def test_an_older_copy_is_noticed_by_who_saw_it_newer_though_it_was_written_on(two):
    """A5: whoever is cut off from the other database writes on, until the number is above what that one remembers."""
    left, right = await two.process(), await two.process()
    await batches.submit(left, "a")
    older = copied(two.two.tables)
    left.lines["one"].cut = True
    kept = await batches.submit(left, "b", "c")
    await right.reconcile()
    vars(two.two.tables).update(vars(older))
    await write_past(left, two.two, two.one.tables.peer)
    left.lines["one"].cut = False
    await check_that_both_have(two, kept, left, right, left)


async def test_an_older_copy_is_noticed_by_who_sent_it_what_it_lacks_though_it_was_written_on(two):
    """A5: nobody had asked it how it stands since; it had only confirmed what it was sent last."""
    process = await two.process()
    kept = await batches.submit(process, "b")
    older = copied(two.two.tables)
    await process.batches.create_processing_records(kept, builders.items("c"))
    vars(two.two.tables).update(vars(older))
    process.lines["one"].cut = True
    await write_past(process, two.two, two.one.tables.peer)
    process.lines["one"].cut = False
    await check_that_both_have(two, kept, process, process, process)


async def test_a_copy_from_before_it_served_is_not_trusted_by_who_sees_it_alone(two):
    """A5: it is written on, past the number that the other one remembers, by a process that never saw that one."""
    older = copied(two.two.tables)
    left = await two.process()
    kept = await batches.submit(left, "b", "c")
    vars(two.two.tables).update(vars(older))
    right = await two.process(one=True)
    await write_past(right, two.two, two.one.tables.peer)
    right.lines["one"].cut = False
    await check_that_both_have(two, kept, right, left, right)


async def test_a_database_that_is_restored_twice_while_the_other_one_is_away(two):
    """A5: the second time it comes back as it was before it was noticed the first time."""
    process = await two.process()
    await batches.submit(process, "a")
    older = copied(two.one.tables)
    kept = await batches.submit(process, "b", "c")
    process.lines["two"].cut = True
    for _ in range(2):
        vars(two.one.tables).update(vars(copied(older)))
        await batches.submit(process, "later")
    await write_past(process, two.one, two.two.tables.peer)
    process.lines["two"].cut = False
    await check_that_both_have(two, kept, process, process, process)


async def test_a_write_that_was_lost_before_it_was_sent_is_not_said_to_be_held_by_both(two):
    """A6: the database comes back older while the write waits to be sent; then it owes nothing."""
    process = await two.process()
    older, line = copied(two.one.tables), process.lines["one"]
    await batches.submit(process, "a")
    answer = line.after

    async def lose_it(name: str) -> None:
        if name == "create_batch":
            vars(two.one.tables).update(vars(older))
            await process.reconcile()
        await answer(name)

    line.after = lose_it
    with acknowledging() as acknowledgement:
        lost = await process.batches.create_batch(builders.new_batch())
    assert await process.batches.get_batch(lost.batch_id) is None
    assert not acknowledgement.replicated
    await process.reconcile()
    two.assert_equal()
