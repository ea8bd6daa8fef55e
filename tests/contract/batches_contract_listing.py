"""Pages: every row exactly once, in a fixed order, while others change."""

from uuid import UUID, uuid4

import pytest

from gristmill.domain.failures import FailureCategory
from gristmill.domain.record import Record, RecordStatus, Retry
from gristmill.ports.database import Database
from gristmill.ports.errors import BatchNotFoundError
from tests.contract import batches_contract_steps as steps
from tests.contract.walks import pages
from tests.support import builders
from tests.support.clocks import ManualClock

FOREIGN_CURSORS = ["garbage", "0", "AAAA", "!!", "ключ"]
# In order of code points, which is neither a locale's order nor that of UTF-16.
BY_CODE_POINT = [
    "0",
    "10",
    "9",
    "A",
    "Z",
    "Zeta",
    "_",
    "a",
    "aa",
    "z",
    "é",
    "Ё",
    "А",
    "Я",
    "а",
    "я",
    "ё",
    "￮",
    "𝄞",
]


class ResultsContract:
    async def test_records_are_found_by_their_items(self, database: Database):
        batch_id = await steps.submit(database, "a", "b", *(f"i{n:04}" for n in range(1200)))
        await steps.submit(database, "c")
        found = await database.batches.find_records(batch_id, ["b", "c", "nothing", "a", "b"])
        assert found == {each: await steps.get(database, batch_id, each) for each in "ab"}
        many = await database.batches.find_records(batch_id, [f"i{n:04}" for n in range(1300)])
        assert len(many) == 1200
        assert await database.batches.find_records(batch_id, []) == {}
        with pytest.raises(BatchNotFoundError):
            await database.batches.find_records(uuid4(), ["a"])

    async def test_records_come_in_order_of_code_points(self, database: Database):
        batch_id = await steps.submit(database, *BY_CODE_POINT[::-2], *BY_CODE_POINT[-2::-2])
        for limit in [1, 3, 100]:
            records = await steps.records_of(database, batch_id, limit=limit)
            assert steps.ids(records) == BY_CODE_POINT == sorted(BY_CODE_POINT)

    async def test_pages_hold_every_record_once_and_end_without_a_cursor(self, database: Database):
        batch_id = await steps.submit(database)
        await database.batches.create_processing_records(batch_id, builders.numbered(12))
        sizes, seen = [], []
        async for page in pages(
            lambda after: database.batches.get_processing_results(batch_id, limit=4, after=after)
        ):
            sizes.append(len(page.records))
            seen += steps.ids(page.records)
        assert sizes == [4, 4, 4]
        assert seen == steps.ids(builders.numbered(12))

    async def test_a_hundred_records_are_a_page_unless_said_otherwise(self, database: Database):
        batch_id = await steps.submit(database)
        await database.batches.create_processing_records(batch_id, builders.numbered(101))
        page = await database.batches.get_processing_results(batch_id)
        assert len(page.records) == 100
        assert page.after is not None

    async def test_empty_batch_is_one_empty_page(self, database: Database):
        page = await database.batches.get_processing_results(await steps.submit(database))
        assert (list(page.records), page.after) == ([], None)

    async def test_pages_neither_repeat_nor_skip_while_others_change(self, database: Database):
        batch_id = await steps.submit(database)
        await database.batches.create_processing_records(batch_id, builders.numbered(20))
        first = await database.batches.get_processing_results(batch_id, limit=8)
        await steps.complete(database, *await steps.claim(database, 13))
        early_and_late = builders.items("a-before-all", "item-00003b", "item-00010b", "z-behind-all")
        await database.batches.create_processing_records(batch_id, early_and_late)
        second = await database.batches.get_processing_results(batch_id, limit=100, after=first.after)
        seen = steps.ids(first.records) + steps.ids(second.records)
        expected = steps.ids(builders.numbered(20))
        assert seen == [*expected[:11], "item-00010b", *expected[11:], "z-behind-all"]

    async def test_cursor_works_when_its_record_has_left_the_filter(self, database: Database):
        batch_id = await steps.submit(database)
        await database.batches.create_processing_records(batch_id, builders.numbered(9))
        pending = RecordStatus.PENDING
        first = await database.batches.get_processing_results(batch_id, status=pending, limit=4)
        await database.batches.cancel_batch(batch_id)
        rest = await database.batches.get_processing_results(
            batch_id, status=RecordStatus.CANCELLED, limit=9, after=first.after
        )
        assert steps.ids(rest.records) == steps.ids(builders.numbered(9))[4:]

    async def test_status_and_category_choose_records(self, database: Database):
        batch_id = await _one_of_each(database)
        found = {}
        for status in RecordStatus:
            records = await steps.records_of(database, batch_id, status=status, limit=1)
            found[status.value] = sorted(steps.ids(records))
        assert found == {
            "pending": ["waits", "waits-too"],
            "processing": ["held"],
            "completed": ["done"],
            "failed": ["crashed", "slow", "slow-too"],
            "cancelled": [],
        }

    async def test_category_chooses_failed_records_over_pages(self, database: Database):
        batch_id = await _one_of_each(database)
        slow = await steps.records_of(
            database, batch_id, status=RecordStatus.FAILED, category=FailureCategory.TIMEOUT, limit=1
        )
        assert steps.ids(slow) == ["slow", "slow-too"]
        none = await steps.records_of(database, batch_id, category=FailureCategory.EMPTY)
        assert none == []
        done = await steps.records_of(
            database, batch_id, status=RecordStatus.COMPLETED, category=FailureCategory.TIMEOUT
        )
        assert done == []

    async def test_category_alone_finds_every_record_that_carries_such_an_error(self, database: Database):
        batch_id = await _one_of_each(database)
        slow = await steps.records_of(database, batch_id, category=FailureCategory.TIMEOUT)
        assert steps.ids(slow) == ["slow", "slow-too", "waits"]

    async def test_results_keep_to_their_batch(self, database: Database):
        one, two = await steps.submit(database, "a", "c"), await steps.submit(database, "b", "d")
        for batch_id, expected in [(one, ["a", "c"]), (two, ["b", "d"])]:
            assert steps.ids(await steps.records_of(database, batch_id, limit=1)) == expected

    @pytest.mark.parametrize("cursor", FOREIGN_CURSORS)
    async def test_foreign_cursor_of_results_is_refused(self, database: Database, cursor: str):
        batch_id = await steps.submit(database, "a", "b")
        with pytest.raises(ValueError, match=r"\w"):
            await database.batches.get_processing_results(batch_id, after=cursor)

    async def test_results_of_an_unknown_batch_are_refused(self, database: Database):
        with pytest.raises(BatchNotFoundError):
            await database.batches.get_processing_results(uuid4())


