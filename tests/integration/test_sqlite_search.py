"""Documents on SQLite, seen from outside: like memory after any history, whole at every instant, and by index."""

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, event

from gristmill.domain.document import DocumentVersion, Hit
from gristmill.ports.documents import ChunkQuery
from gristmill.stores.memory import MemoryDatabase
from gristmill.stores.sql import text_merging
from gristmill.stores.sql.database import SqlDatabase
from tests.support.builders import EMBEDDING, random_unit, vectors_of, version
from tests.support.clocks import ManualClock
from tests.support.databases import new_sqlite

WORDS = [f"word{number}" for number in range(25)]
# They hold a row for a collection, an embedding, or a segment of the text index.
SMALL_TABLES = {"collections", "embeddings", "segments"}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def database(tmp_path: Path, clock: ManualClock) -> AsyncIterator[SqlDatabase]:
    database = await new_sqlite(tmp_path, clock)
    for name in ("papers", "notes"):
        await database.documents.open_collection(name, EMBEDDING)
    yield database
    await database.close()


@pytest.fixture
async def other_process(database: SqlDatabase, clock: ManualClock) -> AsyncIterator[SqlDatabase]:
    other = SqlDatabase(database._path, clock=clock)
    yield other
    await other.close()


async def ingest(database: SqlDatabase, *versions: DocumentVersion) -> None:
    wanted = await database.documents.stage_versions(versions)
    await database.documents.put_vectors(EMBEDDING, vectors_of(*versions))
    await database.documents.publish(
        {each.document_id: ours for each, ours in zip(versions, wanted, strict=True)}
    )


class History:
    """The same random steps on two databases, compared after each."""

    def __init__(self, seed: int, sqlite: list[SqlDatabase], memory: MemoryDatabase, clock: ManualClock):
        self.draw = random.Random(seed)
        self.sqlite = sqlite
        self.memory = memory
        self.clock = clock
        self.wanted: dict[UUID, list[tuple[Any, Any]]] = {}

    def version(self) -> DocumentVersion:
        weights = [1 / (rank + 1) for rank in range(len(WORDS))]
        texts = [
            " ".join(self.draw.choices(WORDS, weights, k=self.draw.randint(1, 10)))
            for _ in range(self.draw.randint(0, 4))
        ]
        return version(
            f"file-{self.draw.randrange(10)}",
            texts,
            collection=self.draw.choice(["papers", "papers", "notes"]),
            title=self.draw.choice([None, "A title"]),
            metadata={"kind": self.draw.choice(["a", "b", ["a", "c"], 3, True])},
        )

    async def step(self) -> None:
        self.clock.advance(1)
        sqlite, memory = self.draw.choice(self.sqlite).documents, self.memory.documents
        known = self.draw.sample(sorted(self.wanted), min(3, len(self.wanted)))
        match self.draw.randrange(8):
            case 0 | 1 | 2:
                versions = [self.version() for _ in range(self.draw.randint(1, 4))]
                ours, theirs = await sqlite.stage_versions(versions), await memory.stage_versions(versions)
                for each, pair in zip(versions, zip(ours, theirs, strict=True), strict=True):
                    self.wanted.setdefault(each.document_id, []).append(pair)
                if self.draw.random() < 0.8:
                    vectors = vectors_of(*versions)
                    assert await sqlite.put_vectors(EMBEDDING, vectors) == await memory.put_vectors(
                        EMBEDDING, vectors
                    )
            case 3 | 4:
                pairs = {each: self.draw.choice(self.wanted[each][-2:]) for each in known}
                assert await sqlite.publish(
                    {each: ours for each, (ours, _) in pairs.items()}
                ) == await memory.publish({each: theirs for each, (_, theirs) in pairs.items()})
            case 5:
                assert await sqlite.delete_documents(known) == await memory.delete_documents(known)
            case 6:
                changes = {each: {"kind": self.draw.choice("abc")} for each in known}
                assert await sqlite.update_metadata(changes) == await memory.update_metadata(changes)
            case 7:
                await self.draw.choice(self.sqlite).tidy()

    async def assert_same(self) -> None:
        filters = self.draw.choice([{}, {"kind": ["a"]}, {"kind": ["3", "c"]}, {"kind": ["true"]}])
        query = ChunkQuery(
            "papers",
            limit=self.draw.choice([1, 3, 50]),
            tokens=self.draw.choices(WORDS, k=3),
            vector=random_unit(self.draw.randrange(1000)),
            filters=filters,
        )
        theirs = self.memory.documents
        legs = await theirs.search(query)
        for database in self.sqlite:
            ours = database.documents
            found = await ours.search(query)
            assert [ranked(hit) for hit in found.text] == [ranked(hit) for hit in legs.text]
            assert [ranked(hit) for hit in found.vector] == [ranked(hit) for hit in legs.vector]
            assert await ours.find_documents(list(self.wanted)) == await theirs.find_documents(
                list(self.wanted)
            )
            assert await ours.list_collections() == await theirs.list_collections()
            assert (await ours.list_documents(limit=100)).documents == (
                await theirs.list_documents(limit=100)
            ).documents


