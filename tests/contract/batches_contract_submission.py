"""Submission: batches are created once, items once, and a sealed batch takes no others."""

from dataclasses import replace
from uuid import uuid4

import pytest

from gristmill.domain.batch import BatchStatus
from gristmill.domain.identity import BadItemIdError, record_id
from gristmill.domain.record import Item, RecordStatus
from gristmill.domain.versions import Ending, Step
from gristmill.ports.batches import Created
from gristmill.ports.database import Database
from gristmill.ports.errors import BatchConflictError, BatchNotFoundError
from tests.contract import batches_contract_steps as steps
from tests.support import builders
from tests.support.clocks import ManualClock

BAD_ITEM_IDS = [None, 7, b"a", "", "   ", "x" * 501, "bad\ud800", "nul\x00"]
ODD_ITEM_IDS = [
    "x" * 500,
    "ю" * 500,
    "'; DROP TABLE records; --",
    "a\nb",
    "%_",
    " padded ",
    "𝄞",
    "/tmp/ё.pdf",
]


class SubmissionContract:
    async def test_new_batch_is_queued_and_keeps_what_it_was_given(
        self, database: Database, clock: ManualClock
    ):
        new = builders.new_batch(
            name="Весенний прайс",
            collection="papers",
            priority=3,
            max_error_rate=12.5,
            options={"refresh": True, "under": ["a", {"б": 1.5}], "none": None},
            submitter="host-1:17",
        )
        batch = await database.batches.create_batch(new)
        assert batch == await database.batches.get_batch(new.batch_id)
        assert batch == builders.batch(
            batch_id=new.batch_id,
            name="Весенний прайс",
            collection="papers",
            priority=3,
            max_error_rate=12.5,
            options={"refresh": True, "under": ["a", {"б": 1.5}], "none": None},
            submitter="host-1:17",
            created_at=clock.now(),
            updated_at=clock.now(),
        )

    async def test_batch_created_again_changes_only_its_submitter(
        self, database: Database, clock: ManualClock
    ):
        first = await database.batches.create_batch(builders.new_batch(name="one", submitter="first"))
        clock.advance(60)
        again = builders.new_batch(first.batch_id, name="two", priority=9, submitter="second")
        taken_over = await database.batches.create_batch(again)
        assert taken_over == replace(first, submitter="second")
        assert await database.batches.get_batch(first.batch_id) == taken_over

    async def test_sealed_batch_created_again_is_unchanged(self, database: Database, clock: ManualClock):
        batch_id = await steps.submit(database, "a", seal=True, submitter="first")
        before = await database.batches.get_batch(batch_id)
        clock.advance(60)
        again = await database.batches.create_batch(builders.new_batch(batch_id, submitter="second"))
        assert again == before == await database.batches.get_batch(batch_id)

    async def test_unknown_batch_is_none(self, database: Database):
        assert await database.batches.get_batch(uuid4()) is None

    async def test_new_record_is_pending_due_and_keeps_its_item(self, database: Database, clock: ManualClock):
        batch_id = await steps.submit(database, priority=5)
        payload = {"имя": "Гайка", "price": 1.25, "tags": ["a", None, {"n": 10**12}], "ok": True}
        submitted = Item(item_id="ключ-1", kind="prices", source="/в/файле.csv", payload=payload)
        created = await database.batches.create_processing_records(batch_id, [submitted])
        record = await steps.get(database, batch_id, "ключ-1")
        assert created == Created(created=1, existing=0)
        assert record == builders.record(
            batch_id=batch_id,
            item_id="ключ-1",
            kind="prices",
            source="/в/файле.csv",
            payload=payload,
            priority=5,
            created_at=clock.now(),
            updated_at=clock.now(),
            next_attempt_at=clock.now(),
            version=record.version,
        )
        assert record.record_id == record_id(batch_id, "ключ-1")

    async def test_new_record_has_an_open_pending_version_of_round_zero(self, database: Database):
        batch_id = await steps.submit(database, "a")
        version = (await steps.get(database, batch_id, "a")).version
        found = (version.tombstone, version.round, version.ending, version.epoch, version.step)
        assert found == (False, 0, Ending.OPEN, 0, Step.PENDING)

    async def test_items_twice_in_a_call_are_stored_once_as_first_given(self, database: Database):
        batch_id = await steps.submit(database)
        given = [builders.item("a", source="one"), builders.item("b"), builders.item("a", source="two")]
        created = await database.batches.create_processing_records(batch_id, given)
        assert created == Created(created=2, existing=1)
        assert [r.source for r in await steps.records_of(database, batch_id)] == ["one", None]

    async def test_items_submitted_again_are_left_as_they_are(self, database: Database, clock: ManualClock):
        batch_id = await steps.submit(database, "a", "b")
        await steps.complete(database, await steps.claim_one(database))
        before = await steps.records_of(database, batch_id)
        clock.advance(60)
        again = builders.items("b", "a", "c", source="other")
        created = await database.batches.create_processing_records(batch_id, again)
        assert created == Created(created=1, existing=2)
        assert (await steps.records_of(database, batch_id))[:2] == before
        assert (await steps.counters(database, batch_id)).total == 3

    async def test_slices_add_up(self, database: Database):
        batch_id = await steps.submit(database)
        for start in range(0, 700, 100):
            items = builders.numbered(150, start=start)
            await database.batches.create_processing_records(batch_id, items)
        records = await steps.records_of(database, batch_id)
        assert steps.ids(records) == steps.ids(builders.numbered(750))
        assert (await steps.counters(database, batch_id)).pending == 750

    async def test_empty_slice_creates_nothing(self, database: Database):
        batch_id = await steps.submit(database)
        created = await database.batches.create_processing_records(batch_id, [])
        assert created == Created(created=0, existing=0)

    async def test_same_item_id_in_two_batches_is_two_records(self, database: Database):
        one, two = await steps.submit(database, "a"), await steps.submit(database, "a")
        await steps.complete(database, await steps.claim_one(database, batch_id=one))
        assert await steps.statuses(database, one) == {"a": "completed"}
        assert await steps.statuses(database, two) == {"a": "pending"}

    @pytest.mark.parametrize("item_id", ODD_ITEM_IDS)
    async def test_odd_item_id_is_kept_as_given(self, database: Database, item_id: str):
        batch_id = await steps.submit(database, item_id)
        assert steps.ids(await steps.records_of(database, batch_id)) == [item_id]

    @pytest.mark.parametrize("item_id", BAD_ITEM_IDS)
    async def test_bad_item_id_is_refused_with_its_position_and_nothing_is_stored(
        self, database: Database, item_id: object
    ):
        batch_id = await steps.submit(database, "there")
        given = builders.items("a", "b", item_id, "c")
        with pytest.raises(BadItemIdError) as refused:
            await database.batches.create_processing_records(batch_id, given)
        assert (refused.value.position, refused.value.value) == (2, item_id)
        assert steps.ids(await steps.records_of(database, batch_id)) == ["there"]
        assert (await steps.counters(database, batch_id)).total == 1

    async def test_records_of_an_unknown_batch_are_refused(self, database: Database):
        with pytest.raises(BatchNotFoundError):
            await database.batches.create_processing_records(uuid4(), builders.items("a"))

    async def test_sealing_declares_the_records_present(self, database: Database, clock: ManualClock):
        batch_id = await steps.submit(database, "a", "b", "c")
        clock.advance(60)
        sealed = await database.batches.seal_batch(batch_id)
        assert (sealed.sealed_at, sealed.total_files) == (clock.now(), 3)
        assert sealed.status is BatchStatus.QUEUED
        assert await database.batches.get_batch(batch_id) == sealed

    async def test_sealing_again_changes_nothing(self, database: Database, clock: ManualClock):
        batch_id = await steps.submit(database, "a", seal=True)
        sealed = await database.batches.get_batch(batch_id)
        clock.advance(60)
        assert await database.batches.seal_batch(batch_id) == sealed
        assert await database.batches.get_batch(batch_id) == sealed

    async def test_sealing_ends_nothing(self, database: Database):
        batch_id = await steps.submit(database, "a")
        await steps.complete(database, await steps.claim_one(database))
        sealed = await database.batches.seal_batch(batch_id)
        assert (sealed.status, sealed.completed_at) == (BatchStatus.PROCESSING, None)

    async def test_sealing_an_unknown_batch_is_refused(self, database: Database):
        with pytest.raises(BatchNotFoundError):
            await database.batches.seal_batch(uuid4())

    async def test_sealed_batch_takes_its_own_items_again(self, database: Database):
        batch_id = await steps.submit(database, "a", "b", seal=True)
        items = builders.items("b", "a")
        created = await database.batches.create_processing_records(batch_id, items)
        assert created == Created(created=0, existing=2)

    async def test_sealed_batch_refuses_other_items_and_stores_none(self, database: Database):
        batch_id = await steps.submit(database, "a", seal=True)
        with pytest.raises(BatchConflictError) as refused:
            await database.batches.create_processing_records(batch_id, builders.items("a", "y", "x"))
        assert refused.value.batch_id == batch_id
        assert sorted(refused.value.item_ids) == ["x", "y"]
        assert await steps.statuses(database, batch_id) == {"a": RecordStatus.PENDING}
        assert (await steps.counters(database, batch_id)).total == 1

    async def test_new_records_have_write_ids_of_their_own(self, database: Database):
        batch_id = await steps.submit(database, *(f"i{number}" for number in range(50)))
        write_ids = {r.version.write_id for r in await steps.records_of(database, batch_id)}
        assert len(write_ids) == 50
