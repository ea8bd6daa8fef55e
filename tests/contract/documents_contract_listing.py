"""Collections, lists of documents and chunks, and counts: live versions only, in a fixed order."""

from collections.abc import Sequence
from dataclasses import replace
from uuid import uuid4

import pytest

from gristmill.domain.document import Collection
from gristmill.ports.database import Database
from gristmill.ports.errors import CollectionConflictError, CollectionNotFoundError
from tests.contract import documents_contract_steps as steps
from tests.contract.walks import pages
from tests.support import builders
from tests.support.clocks import ManualClock

SOURCES = ["A", "Z", "a", "a%b", "a/b", "aXb", "a_b", "b", "Ё", "А", "а", "а/б", "ё", "￮", "𝄞"]


class CollectionsContract:
    async def test_new_collection_keeps_its_identity(self, database: Database, clock: ManualClock):
        collection = await database.documents.open_collection("бумаги", builders.EMBEDDING)
        assert collection == Collection("бумаги", builders.EMBEDDING, clock.now())

    async def test_collection_opened_again_is_the_same(self, database: Database, clock: ManualClock):
        first = await database.documents.open_collection("papers", builders.EMBEDDING)
        clock.advance(60)
        assert await database.documents.open_collection("papers", builders.EMBEDDING) == first
        assert len(await database.documents.list_collections()) == 1

    @pytest.mark.parametrize(
        "change",
        [
            {"provider": "other"},
            {"model": "other"},
            {"dimensions": 16},
            {"task": "query"},
            {"normalised": False},
        ],
    )
    async def test_other_identity_is_a_conflict_and_changes_nothing(
        self, database: Database, change: dict[str, object]
    ):
        stored = await database.documents.open_collection("papers", builders.EMBEDDING)
        other = replace(builders.EMBEDDING, **change)  # type: ignore[arg-type]
        with pytest.raises(CollectionConflictError) as refused:
            await database.documents.open_collection("papers", other)
        assert (refused.value.name, refused.value.stored) == ("papers", builders.EMBEDDING.key)
        assert refused.value.wanted == other.key
        assert await database.documents.open_collection("papers", builders.EMBEDDING) == stored

    async def test_collections_are_listed_by_name_with_live_counts(self, database: Database):
        names = ["б", "B", "a", "A", "empty"]
        await steps.open_papers(database, *names)
        for number, name in enumerate(names[:4]):
            versions = [
                builders.version(f"s{n}", ["one", f"two {n}"], collection=name) for n in range(number + 1)
            ]
            await steps.show(database, *versions)
        await steps.stage(database, builders.version("staged", ["x"], collection="empty"))
        assert list((await steps.counts(database)).items()) == [
            ("A", (4, 8)),
            ("B", (2, 4)),
            ("a", (3, 6)),
            ("empty", (0, 0)),
            ("б", (1, 2)),
        ]

    async def test_no_collections_are_an_empty_list(self, database: Database):
        assert list(await database.documents.list_collections()) == []