def ranked(hit: Hit) -> Hit:
    return replace(hit, score=round(hit.score, 5))


@pytest.mark.parametrize("seed", range(4))
async def test_any_history_leaves_what_memory_has(
    database: SqlDatabase,
    other_process: SqlDatabase,
    clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
):
    monkeypatch.setattr(text_merging, "FAN_OUT", 3)
    monkeypatch.setattr(text_merging, "_REMOVED_AT_LEAST", 3)
    memory = MemoryDatabase(clock)
    for name in ("papers", "notes"):
        await memory.documents.open_collection(name, EMBEDDING)
    history = History(seed, [database, other_process], memory, clock)
    for _ in range(60):
        await history.step()
        await history.assert_same()


async def test_reader_never_misses_or_mixes_a_document_that_another_process_swaps(
    database: SqlDatabase, other_process: SqlDatabase
):
    editions = [version("file", [f"same words {edition}", f"edition {edition}"]) for edition in range(2)]
    await ingest(database, editions[0])
    swapping = True

    async def swap() -> None:
        nonlocal swapping
        for turn in range(40):
            await ingest(other_process, editions[(turn + 1) % 2])
        swapping = False

    async def look() -> int:
        looks = 0
        while swapping:
            query = ChunkQuery("papers", limit=4, tokens=["edition", "words"], vector=random_unit(1))
            legs = await database.documents.search(query)
            assert len(legs.text) == len(legs.vector) == 2
            assert len({hit.version for hit in (*legs.text, *legs.vector)}) == 1
            looks += 1
        return looks

    _, looks = await asyncio.gather(swap(), look())
    assert looks > 5


async def test_no_statement_reads_a_whole_table(database: SqlDatabase):
    statements: dict[str, Any] = {}

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        statements[statement] = parameters[0] if isinstance(parameters, list) else parameters

    for engine in (database._connections._readers, database._connections._writers):
        event.listen(engine, "before_cursor_execute", note)
    await use_everything(database)

    def plans(connection: Connection) -> list[tuple[str, str]]:
        return [
            (statement, row[3])
            for statement, parameters in list(statements.items())
            if statement.startswith(("SELECT", "UPDATE", "DELETE", "WITH"))
            for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        ]

    whole = [
        (step, statement)
        for statement, step in await database._connections.run_read(plans)
        if step.startswith("SCAN")
        and "VIRTUAL TABLE" not in step
        and not step.split()[1].endswith("_positions")
        and step != "SCAN CONSTANT ROW"
        and step.split()[1] not in SMALL_TABLES
    ]
    assert whole == []
    assert len(statements) > 40


async def use_everything(database: SqlDatabase) -> None:
    documents = database.documents
    for edition in range(2):
        for number in range(20):
            texts = [f"word{number} edition {edition}", "more words"]
            await ingest(database, version(f"file-{number}", texts, metadata={"kind": str(number % 3)}))
    staged = version("file-1", ["never published"])
    await documents.stage_versions([staged, staged])
    await documents.missing_vectors([chunk.vector_id for chunk in staged.chunks])
    await documents.update_metadata({staged.document_id: {"kind": "new"}})
    for filters in ({}, {"kind": ["1"]}, {"kind": ["1"], "none": ["x"]}):
        for collection in ("papers", "notes"):
            for limit in (1, 30):
                await documents.search(
                    ChunkQuery(
                        collection,
                        limit=limit,
                        tokens=["words", "edition"],
                        vector=random_unit(1),
                        filters=filters,
                    )
                )
    page = await documents.list_documents(limit=3)
    await documents.list_documents("papers", limit=3, after=page.after, under="file-")
    await documents.list_documents("papers", limit=3, under="file-")
    await documents.list_chunks(staged.document_id)
    await documents.find_documents([staged.document_id])
    await documents.list_collections()
    await documents.count_stale("another")
    await documents.delete_documents([staged.document_id])
    await database.tidy()
