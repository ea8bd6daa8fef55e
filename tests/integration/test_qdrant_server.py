"""The Qdrant test server does what the product's tests lean on."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path
from uuid import UUID

import httpx
import pytest
from qdrant_client import AsyncQdrantClient, models
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from tests.support.qdrant_server import QdrantServer

IDS = [str(UUID(int=number)) for number in range(1, 6)]
NONE = models.Filter(must=[models.HasIdCondition(has_id=[])])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[QdrantServer]:
    server = QdrantServer(tmp_path / "qdrant", api_key="secret").start()
    yield server
    server.stop()


@pytest.fixture
async def client(server: QdrantServer) -> AsyncIterator[AsyncQdrantClient]:
    client = AsyncQdrantClient(
        url=server.url, headers={"api-key": "secret"}, check_compatibility=False, timeout=1
    )
    await client.create_collection("c", vectors_config={})
    await client.create_payload_index("c", "n", "integer")
    await client.upsert("c", [_point(each, n) for n, each in enumerate(IDS)])
    yield client
    await client.close()


async def test_upsert_with_a_filter_changes_only_what_fulfils_it(client: AsyncQdrantClient):
    first = models.Filter(must=[models.FieldCondition(key="n", match=models.MatchValue(value=0))])
    new = str(UUID(int=9))
    await client.upsert("c", [_point(IDS[0], 70), _point(IDS[1], 71), _point(new, 72)], update_filter=first)
    assert await _numbers(client) == [70, 1, 2, 3, 4, 72]
    await client.upsert("c", [_point(IDS[0], 80), _point(str(UUID(int=10)), 83)], update_filter=NONE)
    assert await _numbers(client) == [70, 1, 2, 3, 4, 72, 83]


async def test_order_needs_an_index_as_on_a_real_server(client: AsyncQdrantClient):
    ordered, following = await client.scroll("c", order_by=models.OrderBy(key="n", direction="desc"), limit=2)
    assert [each.payload for each in ordered] == [{"n": 4}, {"n": 3}]
    assert following is None
    with pytest.raises(UnexpectedResponse, match="No range index"):
        await client.scroll("c", order_by="other")


@pytest.mark.parametrize(("name", "ids", "status"), [("absent", IDS, 404), ("c", ["no uuid"], 400)])
async def test_mistakes_are_answered_with_qdrants_codes(
    client: AsyncQdrantClient, name: str, ids: list[str], status: int
):
    with pytest.raises(UnexpectedResponse) as refused:
        await client.retrieve(name, ids)
    assert refused.value.status_code == status


async def test_collection_is_made_once(client: AsyncQdrantClient):
    with pytest.raises(UnexpectedResponse) as refused:
        await client.create_collection("c", vectors_config={})
    assert refused.value.status_code == 409


async def test_key_is_asked_for_everywhere_but_at_the_door(server: QdrantServer):
    async with httpx.AsyncClient(base_url=server.url) as stranger:
        assert (await stranger.get("/collections")).status_code == 401
        assert (await stranger.get("/")).json()["title"].startswith("qdrant")
        assert (await stranger.get("/healthz")).status_code == 200


async def test_killed_server_comes_back_with_what_it_acknowledged(
    server: QdrantServer, client: AsyncQdrantClient
):
    await client.set_payload("c", {"n": 50}, points=[IDS[2]])
    server.kill()
    with pytest.raises(ResponseHandlingException):
        await client.count("c")
    server.start()
    assert await _numbers(client) == [0, 1, 50, 3, 4]
    found = await client.get_collection("c")
    assert set(found.payload_schema) == {"n"}


KILLS = 8


@pytest.mark.parametrize("kill", range(KILLS))
async def test_killed_while_it_flushes_it_keeps_updates_that_had_a_condition(tmp_path: Path, kill: int):
    server = QdrantServer(tmp_path / "qdrant", flush_seconds=0.01).start()
    client = AsyncQdrantClient(url=server.url, check_compatibility=False, timeout=5)
    await client.create_collection("c", vectors_config={})
    await client.create_payload_index("c", "n", "integer")
    ids = [str(UUID(int=number)) for number in range(1, 51)]
    acknowledged = dict(zip(ids, count(), strict=False))
    await client.upsert("c", [_point(each, n) for each, n in acknowledged.items()])
    killing = asyncio.get_running_loop().run_in_executor(None, _kill_after, server, 0.2 + kill / 20)
    under_way: dict[str, int] = {}
    with contextlib.suppress(ResponseHandlingException):
        for start in count(100, 10):
            under_way = dict(zip(random.sample(ids, 10), count(start), strict=False))
            swaps = [_swap(each, acknowledged[each], n) for each, n in under_way.items()]
            await client.batch_update_points("c", swaps)
            acknowledged |= under_way
    await killing
    server.start()
    found = {str(each.id): (each.payload or {})["n"] for each in (await client.scroll("c", limit=100))[0]}
    assert all(n in {acknowledged[each], under_way.get(each)} for each, n in found.items())
    indexed = [await client.count("c", models.Filter(must=[_is(n)])) for n in found.values()]
    assert [each.count for each in indexed] == [1] * len(ids)
    await client.close()
    server.stop()


async def test_frozen_server_answers_nothing_until_it_thaws(server: QdrantServer, client: AsyncQdrantClient):
    server.freeze()
    with pytest.raises(ResponseHandlingException):
        await client.count("c")
    server.thaw()
    assert (await client.count("c")).count == 5


def _kill_after(server: QdrantServer, seconds: float) -> None:
    time.sleep(seconds)
    server.kill()


def _is(number: int) -> models.FieldCondition:
    return models.FieldCondition(key="n", match=models.MatchValue(value=number))


def _swap(point_id: str, old: int, new: int) -> models.OverwritePayloadOperation:
    as_read = models.Filter(must=[models.HasIdCondition(has_id=[point_id]), _is(old)])
    return models.OverwritePayloadOperation(
        overwrite_payload=models.SetPayload(payload={"n": new}, filter=as_read)
    )


def _point(point_id: str, number: int) -> models.PointStruct:
    return models.PointStruct(id=point_id, vector={}, payload={"n": number})


async def _numbers(client: AsyncQdrantClient) -> list[int]:
    points, _ = await client.scroll("c", limit=100)
    return [(each.payload or {})["n"] for each in points]