class DocumentListContract:
    async def test_documents_come_by_collection_then_source(self, database: Database):
        await _library(database)
        listed = [(d.collection, d.source) for d in await _all(database)]
        assert listed == [("books", "a"), ("books", "z"), *(("papers", source) for source in SOURCES)]
        assert sorted(SOURCES) == SOURCES

    @pytest.mark.parametrize("limit", [1, 4, 5, 15, 100])
    async def test_pages_hold_every_document_once(self, database: Database, limit: int):
        await _library(database)
        seen, sizes = [], []
        async for page in pages(
            lambda after: database.documents.list_documents("papers", limit=limit, after=after)
        ):
            sizes.append(len(page.documents))
            seen += [document.source for document in page.documents]
        assert seen == SOURCES
        assert sizes == [limit] * (15 // limit) + [15 % limit] * (15 % limit > 0)

    async def test_collection_chooses(self, database: Database):
        await _library(database)
        assert [d.source for d in await _all(database, "books")] == ["a", "z"]

    @pytest.mark.parametrize("under", ["a", "a_", "a%", "a/", "A", "а", "Ё", "%", "", "nothing", "a/b/c"])
    async def test_under_chooses_sources_that_start_with_it(self, database: Database, under: str):
        await _library(database)
        for limit in [1, 100]:
            found = [d.source for d in await _all(database, "papers", under=under, limit=limit)]
            assert found == [source for source in SOURCES if source.startswith(under)]

    async def test_under_goes_over_all_collections(self, database: Database):
        await _library(database)
        found = [(d.collection, d.source) for d in await _all(database, under="a", limit=2)]
        assert found[:2] == [("books", "a"), ("papers", "a")]
        assert len(found) == 6

    async def test_pages_neither_repeat_nor_skip_while_others_change(self, database: Database):
        await steps.open_papers(database)
        versions = {source: builders.version(source, ["text"]) for source in "bdfhj"}
        await steps.show(database, *versions.values())
        first = await database.documents.list_documents("papers", limit=2)
        await database.documents.delete_documents([versions["d"].document_id, versions["h"].document_id])
        await steps.show(database, *(builders.version(source, ["text"]) for source in "ace"))
        await steps.show(database, builders.version("f", ["other"]))
        rest = await database.documents.list_documents("papers", limit=9, after=first.after)
        assert [d.source for d in first.documents] == ["b", "d"]
        assert [d.source for d in rest.documents] == ["e", "f", "j"]

    async def test_listed_documents_are_those_found(self, database: Database):
        await _library(database)
        listed = await _all(database)
        found = await database.documents.find_documents([d.document_id for d in listed])
        assert found == {document.document_id: document for document in listed}

    async def test_finding_nothing_is_empty(self, database: Database):
        assert await database.documents.find_documents([]) == {}
        assert await database.documents.find_documents([uuid4()]) == {}

    async def test_empty_collection_is_one_empty_page(self, database: Database):
        await steps.open_papers(database)
        page = await database.documents.list_documents("papers", limit=5)
        assert (list(page.documents), page.after) == ([], None)

    async def test_unknown_collection_is_refused(self, database: Database):
        await steps.open_papers(database)
        with pytest.raises(CollectionNotFoundError) as refused:
            await database.documents.list_documents("Papers", limit=5)
        assert (refused.value.name, list(refused.value.known)) == ("Papers", ["papers"])

    @pytest.mark.parametrize("cursor", ["garbage", "0", "AAAA", "!!", "ключ"])
    async def test_foreign_cursor_of_documents_is_refused(self, database: Database, cursor: str):
        await _library(database)
        with pytest.raises(ValueError, match=r"\w"):
            await database.documents.list_documents(limit=5, after=cursor)


class ChunkListContract:
    async def test_chunks_come_in_order_with_all_their_fields(self, database: Database):
        await steps.open_papers(database)
        version = builders.version(
            "file:///a", [f"text {n}" for n in range(12)], title="Книга", metadata={"k": ["v", 1]}
        )
        shuffled = replace(version, chunks=tuple(sorted(version.chunks, key=lambda chunk: chunk.chunk_id)))
        await steps.show(database, shuffled, builders.version("file:///b", ["text of another"]))
        assert list(await database.documents.list_chunks(version.document_id)) == [
            steps.expected_hit(version, chunk, 0.0) for chunk in version.chunks
        ]

    async def test_chunk_without_page_or_title_keeps_none(self, database: Database):
        await steps.open_papers(database)
        version = builders.version("file:///a", ["text"])
        version = replace(version, chunks=(replace(version.chunks[0], page=None, heading=""),))
        await steps.show(database, version)
        (hit,) = await database.documents.list_chunks(version.document_id)
        assert (hit.page, hit.heading, hit.title, hit.metadata) == (None, "", None, {})

    async def test_unknown_document_has_no_chunks(self, database: Database):
        assert list(await database.documents.list_chunks(uuid4())) == []


class StaleContract:
    async def test_live_documents_of_other_pipelines_are_stale(self, database: Database):
        await steps.open_papers(database, "papers", "books")
        old = [builders.version(f"{n}", ["text"], pipeline="old") for n in range(3)]
        await steps.show(database, *old, builders.version("x", ["text"], collection="books", pipeline="old"))
        await steps.show(database, builders.version("new", ["text"], pipeline="new"))
        await steps.stage(database, builders.version("staged", ["text"], pipeline="old"))
        assert await database.documents.count_stale("new") == 4
        assert await database.documents.count_stale("old") == 1
        assert await database.documents.count_stale("other") == 5
        await steps.show(database, builders.version("0", ["text"], pipeline="new"))
        await database.documents.delete_documents([old[1].document_id])
        assert await database.documents.count_stale("new") == 2


async def _library(database: Database) -> None:
    await steps.open_papers(database, "papers", "books", "void")
    papers = [builders.version(source, [f"text {source}"]) for source in SOURCES[::-1]]
    books = [builders.version(source, ["text"], collection="books") for source in "za"]
    await steps.show(database, *papers, *books)
    await steps.stage(database, builders.version("staged", ["text"]))


async def _all(database: Database, collection: str | None = None, *, limit: int = 100, **chosen: str) -> list:
    documents: list = []
    async for page in pages(
        lambda after: database.documents.list_documents(collection, limit=limit, after=after, **chosen)
    ):
        assert isinstance(page.documents, Sequence)
        documents += page.documents
    return documents
