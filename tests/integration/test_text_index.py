"""The inverted index stays right, exact and small while versions come, go and are merged."""

import random
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from unittest.mock import AsyncMock
from uuid import UUID

import pytest
from sqlalchemy import Connection, text

from gristmill.domain.document import DocumentVersion
from gristmill.ports.documents import ChunkQuery
from gristmill.stores.memory import MemoryDatabase
from gristmill.stores.sql import documents, text_index, text_merging
from gristmill.stores.sql.database import SqlDatabase
from tests.support.builders import EMBEDDING, vectors_of, version
from tests.support.clocks import ManualClock
from tests.support.databases import new_sqlite

WORDS = [f"word{number}" for number in range(30)]


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SqlDatabase]:
    database = await new_sqlite(tmp_path, ManualClock())
    await database.documents.open_collection("papers", EMBEDDING)
    yield database
    await database.close()


@pytest.fixture
async def memory() -> MemoryDatabase:
    memory = MemoryDatabase(ManualClock())
    await memory.documents.open_collection("papers", EMBEDDING)
    return memory


@pytest.fixture
def only_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stagings leave the merging to the test."""
    monkeypatch.setattr(documents.SqlDocuments, "_merge_on_the_way", AsyncMock())


@pytest.fixture
def small_merges(only_by_hand: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_merging, "FAN_OUT", 3)
    monkeypatch.setattr(text_merging, "_TERMS_MOVED", 4)
    monkeypatch.setattr(text_merging, "_REMOVED_AT_LEAST", 2)


def document(seed: int, *, edition: int = 0, chunks: int = 3) -> DocumentVersion:
    draw = random.Random(1000 * edition + seed)
    weights = [1 / (rank + 1) for rank in range(len(WORDS))]
    texts = [" ".join(draw.choices(WORDS, weights, k=draw.randint(2, 12))) for _ in range(chunks)]
    return version(f"file-{seed}", texts)


async def ingest(database: SqlDatabase | MemoryDatabase, *versions: DocumentVersion) -> None:
    port = database.documents
    wanted = await port.stage_versions(versions)
    await port.put_vectors(EMBEDDING, vectors_of(*versions))
    await port.publish({each.document_id: ours for each, ours in zip(versions, wanted, strict=True)})


async def found(
    database: SqlDatabase | MemoryDatabase, tokens: Sequence[str], limit: int = 20
) -> list[tuple[float, UUID]]:
    legs = await database.documents.search(ChunkQuery("papers", limit=limit, tokens=tokens))
    return [(round(hit.score, 9), hit.chunk_id) for hit in legs.text]


async def assert_same(database: SqlDatabase, memory: MemoryDatabase) -> None:
    for tokens in (["word0"], ["word29"], ["word1", "word5", "word20"], ["no", "such"], WORDS):
        assert await found(database, tokens) == await found(memory, tokens)


async def number(database: SqlDatabase, question: str) -> int:
    def ask(connection: Connection) -> int:
        return connection.execute(text(question)).scalar_one()

    return await database._connections.run_read(ask)


async def test_scores_are_exact_while_versions_are_replaced_deleted_and_staged(
    database: SqlDatabase, memory: MemoryDatabase
):
    for each in (database, memory):
        for seed in range(20):
            await ingest(each, document(seed))
        await ingest(each, *(document(seed, edition=1) for seed in range(5)))
        await each.documents.delete_documents([document(6).document_id])
        await each.documents.stage_versions([document(seed, edition=2) for seed in (8, 50)])
    await assert_same(database, memory)


@pytest.mark.usefixtures("small_merges")
async def test_search_is_the_same_between_all_steps_of_all_merges(
    database: SqlDatabase, memory: MemoryDatabase
):
    for each in (database, memory):
        for seed in range(14):
            await ingest(each, document(seed))
        await ingest(each, *(document(seed, edition=1) for seed in range(5)))
    steps = 0
    while await database._connections.run_write(text_merging.merge_some):
        steps += 1
        await assert_same(database, memory)
    assert steps > 20


@pytest.mark.usefixtures("small_merges")
async def test_merge_that_was_interrupted_is_finished_by_another_process(
    database: SqlDatabase, memory: MemoryDatabase
):
    for seed in range(3):
        await ingest(database, document(seed))
        await ingest(memory, document(seed))
    for _ in range(2):
        assert await database._connections.run_write(text_merging.merge_some)
    assert await number(database, "SELECT count(*) FROM segments") == 4
    other = SqlDatabase(database._path, clock=ManualClock())
    await ingest(other, document(9))
    await ingest(memory, document(9))
    await other.tidy()
    await other.close()
    assert await number(database, "SELECT count(*) FROM segments") == 2
    await assert_same(database, memory)


@pytest.mark.usefixtures("small_merges")
async def test_segments_stay_few(database: SqlDatabase):
    for seed in range(40):
        await ingest(database, document(seed))
        await database.tidy()
    assert await number(database, "SELECT count(*) FROM segments") <= 2 * 4


@pytest.mark.usefixtures("small_merges")
async def test_postings_of_removed_versions_are_dropped(database: SqlDatabase):
    for edition in range(4):
        await ingest(database, *(document(seed, edition=edition) for seed in range(20)))
        await database.tidy()
    live = "SELECT sum(chunks) FROM document_versions"
    indexed = "SELECT sum(chunks) FROM segments"
    assert await number(database, indexed) == await number(database, live) == 60
    await database.documents.delete_documents([document(seed).document_id for seed in range(20)])
    await database.tidy()
    for table in ("segments", "postings", "hidden_versions", "chunks", "attributes"):
        assert await number(database, f"SELECT count(*) FROM {table}") == 0


@pytest.mark.usefixtures("small_merges")
async def test_versions_removed_during_a_merge_stay_hidden_after_it(
    database: SqlDatabase, memory: MemoryDatabase
):
    for each in (database, memory):
        for seed in range(3):
            await ingest(each, document(seed))
    await database._connections.run_write(text_merging.merge_some)
    for each in (database, memory):
        await ingest(each, document(0, edition=1))
        await each.documents.delete_documents([document(1).document_id])
    await database.tidy()
    await assert_same(database, memory)


async def test_who_writes_without_end_merges_on_the_way(
    database: SqlDatabase, memory: MemoryDatabase, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(text_merging, "FAN_OUT", 4)
    for seed in range(60):
        await ingest(database, document(seed))
        await ingest(memory, document(seed))
    # Up to three on each of three levels, and four that are being merged.
    assert await number(database, "SELECT count(*) FROM segments") <= 3 * 3 + 4
    await assert_same(database, memory)


async def test_who_writes_much_at_once_merges_more_on_the_way(
    database: SqlDatabase, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(text_merging, "FAN_OUT", 4)
    monkeypatch.setattr(text_merging, "_BYTES_MOVED", 8 * 40)  # A staging's postings are several steps.
    monkeypatch.setattr(documents, "_CHUNKS_A_STEP", 4)
    for seed in range(60):
        await ingest(database, document(seed, chunks=40))
    assert await number(database, "SELECT count(*) FROM segments") <= 3 * 3 + 4


async def test_what_is_staged_is_staged_though_merging_fails(
    database: SqlDatabase, monkeypatch: pytest.MonkeyPatch
):
    def fails(_connection: Connection) -> bool:
        raise ValueError("a posting list of half a posting")

    monkeypatch.setattr(text_merging, "is_due", fails)
    await ingest(database, document(1))
    assert await found(database, WORDS, limit=100)
    with pytest.raises(ValueError, match="half a posting"):
        await database.tidy()


@pytest.mark.usefixtures("only_by_hand")
async def test_one_step_moves_no_more_than_its_share(database: SqlDatabase, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(text_merging, "FAN_OUT", 2)
    monkeypatch.setattr(text_merging, "_BYTES_MOVED", 8 * 20)
    for seed in range(2):
        await ingest(database, document(seed, chunks=40))
    steps = 0
    while await database._connections.run_write(text_merging.merge_some):
        steps += 1
    assert steps > 5
    assert await number(database, "SELECT count(*) FROM segments") == 1


async def test_hidden_versions_are_never_found_however_many_there_are(
    database: SqlDatabase, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(text_index, "_HIDDEN_READ", 1)
    await ingest(database, *(document(seed) for seed in range(10)))
    await ingest(database, *(document(seed, edition=1) for seed in range(10)))
    live = {chunk.chunk_id for seed in range(10) for chunk in document(seed, edition=1).chunks}
    hits = await found(database, WORDS, limit=100)
    assert {chunk_id for _, chunk_id in hits} == live


async def test_far_apart_chunk_numbers_rank_the_same(
    database: SqlDatabase, memory: MemoryDatabase, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(text_index, "_DENSE_SPAN", -1_000_000)
    for each in (database, memory):
        await ingest(each, *(document(seed) for seed in range(10)))
        await ingest(each, document(3, edition=1))
    await assert_same(database, memory)


async def test_chunks_are_counted_up_to_what_a_posting_holds(database: SqlDatabase):
    await ingest(database, version("long", ["word " * 70_000]), version("short", ["word other"]))
    assert len(await found(database, ["word"])) == 2
