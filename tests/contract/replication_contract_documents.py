"""Collections, versions, vectors and documents that come from another database."""

from dataclasses import replace
from datetime import timedelta

import pytest

from gristmill.ports.documents import Published
from gristmill.ports.replication import Fate
from gristmill.ports.rows import Kind
from tests.contract import documents_contract_steps as documents
from tests.contract import replication_contract_steps as steps
from tests.support import builders

OLD, NEW = steps.OLD, steps.NEW


async def both(database, other, *versions) -> None:
    """The two databases, paired, with these versions live on both."""
    await steps.pair(database, other)
    await documents.open_papers(other)
    await steps.show(other, *versions)
    await steps.exchange(database, other)


class DocumentFactsContract:
    async def test_document_arrives_and_is_found(self, database, other):
        await both(database, other, OLD, builders.version("file:///b", ["other words"]))
        query = builders.random_unit(3)
        for side in (database, other):
            assert await documents.found(side, "old other") == {"old one", "old two", "other words"}
            assert await documents.near(side) == {"old one", "old two", "other words"}
            assert await documents.counts(side) == {"papers": (2, 3)}
        ids = [OLD.document_id]
        assert await database.documents.find_documents(ids) == await other.documents.find_documents(ids)
        hits = [(await documents.search(side, "old", vector=query)) for side in (database, other)]
        ours, theirs = (each.vector for each in hits)
        assert [hit.chunk_id for hit in ours] == [hit.chunk_id for hit in theirs]
        assert [hit.score for hit in ours] == pytest.approx([hit.score for hit in theirs], abs=1e-5)

    async def test_versions_without_any_words_arrive(self, database, other):
        """One without chunks, and one whose chunk has nothing that text search could find."""
        await both(database, other, OLD)
        silent = builders.without_words(builders.version("file:///b", ["***"]))
        await steps.show(database, builders.version("file:///a", []), silent)
        await steps.exchange(database, other)
        rows = steps.of(await steps.everything(database), Kind.CHUNKS)
        assert {row.body.content.source for row in rows} == {"file:///a", "file:///b"}
        for side in (database, other):
            assert await documents.near(side) == {"***"}
            assert await documents.counts(side) == {"papers": (2, 1)}

    async def test_live_version_is_withheld_until_its_chunks_and_vectors_are_here(self, database, other):
        """D1: searched there, it would show half a document."""
        await both(database, other, OLD)
        await steps.show(other, NEW)
        rows = await steps.owed(other)
        for kind in (Kind.CHUNKS, Kind.VECTOR):
            (merge,) = await steps.merge(database, *steps.of(rows, Kind.DOCUMENT))
            assert merge.fate is Fate.WITHHELD
            assert await documents.near(database) == {"old one", "old two"}
            await steps.merge(database, *steps.of(rows, kind))
        (merge,) = await steps.merge(database, *steps.of(rows, Kind.DOCUMENT))
        assert merge.fate is Fate.HELD
        assert await documents.near(database) == {"new one"}
        assert await documents.found(database, "old new") == {"new one"}

    async def test_staged_version_can_be_published_over_there(self, database, other):
        await both(database, other, OLD)
        (wanted,) = await other.documents.stage_versions([NEW])
        await other.documents.put_vectors(builders.EMBEDDING, builders.vectors_of(NEW))
        await steps.exchange(database, other)
        assert await documents.near(database) == {"old one", "old two"}
        published = await database.documents.publish({NEW.document_id: wanted})
        assert published == {NEW.document_id: Published.LIVE}
        await steps.exchange(database, other)
        assert await documents.near(other) == await documents.near(database) == {"new one"}

    @pytest.mark.parametrize("again", [OLD, NEW], ids=["the same", "another"])
    async def test_what_is_live_when_they_are_paired_stays_so_while_a_later_staging_waits(
        self, database, other, clock, again
    ):
        await documents.open_papers(database)
        await steps.show(database, OLD)
        clock.advance(1)
        await database.documents.update_metadata({OLD.document_id: {"edited": True}})
        clock.advance(1)
        changed = replace(again, title="C", metadata={"later": True})
        (wanted,) = await database.documents.stage_versions([changed])
        alone = await database.documents.find_documents([OLD.document_id])
        assert alone[OLD.document_id].version == OLD.version
        await steps.merge(other, *await steps.everything(database))
        assert await other.documents.find_documents([OLD.document_id]) == alone
        await steps.pair(database, other)
        await steps.exchange(database, other)
        for side in (database, other):
            assert await documents.near(side) == {"old one", "old two"}
            assert await side.documents.find_documents([OLD.document_id]) == alone
        await other.documents.put_vectors(builders.EMBEDDING, builders.vectors_of(changed))
        assert set((await other.documents.publish({OLD.document_id: wanted})).values()) == {Published.LIVE}
        await steps.exchange(database, other)
        for side in (database, other):
            assert await documents.near(side) == {chunk.text for chunk in again.chunks}
            (found,) = (await side.documents.find_documents([OLD.document_id])).values()
            assert (found.title, found.metadata) == ("C", {"later": True})

    async def test_version_whose_chunks_did_not_come_is_not_published(self, database, other):
        await both(database, other, OLD)
        (wanted,) = await other.documents.stage_versions([NEW])
        await steps.take_across(other, database, Kind.DOCUMENT)
        published = await database.documents.publish({NEW.document_id: wanted})
        assert published == {NEW.document_id: Published.INCOMPLETE}
        assert await documents.near(database) == {"old one", "old two"}

    async def test_deleted_document_that_is_staged_again_shows_nothing(self, database, other, clock):
        await both(database, other, OLD)
        clock.advance(1)
        await other.documents.delete_documents([OLD.document_id])
        await other.documents.stage_versions([NEW])
        await steps.exchange(database, other)
        for side in (database, other):
            assert await side.documents.find_documents([OLD.document_id]) == {}
            assert await documents.counts(side) == {"papers": (0, 0)}
            assert await documents.found(side, "old new") == set()

    async def test_late_deletion_takes_nothing_that_was_staged_after_it(self, database, other, clock):
        """Two processes bring rows over, and the slower one an older row."""
        await both(database, other, OLD)
        clock.advance(1)
        await other.documents.delete_documents([OLD.document_id])
        late = await steps.owed(other)
        clock.advance(1)
        await steps.show(other, NEW)
        rows = await steps.owed(other)
        await steps.merge(database, *steps.of(rows, Kind.VECTOR), *steps.of(rows, Kind.CHUNKS))
        await steps.merge(database, *late)
        assert await documents.near(database) == set()
        (merge,) = await steps.merge(database, *steps.of(rows, Kind.DOCUMENT))
        assert merge.fate is Fate.HELD
        assert await documents.near(database) == {"new one"}
        assert await documents.found(database, "old new") == {"new one"}

    async def test_version_staged_last_wins_whatever_was_published_last(self, database, other, clock):
        await both(database, other, OLD)
        third = builders.version("file:///a", ["third one"])
        (first,) = await database.documents.stage_versions([NEW])
        await database.documents.put_vectors(builders.EMBEDDING, builders.vectors_of(NEW))
        clock.advance(1)
        await steps.show(other, third)
        clock.advance(1)
        await database.documents.publish({NEW.document_id: first})
        await steps.exchange(database, other)
        for side in (database, other):
            assert await documents.near(side) == {"third one"}
            assert await documents.found(side, "old new third") == {"third one"}

    async def test_ordinals_rise_over_both(self, database, other, clock):
        await both(database, other, OLD)
        clock.advance(60)
        (far,) = await other.documents.stage_versions([NEW])
        await steps.exchange(database, other)
        clock.advance(-60)
        (near,) = await database.documents.stage_versions([OLD])
        assert near.ordinal > far.ordinal

    async def test_deleted_document_stays_deleted(self, database, other, clock):
        await both(database, other, OLD)
        await database.replication.distrust(await steps.identity(other))
        rows = await steps.owed(database)
        clock.advance(1)
        assert await other.documents.delete_documents([OLD.document_id]) == 1
        await steps.take_across(other, database)
        assert await documents.near(database) == set()
        assert {each.fate for each in await steps.merge(database, *rows)} == {Fate.HELD}
        assert await documents.near(database) == set()
        assert await documents.chunk_texts(database, OLD.document_id) == []
        assert await documents.counts(database) == {"papers": (0, 0)}

    async def test_document_ingested_after_it_was_deleted_is_there(self, database, other, clock):
        await both(database, other, OLD)
        clock.advance(1)
        await other.documents.delete_documents([OLD.document_id])
        clock.advance(1)
        await steps.show(database, NEW)
        await steps.exchange(database, other)
        for side in (database, other):
            assert await documents.near(side) == {"new one"}

    @pytest.mark.parametrize("edited", ["here", "there"])
    @pytest.mark.parametrize("first", ["the deletion", "the edit"])
    async def test_edit_later_than_the_deletion_on_the_other_side_wins(
        self, database, other, clock, first, edited
    ):
        """V4. The chunks that went with the deletion come back."""
        await both(database, other, OLD)
        if edited == "here":
            database, other = other, database
        clock.advance(1)
        await database.documents.delete_documents([OLD.document_id])
        clock.advance(1)
        await other.documents.update_metadata({OLD.document_id: {"v": "late"}})
        await steps.take_across(*((database, other) if first == "the deletion" else (other, database)))
        await steps.exchange(database, other)
        for side in (database, other):
            assert await documents.near(side) == await documents.found(side, "old") == {"old one", "old two"}
            assert await documents.near(side, filters={"v": ["late"]}) == {"old one", "old two"}
            assert await documents.counts(side) == {"papers": (1, 2)}
        await same_rows(database, other)
        clock.advance(1)
        await database.documents.update_metadata({OLD.document_id: {"v": "on"}})
        await steps.exchange(database, other)
        for side in (database, other):
            assert len(await documents.near(side, filters={"v": ["on"]})) == 2
        await steps.show(other, NEW)
        await steps.exchange(database, other)
        for side in (database, other):
            assert await documents.near(side) == {"new one"}
        clock.advance(1)
        await database.documents.delete_documents([OLD.document_id])
        await steps.exchange(database, other)
        await same_rows(database, other)
        for side in (database, other):
            assert await documents.counts(side) == {"papers": (0, 0)}

    async def test_deletion_later_than_the_edit_on_the_other_side_wins(self, database, other, clock):
        await both(database, other, OLD)
        clock.advance(1)
        await other.documents.update_metadata({OLD.document_id: {"v": "early"}})
        clock.advance(1)
        await database.documents.delete_documents([OLD.document_id])
        await steps.exchange(database, other)
        for side in (database, other):
            assert await documents.counts(side) == {"papers": (0, 0)}
        await same_rows(database, other)

    async def test_edit_of_a_version_that_was_replaced_and_deleted_brings_nothing_back(
        self, database, other, clock
    ):
        await both(database, other, OLD)
        clock.advance(1)
        await steps.show(database, NEW)
        clock.advance(1)
        await database.documents.delete_documents([OLD.document_id])
        clock.advance(1)
        await other.documents.update_metadata({OLD.document_id: {"v": "late"}})
        await steps.exchange(database, other)
        for side in (database, other):
            assert await documents.counts(side) == {"papers": (0, 0)}
        await same_rows(database, other)

    async def test_later_edit_wins_and_a_new_version_brings_its_own_metadata(self, database, other, clock):
        await both(database, other, OLD)
        clock.advance(1)
        await database.documents.update_metadata({OLD.document_id: {"v": "early"}})
        clock.advance(1)
        await other.documents.update_metadata({OLD.document_id: {"v": "late"}})
        await steps.exchange(database, other)
        for side in (database, other):
            found = await side.documents.find_documents([OLD.document_id])
            assert found[OLD.document_id].metadata == {"v": "late"}
            assert len(await documents.near(side, filters={"v": ["late"]})) == 2
        clock.advance(1)
        await steps.show(database, NEW)
        clock.advance(1)
        await other.documents.update_metadata({OLD.document_id: {"v": "of the old version"}})
        await steps.exchange(database, other)
        for side in (database, other):
            found = await side.documents.find_documents([OLD.document_id])
            assert (found[OLD.document_id].version, found[OLD.document_id].metadata) == (
                NEW.version,
                {"v": 2},
            )

    async def test_vectors_arrive_to_the_bit_and_the_first_one_stays(self, database, other):
        await both(database, other, OLD)
        rows = {row.key: row for row in await _vectors(other)}
        mine = {row.key: row for row in await _vectors(database)}
        assert rows.keys() == mine.keys()
        for key, row in rows.items():
            assert row.body.vector.tobytes() == mine[key].body.vector.tobytes()
            assert row.body.embedding == mine[key].body.embedding
        assert await database.documents.missing_vectors(list(builders.vectors_of(OLD))) == set()
        assert await database.documents.put_vectors(builders.EMBEDDING, builders.vectors_of(OLD)) == 0

    async def test_replaced_chunks_are_gone_on_both(self, database, other):
        await both(database, other, OLD)
        await steps.show(other, NEW)
        await steps.exchange(database, other)
        for side in (database, other):
            await side.replication.distrust(await steps.identity(other))
            chunks = await steps.owed(side, Kind.CHUNKS)
            assert [row.body.content.version for row in chunks] == [NEW.version]

    async def test_tombstones_of_documents_are_purged(self, database, other, clock):
        await both(database, other, OLD)
        await database.documents.delete_documents([OLD.document_id])
        await steps.exchange(database, other)
        clock.advance(days=2)
        assert await database.replication.purge(timedelta(hours=24)) == 1


async def same_rows(database, other) -> None:
    """But for tombstones and what goes with them, all rows are the same."""
    rows, there = [
        {
            row.key: row.token
            for row in await steps.everything(each)
            if row.kind in {Kind.CHUNKS, Kind.DOCUMENT}
        }
        for each in (database, other)
    ]
    assert rows == there


async def _vectors(database):
    await database.replication.distrust(await steps.identity(database))
    return await steps.owed(database, Kind.VECTOR)
