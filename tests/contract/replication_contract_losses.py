"""Batches whose declaration came here, and some of whose records were lost with the only database that had them."""

import pytest

from gristmill.domain.batch import BatchStatus, Counters, missing_records
from gristmill.ports.batches import Created
from gristmill.ports.errors import BatchConflictError
from gristmill.ports.rows import Kind
from tests.contract import batches_contract_steps as batches
from tests.contract import replication_contract_steps as steps
from tests.support import builders


async def bereft(database, other, *, failed: bool = False):
    """A batch of five, all of them in ``other``: here are two, which have ended, and the declaration."""
    await steps.pair(database, other)
    batch_id = await batches.submit(other, "a", "b")
    await steps.exchange(database, other)
    await other.batches.create_processing_records(batch_id, builders.items("c", "d", "e"))
    await other.batches.seal_batch(batch_id)
    await steps.take_across(other, database, Kind.BATCH)
    claimed = await batches.claim(database)
    await batches.complete(database, *claimed[:-1])
    await (batches.fail if failed else batches.complete)(database, claimed[-1])
    return batch_id


async def ends(database, batch_id) -> BatchStatus:
    (ended,) = await database.batches.end_batches([batch_id])
    assert await database.batches.get_batch(batch_id) == ended
    return ended.status


class LossesContract:
    async def test_batch_that_lacks_declared_records_goes_on(self, database, other):
        batch_id = await bereft(database, other)
        assert list(await database.batches.end_batches()) == []
        batch = await database.batches.get_batch(batch_id)
        assert (batch.ended, batch.total_files, missing_records(batch, 2)) == (False, 5, 3)
        assert await database.batches.seal_batch(batch_id) == batch

    async def test_same_items_again_take_the_places_of_the_lost_ones(self, database, other):
        batch_id = await bereft(database, other)
        again = builders.items("a", "b", "c", "d", "d")
        assert await database.batches.create_processing_records(batch_id, again) == Created(2, 3)
        assert list(await database.batches.end_batches()) == []
        await database.batches.create_processing_records(batch_id, builders.items("e"))
        await database.batches.seal_batch(batch_id)
        await batches.complete(database, *await batches.claim(database))
        assert await ends(database, batch_id) is BatchStatus.COMPLETED
        assert await batches.counters(database, batch_id) == Counters(completed=5)

    async def test_more_items_than_are_missing_are_refused_and_none_is_stored(self, database, other):
        batch_id = await bereft(database, other)
        with pytest.raises(BatchConflictError) as refused:
            await database.batches.create_processing_records(batch_id, builders.items(*"acdef"))
        assert sorted(refused.value.item_ids) == ["c", "d", "e", "f"]
        assert await batches.counters(database, batch_id) == Counters(completed=2)

    async def test_what_is_here_is_declared_anew(self, database, other, clock):
        batch_id = await bereft(database, other)
        sealed_at = (await database.batches.get_batch(batch_id)).sealed_at
        clock.advance(60)
        declared = await database.batches.seal_batch(batch_id, anew=True)
        assert (declared.total_files, declared.sealed_at, declared.ended) == (2, sealed_at, False)
        assert await database.batches.get_batch(batch_id) == declared
        assert await ends(database, batch_id) is BatchStatus.COMPLETED
        assert (await database.batches.seal_batch(batch_id, anew=True)).total_files == 2

    async def test_declaring_anew_leaves_a_batch_that_lacks_nothing_as_it_is(self, database, clock):
        batch_id = await batches.submit(database, "a", seal=True)
        before = await database.batches.get_batch(batch_id)
        clock.advance(60)
        assert await database.batches.seal_batch(batch_id, anew=True) == before

    async def test_cancel_declares_what_is_here(self, database, other):
        batch_id = await bereft(database, other)
        await database.batches.create_processing_records(batch_id, builders.items("c"))
        assert await database.batches.cancel_batch(batch_id) == 1
        assert await ends(database, batch_id) is BatchStatus.CANCELLED
        assert (await database.batches.get_batch(batch_id)).total_files == 3

    async def test_declaration_holds_in_the_rounds_after_it(self, database, other):
        batch_id = await bereft(database, other, failed=True)
        await database.batches.cancel_batch(batch_id)
        await database.batches.end_batches()
        assert await database.batches.retry_failed(batch_id, permanent=True) == 1
        await batches.complete(database, await batches.claim_one(database))
        assert await ends(database, batch_id) is BatchStatus.COMPLETED

    async def test_new_declaration_beats_the_one_it_takes_back(self, database, other):
        """Whichever of the two copies comes last: a database that was restored still has the old one."""
        batch_id = await bereft(database, other)
        (old,) = [row for row in await steps.everything(other) if row.kind is Kind.BATCH]
        await database.batches.seal_batch(batch_id, anew=True)
        await database.batches.end_batches()
        (new,) = await steps.owed(database, Kind.BATCH)
        await steps.merge(database, old)
        await steps.merge(other, new)
        await steps.merge(other, old)
        for side in (database, other):
            assert (await side.batches.get_batch(batch_id)).total_files == 2
        assert (await database.batches.get_batch(batch_id)).ended

    async def test_records_that_come_back_after_all_are_worked_on(self, database, other):
        batch_id = await bereft(database, other)
        await database.batches.seal_batch(batch_id, anew=True)
        await ends(database, batch_id)
        (event,) = await database.batches.pending_events(limit=9)
        await steps.exchange(database, other)
        for side in (database, other):
            assert await batches.counters(side, batch_id) == Counters(pending=3, completed=2)
            assert not (await side.batches.get_batch(batch_id)).ended
        await batches.complete(database, *await batches.claim(database))
        assert await ends(database, batch_id) is BatchStatus.COMPLETED
        assert list(await database.batches.pending_events(limit=9)) == [event]
