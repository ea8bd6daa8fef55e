"""Vector search in an HNSW index of pgvector: exact scores, the rules of every search, and exact without an index."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

import numpy as np
import psycopg
import pytest
from sqlalchemy import Connection
from structlog.testing import capture_logs

from gristmill.domain.document import EmbeddingIdentity
from gristmill.ports.clock import SystemClock
from gristmill.ports.documents import ChunkQuery, Vector
from gristmill.stores.sql import hnsw
from gristmill.stores.sql.postgres import Server
from gristmill.stores.sql.postgres_database import PostgresDatabase
from tests.support.builders import EMBEDDING, random_unit, version
from tests.support.postgres_databases import PostgresHost

FROM = 1_000
DOCUMENTS = 150
CHUNKS = 10
CENTRES = [random_unit(10_000 + each, 32) for each in range(40)]
CLUSTERED = EmbeddingIdentity(
    provider="test", model="clustered", dimensions=32, task="search", normalised=True
)


def near_centre(seed: int) -> Vector:
    draw = np.random.default_rng(seed)
    vector = CENTRES[seed % len(CENTRES)] + 0.1 * draw.normal(size=32)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


@asynccontextmanager
async def opened(server: Server, folder: Path, hnsw_from: int = FROM) -> AsyncIterator[PostgresDatabase]:
    database = PostgresDatabase(server, clock=SystemClock(), folder=folder, hnsw_from=hnsw_from)
    await database.open()
    try:
        yield database
    finally:
        await database.close()


@pytest.fixture
def server(postgres: PostgresHost) -> Server:
    return postgres.server(postgres.create())


@pytest.fixture
async def database(server: Server, tmp_path: Path) -> AsyncIterator[PostgresDatabase]:
    async with opened(server, tmp_path / "vectors") as database:
        yield database


async def fill(
    database: PostgresDatabase,
    count: int = DOCUMENTS,
    embedding: EmbeddingIdentity = CLUSTERED,
    start: int = 0,
) -> dict[UUID, Vector]:
    """Documents of CHUNKS chunks each; returns the vector of each chunk."""
    await database.documents.open_collection("papers", embedding)
    versions = [
        version(
            f"{number}",
            [f"text {number} {part}" for part in range(CHUNKS)],
            metadata={"rare": number % 50 == 0},
            embedding=embedding,
        )
        for number in range(start, start + count)
    ]
    chunks = [chunk for each in versions for chunk in each.chunks]
    made = {
        chunk.chunk_id: near_centre(start * CHUNKS + seed)
        if embedding.dimensions == 32
        else random_unit(seed, embedding.dimensions)
        for seed, chunk in enumerate(chunks)
    }
    wanted = await database.documents.stage_versions(versions)
    vectors = {chunk.vector_id: made[chunk.chunk_id] for chunk in chunks}
    await database.documents.put_vectors(embedding, vectors)
    ids = [each.document_id for each in versions]
    await database.documents.publish(dict(zip(ids, wanted, strict=True)))
    return made


async def build(database: PostgresDatabase) -> None:
    await database.tidy()
    assert database._builder is not None
    if database._builder._thread is not None:
        await asyncio.to_thread(database._builder._thread.join)


async def is_indexed(database: PostgresDatabase) -> bool:
    return await database._connections.run_read(lambda connection: hnsw.HnswVectors().serves(connection, 1))


async def found(
    database: PostgresDatabase, vector: Vector, *, limit: int = 10, **filters: list[str]
) -> list[tuple[UUID, float]]:
    query = ChunkQuery("papers", limit, vector=vector, filters=filters)
    return [(hit.chunk_id, hit.score) for hit in (await database.documents.search(query)).vector]


def best(made: dict[UUID, Vector], vector: Vector, limit: int = 10) -> list[tuple[UUID, float]]:
    scores = [(chunk, float(np.dot(each, vector))) for chunk, each in made.items()]
    return sorted(scores, key=lambda each: -each[1])[:limit]


async def test_large_collections_are_searched_by_index_with_exact_scores(
    database: PostgresDatabase, tmp_path: Path
):
    made = await fill(database)
    assert not await is_indexed(database)
    await build(database)
    assert await is_indexed(database)
    files = sorted((tmp_path / "vectors").glob("*.f32"))
    sizes = [file.stat().st_size for file in files]
    hits = 0
    for seed in range(20):
        query = near_centre(100_000 + seed)
        answer = await found(database, query)
        assert len(answer) == 10
        assert [score for _, score in answer] == sorted((score for _, score in answer), reverse=True)
        for chunk, score in answer:
            assert score == pytest.approx(float(np.dot(made[chunk], query)), abs=1e-5)
        hits += len({chunk for chunk, _ in answer} & {chunk for chunk, _ in best(made, query)})
    assert hits >= 190
    more = await fill(database, 20, start=DOCUMENTS)
    chunk, vector = list(more.items())[-1]
    assert (await found(database, vector, limit=1))[0][0] == chunk
    await database.tidy()
    assert [file.stat().st_size for file in files] == sizes


async def test_the_planner_uses_the_index(server: Server, database: PostgresDatabase):
    await fill(database)
    await build(database)
    query = "[" + ",".join(["0.5"] * 32) + "]"

    def plan(connection: Connection) -> str:
        connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        statement = hnsw._NEAREST.format(table="vectors_1", schema="public", dimensions=32)
        rows = connection.exec_driver_sql(f"EXPLAIN {statement}", (query, 10))
        return "\n".join(rows.scalars())

    assert "Index Scan using vectors_1_hnsw" in await database._connections.run_read(plan)


@pytest.mark.parametrize("most", [hnsw._MOST, 300], ids=["by index", "when the index brings too little"])
async def test_filters_and_live_versions_hold(
    database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch, most: int
):
    monkeypatch.setattr(hnsw, "_MOST", most)
    made = await fill(database)
    await build(database)
    query = near_centre(7)
    rare = {
        chunk.chunk_id
        for number in range(0, DOCUMENTS, 50)
        for chunk in version(
            f"{number}", [f"text {number} {part}" for part in range(CHUNKS)], embedding=CLUSTERED
        ).chunks
    }
    answer = await found(database, query, limit=100, rare=["true"])
    assert {chunk for chunk, _ in answer} == rare
    expected = best({chunk: made[chunk] for chunk in rare}, query, 100)
    assert answer == [(chunk, pytest.approx(score, abs=1e-5)) for chunk, score in expected]
    assert await found(database, query, rare=["perhaps"]) == []
    gone = [version(f"{number}", ["any"]).document_id for number in range(DOCUMENTS - 1)]
    await database.documents.delete_documents(gone)
    last = [chunk for chunk, _ in await found(database, query, limit=100)]
    assert len(last) == CHUNKS
    replaced = version(f"{DOCUMENTS - 1}", ["another"], embedding=CLUSTERED)
    (wanted,) = await database.documents.stage_versions([replaced])
    await database.documents.put_vectors(CLUSTERED, {replaced.chunks[0].vector_id: query})
    await database.documents.publish({replaced.document_id: wanted})
    assert await found(database, query) == [(replaced.chunks[0].chunk_id, pytest.approx(1, abs=1e-5))]


async def test_processes_that_build_at_once_build_one_index(
    server: Server, database: PostgresDatabase, tmp_path: Path
):
    await fill(database)
    async with opened(server, tmp_path / "other") as other:
        await asyncio.gather(build(database), build(other))
        assert await is_indexed(other)
        answers = [await found(each, near_centre(3)) for each in (database, other)]
        assert answers[0] == answers[1]


async def test_a_build_that_is_stopped_is_done_by_the_next(
    server: Server, database: PostgresDatabase, tmp_path: Path, postgres: PostgresHost
):
    await fill(database)
    with psycopg.connect(server.url.render_as_string(hide_password=False)) as busy:
        # An index is only finished once the transactions that ran before it are over.
        busy.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        busy.execute("SELECT count(*) FROM vectors")
        await database.tidy()
        assert database._builder is not None
        name = str(server.url.database)
        for _ in range(100):
            if postgres.execute(name, "SELECT 1 FROM pg_class WHERE relname = 'vectors_1_hnsw'"):
                break
            await asyncio.sleep(0.05)
        await database.close()
        assert not database._builder._thread or not database._builder._thread.is_alive()
    async with opened(server, tmp_path / "other") as other:
        assert not await is_indexed(other)
        await build(other)
        assert await is_indexed(other)


@pytest.fixture
def plain_user(postgres: PostgresHost, server: Server) -> Iterator[Server]:
    """One who may make tables, and no extension."""
    name, database = f"plain_{uuid4().hex}", str(server.url.database)
    postgres.execute(
        database, f"CREATE USER {name} PASSWORD 'plain'; GRANT CREATE, USAGE ON SCHEMA public TO {name}"
    )
    yield Server(server.url.set(username=name, password="plain"))
    postgres.execute(database, f"DROP OWNED BY {name}; DROP USER {name}")


async def test_without_pgvector_vectors_are_compared_exactly_and_it_is_said_once(
    plain_user: Server, tmp_path: Path
):
    async with opened(plain_user, tmp_path) as database:
        made = await fill(database)
        with capture_logs() as said:
            for _ in range(3):
                await build(database)
        (warning,) = [each for each in said if each["log_level"] == "warning"]
        assert warning["event"] == "vectors_compared_one_by_one"
        assert "as a superuser, CREATE EXTENSION vector" in warning["reason"]
        query = near_centre(5)
        expected = [(chunk, pytest.approx(score, abs=1e-5)) for chunk, score in best(made, query)]
        assert await found(database, query) == expected
        assert (await database.check()).details["pgvector"] == "not created"


async def test_a_schema_of_its_own_is_enough(server: Server, postgres: PostgresHost, tmp_path: Path):
    postgres.execute(str(server.url.database), "CREATE EXTENSION vector; CREATE SCHEMA mill")
    in_schema = Server(server.url.update_query_dict({"options": "-csearch_path=mill"}))
    async with opened(in_schema, tmp_path) as database:
        made = await fill(database)
        await build(database)
        assert await is_indexed(database)
        chunk, vector = list(made.items())[33]
        assert (await found(database, vector, limit=1))[0][0] == chunk


@pytest.mark.parametrize(("dimensions", "indexed"), [(1_536, True), (4_096, False)])
async def test_large_vectors_are_searched(server: Server, tmp_path: Path, dimensions: int, *, indexed: bool):
    large = replace(EMBEDDING, dimensions=dimensions)
    async with opened(server, tmp_path, hnsw_from=50) as database:
        made = await fill(database, 10, embedding=large)
        await build(database)
        assert await is_indexed(database) == indexed
        chunk, vector = list(made.items())[33]
        (top, *_) = await found(database, vector)
        assert top == (chunk, pytest.approx(1, abs=1e-5))


async def test_what_is_no_number_hurts_neither_writes_nor_searches(server: Server, tmp_path: Path):
    async with opened(server, tmp_path, hnsw_from=50) as database:
        made = await fill(database, 10)
        await build(database)
        broken = version("broken", ["a", "b", "c", "d"], embedding=CLUSTERED)
        values = [np.nan, 1e30, 0.0, 1e-42]
        (wanted,) = await database.documents.stage_versions([broken])
        await database.documents.put_vectors(
            CLUSTERED,
            {
                chunk.vector_id: np.full(32, value, np.float32)
                for chunk, value in zip(broken.chunks, values, strict=True)
            },
        )
        await database.documents.publish({broken.document_id: wanted})
        chunk, vector = list(made.items())[33]
        assert (chunk, pytest.approx(1, abs=1e-5)) in await found(database, vector)


@pytest.mark.parametrize("dropped", ["TABLE vectors_1", "EXTENSION vector CASCADE"])
async def test_an_index_that_somebody_drops_is_missed_by_nobody(
    server: Server, postgres: PostgresHost, tmp_path: Path, dropped: str
):
    async with opened(server, tmp_path, hnsw_from=50) as database:
        await fill(database, 10)
        await build(database)
        postgres.execute(str(server.url.database), f"DROP {dropped}")
        made = await fill(database, 10, start=10)
        chunk, vector = list(made.items())[33]
        assert (await found(database, vector, limit=1))[0][0] == chunk
        await build(database)
        assert await is_indexed(database)
        assert (await found(database, vector, limit=1))[0][0] == chunk


async def test_no_index_is_made_when_none_is_wanted(server: Server, tmp_path: Path):
    async with opened(server, tmp_path, hnsw_from=0) as database:
        await fill(database)
        await database.tidy()
        assert not await is_indexed(database)
