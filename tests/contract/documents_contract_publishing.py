"""Publishing: staged is invisible, and a version replaces the old one whole and in one step."""

import asyncio
from dataclasses import replace
from uuid import uuid4

import pytest

from gristmill.domain.document import Document, DocumentVersion, Wanted
from gristmill.ports.database import Database
from gristmill.ports.documents import Published
from gristmill.ports.errors import CollectionNotFoundError
from tests.contract import documents_contract_steps as steps
from tests.support import builders
from tests.support.clocks import ManualClock

OLD = builders.version("file:///a", ["old one", "old two", "same"], title="A", metadata={"v": 1})
NEW = builders.version("file:///a", ["new one", "same"], title="B", metadata={"v": 2})
OTHER = builders.version("file:///b", ["other"])


class PublishingContract:
    unknown = frozenset({Published.SUPERSEDED})  # What may be said of a document that is not there.

    async def test_staged_version_is_invisible(self, database: Database):
        await steps.open_papers(database)
        await steps.stage(database, OLD)
        assert await steps.found(database, "old same") == set()
        assert await steps.near(database) == set()
        assert await database.documents.find_documents([OLD.document_id]) == {}
        assert list((await database.documents.list_documents(limit=9)).documents) == []
        assert await steps.chunk_texts(database, OLD.document_id) == []
        assert await steps.counts(database) == {"papers": (0, 0)}
        assert await database.documents.count_stale("another") == 0
        assert await database.documents.update_metadata({OLD.document_id: {}}) == 0

    async def test_published_version_is_seen_everywhere(self, database: Database, clock: ManualClock):
        await steps.open_papers(database)
        await steps.show(database, OLD, OTHER)
        assert await steps.found(database, "old") == {"old one", "old two"}
        assert await steps.near(database) == {"old one", "old two", "same", "other"}
        assert await steps.counts(database) == {"papers": (2, 4)}
        found = await database.documents.find_documents([OLD.document_id, uuid4()])
        assert found == {OLD.document_id: _document(OLD, clock)}

    async def test_old_version_answers_until_the_new_one_is_published(self, database: Database):
        await steps.open_papers(database)
        await steps.show(database, OLD)
        await steps.stage(database, NEW)
        assert await steps.found(database, "old new same") == {"old one", "old two", "same"}
        assert await steps.near(database) == {"old one", "old two", "same"}
        assert await steps.chunk_texts(database, OLD.document_id) == ["old one", "old two", "same"]
        assert await steps.counts(database) == {"papers": (1, 3)}
        await database.tidy()
        assert await steps.near(database) == {"old one", "old two", "same"}

    async def test_new_version_replaces_all_of_the_old_one(self, database: Database, clock: ManualClock):
        await steps.open_papers(database)
        await steps.show(database, OLD, OTHER)
        first = (await database.documents.find_documents([OLD.document_id]))[OLD.document_id]
        clock.advance(60)
        await steps.show(database, NEW)
        for _ in range(2):
            assert await steps.found(database, "old new same") == {"new one", "same"}
            assert await steps.near(database) == {"new one", "same", "other"}
            assert await steps.chunk_texts(database, NEW.document_id) == ["new one", "same"]
            assert await steps.counts(database) == {"papers": (2, 3)}
            found = await database.documents.find_documents([NEW.document_id])
            expected = replace(_document(NEW, clock), created_at=first.created_at)
            assert found == {NEW.document_id: expected}
            await database.tidy()

    async def test_every_hit_of_the_new_version_says_so(self, database: Database):
        await steps.open_papers(database)
        await steps.show(database, OLD)
        await steps.show(database, NEW)
        legs = await steps.search(database, "same", vector=builders.random_unit(3))
        for hit in [*legs.text, *legs.vector, *await database.documents.list_chunks(NEW.document_id)]:
            assert (hit.version, hit.title, hit.metadata) == (NEW.version, "B", {"v": 2})

    async def test_version_without_all_its_vectors_is_incomplete(self, database: Database):
        await steps.open_papers(database)
        await steps.show(database, OLD)
        (wanted,) = await database.documents.stage_versions([NEW])
        published = await database.documents.publish({NEW.document_id: wanted})
        assert published == {NEW.document_id: Published.INCOMPLETE}
        assert await steps.near(database) == {"old one", "old two", "same"}
        await database.documents.put_vectors(builders.EMBEDDING, builders.vectors_of(NEW))
        published = await database.documents.publish({NEW.document_id: wanted})
        assert published == {NEW.document_id: Published.LIVE}
        assert await steps.near(database) == {"new one", "same"}

    async def test_one_missing_vector_keeps_a_version_back(self, database: Database):
        await steps.open_papers(database)
        (wanted,) = await database.documents.stage_versions([OLD])
        vectors = builders.vectors_of(OLD)
        last = OLD.chunks[-1].vector_id
        await database.documents.put_vectors(
            builders.EMBEDDING, {each: vectors[each] for each in vectors if each != last}
        )
        published = await database.documents.publish({OLD.document_id: wanted})
        assert published == {OLD.document_id: Published.INCOMPLETE}
        await database.documents.put_vectors(builders.EMBEDDING, {last: vectors[last]})
        published = await database.documents.publish({OLD.document_id: wanted})
        assert published == {OLD.document_id: Published.LIVE}

    async def test_version_that_is_no_longer_wanted_is_superseded(self, database: Database):
        await steps.open_papers(database)
        (old,) = await database.documents.stage_versions([OLD])
        (new,) = await database.documents.stage_versions([NEW])
        await database.documents.put_vectors(builders.EMBEDDING, builders.vectors_of(OLD, NEW))
        assert await database.documents.publish({OLD.document_id: old}) == {
            OLD.document_id: Published.SUPERSEDED
        }
        assert await steps.near(database) == set()
        assert await database.documents.publish({NEW.document_id: new}) == {NEW.document_id: Published.LIVE}
        assert await database.documents.publish({OLD.document_id: old}) == {
            OLD.document_id: Published.SUPERSEDED
        }
        assert await steps.near(database) == {"new one", "same"}

    async def test_each_document_of_a_call_gets_its_own_answer(self, database: Database):
        await steps.open_papers(database)
        late = builders.version("file:///late", ["without vector"])
        old, other, waits = await database.documents.stage_versions([OLD, OTHER, late])
        await database.documents.stage_versions([NEW])
        await database.documents.put_vectors(builders.EMBEDDING, builders.vectors_of(OLD, NEW, OTHER))
        unknown = uuid4()
        published = dict(
            await database.documents.publish(
                {OLD.document_id: old, OTHER.document_id: other, late.document_id: waits, unknown: other}
            )
        )
        assert published.pop(unknown) in self.unknown
        assert published == {
            OLD.document_id: Published.SUPERSEDED,
            OTHER.document_id: Published.LIVE,
            late.document_id: Published.INCOMPLETE,
        }
        assert await steps.near(database) == {"other"}

    async def test_publishing_again_is_harmless(self, database: Database):
        await steps.open_papers(database)
        wanted = dict(zip([OLD.document_id], await database.documents.stage_versions([OLD]), strict=True))
        await database.documents.put_vectors(builders.EMBEDDING, builders.vectors_of(OLD))
        for _ in range(2):
            assert await database.documents.publish(wanted) == {OLD.document_id: Published.LIVE}
            assert await steps.chunk_texts(database, OLD.document_id) == ["old one", "old two", "same"]
        assert await database.documents.publish({}) == {}

    async def test_ordinals_rise_for_each_document(self, database: Database):
        await steps.open_papers(database)
        drawn: list[Wanted] = []
        for versions in [[OLD], [NEW], [NEW, OLD], [OLD]]:
            drawn += await database.documents.stage_versions(versions)
        await database.documents.delete_documents([OLD.document_id])
        drawn += await database.documents.stage_versions([OLD])
        ordinals = [wanted.ordinal for wanted in drawn]
        assert ordinals == sorted(set(ordinals))
        assert [wanted.version for wanted in drawn] == [
            each.version for each in [OLD, NEW, NEW, OLD, OLD, OLD]
        ]

    async def test_answers_come_in_the_order_given(self, database: Database):
        await steps.open_papers(database)
        versions = [builders.version(f"file:///{n}", [f"text {n}"]) for n in [5, 1, 9, 3, 7]]
        wanted = await database.documents.stage_versions(versions)
        assert [each.version for each in wanted] == [version.version for version in versions]
        assert list(await database.documents.stage_versions([])) == []

    async def test_same_version_staged_twice_makes_no_duplicates(self, database: Database):
        await steps.open_papers(database)
        await steps.stage(database, OLD)
        await steps.show(database, OLD)
        await steps.show(database, OLD)
        assert len((await steps.search(database, "old")).text) == 2
        assert len((await steps.search(database, vector=builders.random_unit(1))).vector) == 3
        assert await steps.counts(database) == {"papers": (1, 3)}

    async def test_other_ordinal_of_the_wanted_version_is_ours_too(self, database: Database):
        await steps.open_papers(database)
        (first,) = await database.documents.stage_versions([OLD])
        (second,) = await database.documents.stage_versions([OLD])
        assert first.ordinal < second.ordinal
        await database.documents.put_vectors(builders.EMBEDDING, builders.vectors_of(OLD))
        assert await database.documents.publish({OLD.document_id: first}) == {OLD.document_id: Published.LIVE}
        assert await steps.found(database, "old") == {"old one", "old two"}

    @pytest.mark.parametrize("ours", [OLD, NEW])
    async def test_staging_that_only_another_database_has_is_incomplete(self, database: Database, ours):
        """It is neither live nor superseded: what is wanted here is older."""
        await steps.open_papers(database)
        await steps.show(database, OLD)
        (here,) = await database.documents.stage_versions([OLD])
        there = Wanted(ours.version, here.ordinal + 1)
        before = await database.documents.find_documents([OLD.document_id])
        assert await database.documents.publish({OLD.document_id: there}) == {
            OLD.document_id: Published.INCOMPLETE
        }
        assert await database.documents.find_documents([OLD.document_id]) == before
        assert await steps.found(database, "old new") == {"old one", "old two"}

    async def test_going_back_to_an_earlier_version_works(self, database: Database):
        await steps.open_papers(database)
        for version in [OLD, NEW, OLD, NEW, OLD]:
            await steps.show(database, version)
            texts = [chunk.text for chunk in version.chunks]
            assert await steps.chunk_texts(database, version.document_id) == texts
            assert await steps.near(database) == set(texts)
            assert await steps.counts(database) == {"papers": (1, len(texts))}
        await database.tidy()
        assert await steps.found(database, "old new same") == {"old one", "old two", "same"}

    async def test_staging_the_live_version_again_withdraws_the_one_in_between(self, database: Database):
        await steps.open_papers(database)
        await steps.show(database, OLD)
        (between,) = await database.documents.stage_versions([NEW])
        (again,) = await database.documents.stage_versions([OLD])
        await database.documents.put_vectors(builders.EMBEDDING, builders.vectors_of(NEW))
        await database.tidy()
        assert await database.documents.publish({NEW.document_id: between}) == {
            NEW.document_id: Published.SUPERSEDED
        }
        assert await database.documents.publish({OLD.document_id: again}) == {OLD.document_id: Published.LIVE}
        assert await steps.chunk_texts(database, OLD.document_id) == ["old one", "old two", "same"]
        assert await steps.found(database, "old new same") == {"old one", "old two", "same"}

    async def test_same_version_staged_with_other_metadata_shows_it_when_published(self, database: Database):
        await steps.open_papers(database)
        await steps.show(database, OLD)
        again = replace(OLD, metadata={"v": 9}, title="Z")
        (wanted,) = await database.documents.stage_versions([again])
        before = (await database.documents.find_documents([OLD.document_id]))[OLD.document_id]
        assert (before.metadata, before.title) == ({"v": 1}, "A")
        assert await steps.near(database, filters={"v": ["9"]}) == set()
        await database.documents.publish({OLD.document_id: wanted})
        after = (await database.documents.find_documents([OLD.document_id]))[OLD.document_id]
        assert (after.metadata, after.title) == ({"v": 9}, "Z")
        assert len(await steps.near(database, filters={"v": ["9"]})) == 3

    async def test_version_without_chunks_can_be_live(self, database: Database):
        await steps.open_papers(database)
        await steps.show(database, OLD)
        await steps.show(database, builders.version("file:///a", []))
        assert await steps.counts(database) == {"papers": (1, 0)}
        assert await steps.near(database) == set()

    async def test_version_without_any_words_can_be_live(self, database: Database):
        await steps.open_papers(database)
        await steps.show(database, builders.without_words(builders.version("file:///a", ["***"])))
        assert await steps.counts(database) == {"papers": (1, 1)}
        assert await steps.near(database) == {"***"}
        assert await steps.found(database, "word") == set()

    async def test_staging_into_an_unknown_collection_is_refused_and_stages_nothing(self, database: Database):
        await steps.open_papers(database)
        stray = builders.version("file:///x", ["stray"], collection="nowhere")
        with pytest.raises(CollectionNotFoundError) as refused:
            await database.documents.stage_versions([OLD, stray])
        assert (refused.value.name, list(refused.value.known)) == ("nowhere", ["papers"])
        ours = Wanted(OLD.version, 1)
        published = await database.documents.publish({OLD.document_id: ours})
        assert published[OLD.document_id] in self.unknown

    async def test_readers_never_see_half_a_document(self, database: Database):
        await steps.open_papers(database)
        versions = [
            builders.version("file:///a", [f"word text {n} {part}" for part in range(n % 4 + 2)])
            for n in range(25)
        ]
        wholes = {version.version: {chunk.text for chunk in version.chunks} for version in versions}
        await steps.show(database, versions[0], OTHER)
        done = asyncio.Event()

        async def write() -> None:
            for version in versions[1:]:
                await steps.stage(database, version)
                await asyncio.sleep(0)
                await steps.show(database, version)
                await database.tidy()
            done.set()

        async def read() -> None:
            while not done.is_set():
                legs = await steps.search(database, "word", vector=builders.random_unit(2))
                ours = [hit for hit in legs.vector if hit.source == "file:///a"]
                seen = {hit.version for hit in [*legs.text, *ours]}
                assert len(seen) == 1
                assert {hit.text for hit in legs.text} == {hit.text for hit in ours} == wholes[seen.pop()]
                listed = await database.documents.list_chunks(versions[0].document_id)
                assert {hit.text for hit in listed} == wholes[listed[0].version]
                await asyncio.sleep(0)

        await asyncio.gather(write(), read(), read())
        assert await steps.found(database, "word") == wholes[versions[-1].version]


def _document(version: DocumentVersion, clock: ManualClock) -> Document:
    return Document(
        document_id=version.document_id,
        collection=version.collection,
        source=version.source,
        version=version.version,
        content_hash=version.content_hash,
        pipeline=version.pipeline,
        title=version.title,
        metadata=version.metadata,
        chunks=len(version.chunks),
        created_at=clock.now(),
        updated_at=clock.now(),
    )
