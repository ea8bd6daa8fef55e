"""The baseline of the engine on Qdrant: plain upserts through qdrant-client into a collection like ours."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import uuid4

from qdrant_client import AsyncQdrantClient, models

from gristmill.domain.record import Record
from gristmill.stores.qdrant import record_points
from gristmill.stores.qdrant.marks import OWED, OWED_AT
from gristmill.stores.qdrant.points import POINTS_A_WRITE, Payload
from gristmill.stores.qdrant.schema import RECORDS
from gristmill.stores.qdrant.text_order import KEYS, place

_MARKS = {OWED: 1, OWED_AT: 0}


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[tuple[AsyncQdrantClient, str]]:
    """A client and the name of a new collection with the payload indexes of ours."""
    client, name = AsyncQdrantClient(url=url, timeout=60, check_compatibility=False), f"plain_{uuid4().hex}"
    try:
        await client.create_collection(name, vectors_config={}, on_disk_payload=True)
        for key, kind in RECORDS.indexes.items():
            await client.create_payload_index(name, key, models.PayloadSchemaType(kind), wait=True)
        yield client, name
        await client.delete_collection(name)
    finally:
        await client.close()


def points_of(records: Sequence[Record]) -> list[models.PointStruct]:
    """As ours stores them."""
    first = records[0].item_id
    return [record_points.point_of(each, _placed(each.item_id, first), _MARKS) for each in records]


def _placed(item_id: str, reference: str) -> Payload:
    return {"batch_created_at": 0, **dict(zip(KEYS, place(item_id, reference), strict=True))}


async def upsert(client: AsyncQdrantClient, name: str, points: Sequence[models.PointStruct]) -> None:
    """In requests of as many points as ours have, each waited for."""
    for start in range(0, len(points), POINTS_A_WRITE):
        await client.upsert(name, points[start : start + POINTS_A_WRITE], wait=True)
