"""The Qdrant database beyond the contract: many claimers, large vectors, long shared prefixes, indexes."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from uuid import UUID

import numpy as np
import pytest

from gristmill.domain.document import EmbeddingIdentity
from gristmill.domain.record import Done, Record, Report
from gristmill.ports.clock import SystemClock
from gristmill.stores.qdrant import schema
from gristmill.stores.qdrant.database import QdrantDatabase
from gristmill.stores.qdrant.points import Points
from tests.contract import batches_contract_steps as steps
from tests.contract import documents_contract_steps as document_steps
from tests.support import builders
from tests.support.clocks import ManualClock
from tests.support.qdrant_databases import new_qdrant, options

CLAIMERS, ITEMS = 8, 600
LARGE = EmbeddingIdentity("test", "large", dimensions=1_536)


@pytest.fixture
async def database() -> AsyncIterator[QdrantDatabase]:
    database = await new_qdrant(ManualClock())
    yield database
    await database.close()


async def test_eight_claimers_on_connections_of_their_own_get_every_record_once(database: QdrantDatabase):
    batch_id = await steps.submit(database)
    await database.batches.create_processing_records(batch_id, builders.numbered(ITEMS))
    opened = [_another(database) for _ in range(CLAIMERS)]

    async def work(claimer: QdrantDatabase, worker: str) -> list[Record]:
        done: list[Record] = []
        while claimed := await claimer.batches.claim_records(worker, limit=16):
            refused = await claimer.batches.update_processing_status(
                [Report(each, Done()) for each in claimed]
            )
            assert not refused
            done += claimed
        return done

    done = await asyncio.gather(*(work(each, f"w{n}") for n, each in enumerate(opened)))
    times = Counter(record.item_id for each in done for record in each)
    assert set(times.values()) == {1}
    assert len(times) == ITEMS
    assert sum(bool(each) for each in done) == CLAIMERS
    assert (await steps.counters(database, batch_id)).completed == ITEMS
    await asyncio.gather(*(each.close() for each in opened))


async def test_vectors_of_1536_dimensions_come_back_to_the_bit_and_are_searched(database: QdrantDatabase):
    await database.documents.open_collection("large", LARGE)
    versions = [
        builders.version(
            f"{n}", [f"text {n} {part}" for part in range(4)], collection="large", embedding=LARGE
        )
        for n in range(5)
    ]
    vectors = builders.vectors_of(*versions, embedding=LARGE)
    wanted = await database.documents.stage_versions(versions)
    assert await database.documents.put_vectors(LARGE, vectors) == 20
    ids = [each.document_id for each in versions]
    await database.documents.publish(dict(zip(ids, wanted, strict=True)))
    points = Points(database._connection, schema.vectors_of(1_536).name)
    for record in await points.records(list(vectors), vectors=True):
        stored = np.array(record.vector[schema.DENSE], dtype=np.float32)
        assert stored.tobytes() == vectors[UUID(str(record.id))].tobytes()
    chunk = versions[3].chunks[2]
    legs = await document_steps.search(database, vector=vectors[chunk.vector_id], collection="large", limit=1)
    assert [hit.chunk_id for hit in legs.vector] == [chunk.chunk_id]
    assert legs.vector[0].score == pytest.approx(1.0, abs=1e-5)


async def test_pages_are_exact_however_much_item_ids_share(database: QdrantDatabase):
    shared = "file:///home/user/documents/" + "folder/" * 9
    ids = [
        *(f"{shared}{'x' * 30}{n:03}" for n in range(40)),
        *(f"{shared}{n}" for n in range(12)),
        *(f"другое/{'ё' * n}" for n in range(6)),
        shared,
        "a",
    ]
    batch_id = await steps.submit(database, *ids)
    for limit in (1, 7, 100):
        records = await steps.records_of(database, batch_id, limit=limit)
        assert steps.ids(records) == sorted(ids)


async def test_everything_filtered_or_ordered_has_an_index(database: QdrantDatabase):
    await database.documents.open_collection("papers", builders.EMBEDDING)
    client = database._connection.client
    layouts = (schema.STATE, schema.RECORDS, schema.DOCUMENTS, schema.VERSIONS)
    for layout in (*layouts, schema.chunks_of(8), schema.vectors_of(8)):
        found = await client.get_collection(Points(database._connection, layout.name).name)
        kinds = {key: each.data_type.value for key, each in found.payload_schema.items()}
        assert kinds == dict(layout.indexes)


async def test_two_processes_that_open_at_once_make_one_database(database: QdrantDatabase):
    opened = [_another(database) for _ in range(4)]
    await asyncio.gather(*(each.open() for each in opened))
    assert len({each.incarnation for each in opened}) == 1
    await asyncio.gather(*(each.close() for each in opened))


def _another(database: QdrantDatabase) -> QdrantDatabase:
    return QdrantDatabase(options(database._connection.options.prefix), clock=SystemClock())
