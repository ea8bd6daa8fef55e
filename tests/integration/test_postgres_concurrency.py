"""Several processes write to one PostgreSQL at once: nothing is done twice, lost or miscounted."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from gristmill.domain.failures import FailureCategory
from gristmill.domain.record import Done, Failed, Outcome, Record, Report, Result, Retry, Snooze
from gristmill.ports.clock import SystemClock
from gristmill.ports.documents import Published
from gristmill.ports.errors import BatchConflictError, BatchNotFoundError
from gristmill.stores.sql.postgres_database import PostgresDatabase
from tests.contract import batches_contract_steps as steps
from tests.contract import documents_contract_steps as documents
from tests.support import builders
from tests.support.postgres_databases import PostgresHost

PROCESSES = 8

Databases = Sequence[PostgresDatabase]

# What each would find is nothing.
WRONG_FIGURES = {
    "counters of batches": """
        SELECT batch_id FROM batches AS b WHERE (pending, processing, completed, failed, cancelled) != (
            SELECT count(*) FILTER (WHERE status = 'pending'), count(*) FILTER (WHERE status = 'processing'),
                count(*) FILTER (WHERE status = 'completed'), count(*) FILTER (WHERE status = 'failed'),
                count(*) FILTER (WHERE status = 'cancelled')
            FROM records WHERE records.batch_id = b.batch_id)""",
    "failures": """
        SELECT * FROM (SELECT batch_id, category, attempts, records FROM failures WHERE records != 0) AS kept
        FULL JOIN (SELECT batch_id, error_category AS category, attempts, count(*) AS records FROM records
            WHERE status = 'failed' GROUP BY 1, 2, 3) AS counted USING (batch_id, category, attempts, records)
        WHERE kept IS NULL OR counted IS NULL""",
    "error types": """
        SELECT * FROM (SELECT batch_id, error_key, records, latest_at FROM error_types) AS kept
        FULL JOIN (SELECT batch_id, error_key, count(*) AS records, max(last_error_at) AS latest_at FROM records
            WHERE error_key IS NOT NULL GROUP BY 1, 2) AS counted USING (batch_id, error_key, records, latest_at)
        WHERE kept IS NULL OR counted IS NULL""",
    "ended batches with open records": """
        SELECT batch_id FROM batches WHERE completed_at IS NOT NULL AND pending + processing > 0""",
    "sealed batches with other totals": """
        SELECT batch_id FROM batches WHERE sealed_at IS NOT NULL AND total_files != (
            SELECT count(*) FROM records WHERE records.batch_id = batches.batch_id)""",
    "records of no batch": "SELECT no FROM records WHERE batch_id NOT IN (SELECT batch_id FROM batches)",
    "counters of collections": """
        SELECT c.name FROM collections AS c WHERE (documents, chunks, tokens) != (
            SELECT count(*), coalesce(sum(v.chunks), 0), coalesce(sum(v.tokens), 0) FROM document_versions AS v
            JOIN documents AS d ON d.no = v.document_no AND d.live_version = v.version
            WHERE d.collection_no = c.no)""",
    "versions without all of their chunks": """
        SELECT * FROM document_versions AS v WHERE v.chunks != (
            SELECT count(*) FROM chunks AS c WHERE c.document_no = v.document_no AND c.version = v.version
            AND c.no BETWEEN v.first_chunk_no AND v.first_chunk_no + v.chunks - 1)""",
    "chunks of no version": """
        SELECT no FROM chunks WHERE (document_no, version) NOT IN (SELECT document_no, version FROM document_versions)""",
    "hidden versions that are live": """
        SELECT * FROM hidden_versions AS h JOIN document_versions AS v USING (first_chunk_no)
        JOIN documents AS d ON d.no = v.document_no AND d.live_version = v.version AND d.collection_no = h.collection_no""",
}


class Several:
    """The same database, opened as often as by so many processes."""

    def __init__(self, postgres: PostgresHost, name: str, databases: Databases) -> None:
        self._postgres = postgres
        self._name = name
        self.databases = databases
        self._deadlocks_before = self._deadlocks()

    def wrong_figures(self) -> dict[str, list[tuple[object, ...]]]:
        found = {what: self._postgres.execute(self._name, query) for what, query in WRONG_FIGURES.items()}
        return {what: rows for what, rows in found.items() if rows}

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return self._postgres.execute(self._name, query)

    def deadlocks(self) -> int:
        return self._deadlocks() - self._deadlocks_before

    def _deadlocks(self) -> int:
        asked = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        return int(self._postgres.execute(self._name, asked)[0][0])


@pytest.fixture
async def several(postgres: PostgresHost) -> AsyncIterator[Several]:
    with postgres.migrated() as name:
        async with AsyncExitStack() as stack:
            databases = [
                await stack.enter_async_context(postgres.attached(name, SystemClock()))
                for _ in range(PROCESSES)
            ]
            yield Several(postgres, name, databases)


async def test_eight_claimers_take_every_record_once(several: Several):
    batch_id = await steps.submit(several.databases[0])
    for start in range(0, 2000, 500):
        new = builders.numbered(500, start=start)
        await several.databases[0].batches.create_processing_records(batch_id, new)

    async def work(database: PostgresDatabase, worker: str) -> list[Record]:
        taken: list[Record] = []
        while claimed := await database.batches.claim_records(worker, limit=30):
            taken += claimed
            await steps.complete(database, *claimed)
        return taken

    taken = await asyncio.gather(*(work(each, f"w{n}") for n, each in enumerate(several.databases)))
    times = Counter(record.item_id for each in taken for record in each)
    assert len(times) == 2000
    assert set(times.values()) == {1}
    assert sum(map(bool, taken)) > 1
    assert (await steps.counters(several.databases[0], batch_id)).completed == 2000
    assert several.wrong_figures() == {}


async def test_claimers_of_several_kinds_leave_nothing(several: Several):
    first = several.databases[0]
    for number in range(4):
        kind = f"kind-{number}"
        batch_id = await steps.submit(first, kind=kind)
        new = [builders.item(f"{n:03}", kind=kind) for n in range(120)]
        await first.batches.create_processing_records(batch_id, new)

    async def work(database: PostgresDatabase, worker: str) -> list[Record]:
        taken: list[Record] = []
        while claimed := await steps.claim(database, 7, worker=worker):
            taken += claimed
        return taken

    taken = await asyncio.gather(*(work(each, f"w{n}") for n, each in enumerate(several.databases)))
    times = Counter((record.batch_id, record.item_id) for each in taken for record in each)
    assert len(times) == 480
    assert set(times.values()) == {1}
    assert several.wrong_figures() == {}


@pytest.mark.parametrize("seed", range(3))
async def test_figures_are_right_after_everything_happened_at_once(several: Several, seed: int):
    await everything_at_once(several, seed, cleaning=False)
    assert several.wrong_figures() == {}
    # One is run again inside (protocol C5) and costs time; the order of locks keeps them rare.
    assert several.deadlocks() <= 3


async def test_figures_are_right_after_batches_were_deleted_meanwhile(several: Several):
    await everything_at_once(several, 7, cleaning=True)
    # A record that outlives its batch in a worker's hands comes back into a new batch of that id, whatever its state.
    assert several.wrong_figures().keys() <= {
        "sealed batches with other totals",
        "ended batches with open records",
    }


async def everything_at_once(several: Several, seed: int, *, cleaning: bool) -> None:
    drawn = random.Random(seed)
    ids = [uuid4() for _ in range(4)]
    await asyncio.gather(
        *(
            one_process(each, f"w{n}", ids, random.Random(drawn.random()), cleaning=cleaning)
            for n, each in enumerate(several.databases)
        )
    )
    for each in several.databases:
        await each.batches.end_batches()


async def one_process(
    database: PostgresDatabase, worker: str, ids: Sequence[UUID], drawn: random.Random, *, cleaning: bool
) -> None:
    batches = database.batches
    held: list[Record] = []

    async def submit(batch_id: UUID) -> None:
        await batches.create_batch(builders.new_batch(batch_id))
        start = drawn.randrange(200)
        items = builders.numbered(40, start=start)
        drawn.shuffle(items)
        await batches.create_processing_records(batch_id, items)

    async def claim(batch_id: UUID) -> None:
        chosen = drawn.choice([batch_id, None])
        held.extend(await batches.claim_records(worker, limit=drawn.randint(1, 30), batch_id=chosen))

    async def report(batch_id: UUID) -> None:
        drawn.shuffle(held)
        given = [held.pop() for _ in range(min(len(held), drawn.randint(1, 20)))]
        await batches.update_processing_status([Report(record, drawn_outcome(drawn)) for record in given])

    async def show(batch_id: UUID) -> None:
        await batches.record_stages(held[:10], stage="embedding", progress=50)

    async def release(batch_id: UUID) -> None:
        await batches.release_records(held[-5:])
        del held[-5:]

    async def take_back(batch_id: UUID) -> None:
        await batches.take_back(f"w{drawn.randrange(PROCESSES)}", renewed_at=SystemClock().now())

    async def retry(batch_id: UUID) -> None:
        await batches.retry_failed(batch_id, permanent=True)

    async def cancel(batch_id: UUID) -> None:
        await batches.cancel_batch(batch_id)

    async def seal(batch_id: UUID) -> None:
        await batches.seal_batch(batch_id)

    async def end(batch_id: UUID) -> None:
        await batches.end_batches()

    async def clean(batch_id: UUID) -> None:
        await batches.cleanup_old_records(timedelta(0), apply=True)

    often: list[Callable[[UUID], Awaitable[None]]] = [
        submit,
        claim,
        claim,
        report,
        report,
        report,
        show,
        release,
    ]
    rarely = [take_back, retry, cancel, seal, end, clean if cleaning else end]
    for _ in range(60):
        step = drawn.choice(rarely if drawn.random() < 0.15 else often)
        try:
            await step(drawn.choice(ids))
        except (BatchConflictError, BatchNotFoundError):
            continue


def drawn_outcome(drawn: random.Random) -> Outcome:
    failure = builders.failure(
        drawn.choice([FailureCategory.TIMEOUT, FailureCategory.UNREADABLE, FailureCategory.PROVIDER_RATE]),
        f"message {drawn.randrange(3)}",
    )
    done = Done(Result(chunks=1))
    return drawn.choice(
        [done, done, Failed(failure), Retry(failure), Snooze(timedelta(0).total_seconds(), failure)]
    )


async def test_one_document_staged_published_and_deleted_at_once(several: Several):
    await documents.open_papers(several.databases[0], "papers", "books")
    sources = [f"file:///{n}" for n in range(6)]

    async def work(database: PostgresDatabase, number: int) -> None:
        drawn = random.Random(number)
        for _ in range(12):
            chosen = drawn.sample(sources, 3)
            versions = [
                builders.version(source, [f"words {drawn.randrange(3)} of {source}", "shared"])
                for source in chosen
            ]
            wanted = await database.documents.stage_versions(versions)
            await database.documents.put_vectors(builders.EMBEDDING, builders.vectors_of(*versions))
            ids = [version.document_id for version in versions]
            drawn.shuffle(ids)
            of_ids = {version.document_id: each for version, each in zip(versions, wanted, strict=True)}
            published = await database.documents.publish({each: of_ids[each] for each in ids})
            assert set(published.values()) <= {Published.LIVE, Published.SUPERSEDED}
            if drawn.random() < 0.3:
                await database.documents.delete_documents(ids[:2])
            if drawn.random() < 0.5:
                await database.documents.update_metadata({ids[-1]: {"by": number}})
            if drawn.random() < 0.3:
                await database.tidy()
            legs = await documents.search(database, "words", vector=builders.random_unit(1))
            assert len({hit.chunk_id for hit in legs.text}) == len(legs.text)

    await asyncio.gather(*(work(each, n) for n, each in enumerate(several.databases)))
    assert several.wrong_figures() == {}
    # One is run again inside (protocol C5) and costs time; the order of locks keeps them rare.
    assert several.deadlocks() <= 3
    first = several.databases[0]
    shown = [chunk for source in sources for chunk in await documents.chunk_texts(first, document_id(source))]
    assert Counter(hit.text for hit in (await documents.search(first, "words shared")).text) == Counter(shown)
    legs = await documents.search(first, vector=builders.random_unit(1))
    assert Counter(hit.text for hit in legs.vector) == Counter(shown)


def document_id(source: str) -> UUID:
    return builders.version(source, ["any"]).document_id


async def test_a_vector_stored_by_all_at_once_is_stored_once(several: Several):
    vectors = {uuid4(): builders.random_unit(n) for n in range(200)}

    async def put(database: PostgresDatabase, number: int) -> int:
        chosen = random.Random(number).sample(sorted(vectors), 150)
        return await database.documents.put_vectors(
            builders.EMBEDDING, {each: vectors[each] for each in chosen}
        )

    stored = await asyncio.gather(*(put(each, n) for n, each in enumerate(several.databases)))
    assert sum(stored) == 200 - len(await several.databases[0].documents.missing_vectors(list(vectors)))
    assert sum(stored) > 150


async def test_a_collection_opened_by_all_at_once_is_one(several: Several):
    opened = await asyncio.gather(
        *(each.documents.open_collection("papers", builders.EMBEDDING) for each in several.databases)
    )
    assert len({collection.created_at for collection in opened}) == 1
    assert await documents.counts(several.databases[0]) == {"papers": (0, 0)}


async def test_large_vectors_come_back_to_the_bit_and_are_searched_exactly(several: Several):
    first, second = several.databases[:2]
    embedding = builders.EmbeddingIdentity(provider="test", model="large", dimensions=1_536)
    await first.documents.open_collection("large", embedding)
    version = builders.version("file:///large", [f"words {n}" for n in range(40)], collection="large")
    vectors = builders.vectors_of(version, embedding=embedding)
    (wanted,) = await first.documents.stage_versions([version])
    await first.documents.put_vectors(embedding, vectors)
    await second.documents.publish({version.document_id: wanted})
    stored = several.rows("SELECT vector_id, data FROM vectors")
    assert {bytes(key): bytes(data) for key, data in stored} == {
        key.bytes: vector.tobytes() for key, vector in vectors.items()
    }
    for chunk in version.chunks[:3]:
        query = vectors[chunk.vector_id]
        legs = await documents.search(second, vector=query, collection="large", limit=10)
        expected = sorted((-float(vectors[each.vector_id] @ query), each.chunk_id) for each in version.chunks)
        assert [hit.chunk_id for hit in legs.vector] == [chunk_id for _, chunk_id in expected[:10]]
        assert legs.vector[0].score == pytest.approx(1, abs=1e-5)
