"""All rows, for comparing and copying: listed whatever they owe, and found by those of another database."""

from datetime import timedelta

import pytest

from gristmill.domain.record import Record
from gristmill.ports.replication import SetAside
from gristmill.ports.rows import Kind, VectorRow, row_of
from tests.contract import documents_contract_steps as documents
from tests.contract import replication_contract_steps as steps
from tests.support import builders


def named(rows):
    return [(row.kind, row.key) for row in rows]


def exact(rows):
    return sorted((row.kind, row.key, row.token) for row in rows)


class RowsContract:
    async def test_all_rows_are_listed_once_in_the_order_of_kinds(self, database, other, clock):
        await steps.pair(database, other)
        await steps.fill(database, clock.now())
        owed = await steps.owed(database)
        for limit in (1, 2, 100):
            rows = await steps.everything(database, limit=limit)
            assert exact(rows) == exact(owed)
            assert [row.kind for row in rows] == sorted(row.kind for row in rows)
        assert {row.kind for row in owed} == set(Kind)

    async def test_settled_and_set_aside_rows_and_tombstones_are_listed_too(self, database, other, clock):
        await steps.pair(database, other)
        await steps.fill(database, clock.now())
        before = await steps.everything(database)
        await steps.exchange(database, other)
        assert exact(await steps.everything(database)) == exact(before)
        await database.documents.delete_documents([steps.OLD.document_id])
        (deleted,) = await steps.owed(database, Kind.DOCUMENT)
        await database.replication.set_aside([SetAside(Kind.DOCUMENT, deleted.key, deleted.token, "no")])
        clock.advance(3_600)
        await database.batches.cleanup_old_records(timedelta(minutes=1), apply=True)
        rows = await steps.everything(database)
        assert Kind.RECORD not in {row.kind for row in rows}
        assert steps.of(rows, Kind.DOCUMENT) == [deleted]
        (batch,) = steps.of(rows, Kind.BATCH)
        assert batch.body.deleted is not None

    async def test_two_databases_that_owe_nothing_list_the_same(self, database, other, clock):
        await steps.fill(other, clock.now())
        await steps.pair(database, other)
        await steps.exchange(database, other)
        mine, theirs = await steps.everything(database), await steps.everything(other)
        assert exact(mine) == exact(theirs)
        there = {(row.kind, row.key): row.body for row in theirs}
        for row in mine:
            body = there[row.kind, row.key]
            if isinstance(body, VectorRow):
                assert (row.body.embedding, row.body.vector.tobytes()) == (
                    body.embedding,
                    body.vector.tobytes(),
                )
            else:
                assert row.body == body

    async def test_rows_are_found_by_those_of_the_other_database(self, database, other, clock):
        await steps.fill(other, clock.now())
        await steps.pair(database, other)
        theirs = await steps.everything(other)
        assert list(await database.replication.find(theirs)) == [None] * len(theirs)
        await steps.exchange(database, other)
        await database.documents.update_metadata({steps.OLD.document_id: {"v": 2}})
        before = await steps.identity(database)
        found = await database.replication.find(list(reversed(theirs)))
        assert named(found) == named(reversed(theirs))
        assert exact(found) == exact(await steps.everything(database))
        (document,) = steps.of(found, Kind.DOCUMENT)
        assert document.body.live.metadata == {"v": 2}
        assert await steps.identity(database) == before
        assert list(await database.replication.find([])) == []

    async def test_record_of_the_same_item_in_another_batch_is_another_one(self, database, other, clock):
        await steps.fill(database, clock.now())
        (row, _) = steps.of(await steps.everything(database), Kind.RECORD)
        stranger = builders.record(item_id=row.body.item_id)
        assert isinstance(row.body, Record)
        assert await database.replication.find([row_of(stranger), row]) == [None, row]

    async def test_database_that_was_never_paired_lists_its_rows_and_stays_so(self, database, other, clock):
        batch_id = await steps.fill(database, clock.now())
        before = await steps.identity(database)
        rows = await steps.everything(database)
        assert named(await steps.everything(database)) == named(rows)
        assert named(await database.replication.find(rows)) == named(rows)
        assert {row.kind for row in rows} == set(Kind)
        standing = await database.replication.standing()
        assert (standing.identity, standing.peer) == (before, None)
        await steps.merge(other, *rows)
        assert await other.batches.batch_status_view(batch_id) == await database.batches.batch_status_view(
            batch_id
        )
        assert await documents.found(other, "old") == {"old one", "old two"}
        assert sorted(named(await steps.everything(other))) == sorted(named(rows))

    async def test_copy_forgets_what_is_deleted_before_it_is_paired(self, database, other, clock):
        """Rows that came by a merge alone, and went again while it was used alone, must not come back."""
        batch_id = await steps.fill(other, clock.now())
        await steps.merge(database, *await steps.everything(other))
        await database.documents.delete_documents([steps.OLD.document_id])
        clock.advance(3_600)
        await database.batches.cleanup_old_records(timedelta(minutes=1), apply=True)
        await database.replication.distrust(await steps.identity(other))
        assert steps.of(await steps.owed(database), Kind.RECORD) == []
        for row in await steps.owed(database, Kind.BATCH, Kind.DOCUMENT):
            assert row.body.deleted
        await steps.merge(other, *await steps.owed(database))
        assert await other.batches.get_batch(batch_id) is None
        assert await documents.found(other, "old") == set()

    async def test_foreign_row_cursor_is_refused(self, database):
        with pytest.raises(ValueError, match="cursor"):
            await database.replication.rows(limit=5, after="nonsense")