class BatchListContract:
    async def test_batches_come_newest_first(self, database: Database, clock: ManualClock):
        created = []
        for _ in range(7):
            created.append(await steps.submit(database, "a"))
            clock.advance(0.000_001)
        page = await database.batches.list_batches(limit=100)
        assert [batch.batch_id for batch in page.batches] == created[::-1]
        assert page.after is None
        for batch in page.batches:
            assert batch == await database.batches.get_batch(batch.batch_id)

    async def test_pages_of_batches_hold_each_once(self, database: Database, clock: ManualClock):
        created: list[UUID] = []
        for _ in range(3):
            created += [await steps.submit(database) for _ in range(4)]
            clock.advance(1)
        seen, sizes = [], []
        async for page in pages(lambda after: database.batches.list_batches(limit=3, after=after)):
            sizes.append(len(page.batches))
            seen += [(batch.created_at, batch.batch_id) for batch in page.batches]
        assert sizes == [3, 3, 3, 3]
        assert {batch_id for _, batch_id in seen} == set(created)
        times = [created_at for created_at, _ in seen]
        assert times == sorted(times, reverse=True)

    async def test_new_batches_do_not_disturb_the_pages(self, database: Database, clock: ManualClock):
        created = []
        for _ in range(4):
            created.append(await steps.submit(database))
            clock.advance(1)
        first = await database.batches.list_batches(limit=2)
        await steps.submit(database)
        rest = await database.batches.list_batches(limit=9, after=first.after)
        assert [batch.batch_id for batch in rest.batches] == [created[1], created[0]]

    async def test_no_batches_are_one_empty_page(self, database: Database):
        page = await database.batches.list_batches(limit=3)
        assert (list(page.batches), page.after) == ([], None)

    @pytest.mark.parametrize("cursor", FOREIGN_CURSORS)
    async def test_foreign_cursor_of_batches_is_refused(self, database: Database, cursor: str):
        await steps.submit(database)
        with pytest.raises(ValueError, match=r"\w"):
            await database.batches.list_batches(limit=3, after=cursor)


async def _one_of_each(database: Database) -> UUID:
    batch_id = await steps.submit(
        database, "done", "crashed", "slow", "slow-too", "waits", "waits-too", "held"
    )
    claimed: dict[str, Record] = {record.item_id: record for record in await steps.claim(database)}
    await steps.complete(database, claimed["done"])
    await steps.fail(database, claimed["crashed"], category=FailureCategory.CRASHED)
    await steps.fail(database, claimed["slow"], claimed["slow-too"], category=FailureCategory.TIMEOUT)
    timeout, crash = builders.failure(), builders.failure(FailureCategory.CRASHED)
    await steps.report(database, Retry(timeout), claimed["waits"])
    await steps.report(database, Retry(crash), claimed["waits-too"])
    return batch_id
