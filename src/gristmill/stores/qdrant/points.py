"""Points of one Qdrant collection: conditions on payloads, reading in order, and compare-and-set.

Every point carries ``version_token``, new with each write. A conditional write names the tokens it read; the
server applies updates one at a time, so of two writers that read the same token one wins, and reading back says
which.
"""

from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar
from uuid import UUID

from qdrant_client import models

from gristmill.stores.qdrant.connection import Connection

TOKEN = "version_token"  # noqa: S105 (the name of a field)
Payload = dict[str, Any]
Condition = models.Condition

# What one request carries; a server refuses bodies over 32 MiB.
POINTS_A_WRITE = 500
POINTS_A_READ = 1_000
_BYTES_A_WRITE = 8 << 20

# On a cluster: writes to a point go through one replica in order, and reads agree among all.
_STRONG = models.WriteOrdering.STRONG
_ALL = models.ReadConsistencyType.ALL

_Value = TypeVar("_Value")

# No point fulfils it: an upsert with it only inserts.
NEVER = models.Filter(must=[models.HasIdCondition(has_id=[])])


def equals(key: str, value: str | int | bool) -> Condition:  # noqa: FBT001 (the value itself)
    return models.FieldCondition(key=key, match=models.MatchValue(value=value))


def any_of(key: str, values: Iterable[str] | Iterable[int]) -> Condition:
    return models.FieldCondition(key=key, match=models.MatchAny(any=list(values)))


def within(
    key: str,
    *,
    gt: float | None = None,
    gte: float | None = None,
    lt: float | None = None,
    lte: float | None = None,
) -> Condition:
    """Whole numbers up to 2**53 are compared exactly."""
    return models.FieldCondition(key=key, range=models.Range(gt=gt, gte=gte, lt=lt, lte=lte))


def lacks(key: str) -> Condition:
    return models.IsEmptyCondition(is_empty=models.PayloadField(key=key))


def has_id(ids: Iterable[UUID]) -> Condition:
    return models.HasIdCondition(has_id=[str(each) for each in ids])


def where(*must: Condition, without: Sequence[Condition] = ()) -> models.Filter:
    return models.Filter(must=list(must), must_not=list(without) or None)


def where_any(filters: Sequence[models.Filter]) -> models.Filter:
    return models.Filter(should=list(filters))


def groups(values: Iterable[_Value], size: int) -> Iterator[list[_Value]]:
    remaining = iter(values)
    while group := list(islice(remaining, size)):
        yield group


def point(point_id: UUID, payload: Payload, vector: Mapping[str, Any] | None = None) -> models.PointStruct:
    return models.PointStruct(id=str(point_id), vector=dict(vector or {}), payload=payload)


def swap_by(new: models.PointStruct, expected: str) -> models.UpdateOperation:
    """As ``Points.swap_one``, for ``Points.update``."""
    as_read = where(has_id([UUID(str(new.id))]), equals(TOKEN, expected))
    return models.OverwritePayloadOperation(
        overwrite_payload=models.SetPayload(payload=new.payload or {}, filter=as_read)
    )


def set_by(payload: Payload, chosen: models.Filter) -> models.UpdateOperation:
    """As ``Points.set_payload``, for ``Points.update``."""
    return models.SetPayloadOperation(set_payload=models.SetPayload(payload=payload, filter=chosen))


def clear_by(keys: Sequence[str], chosen: models.Filter) -> models.UpdateOperation:
    """As ``Points.clear``, for ``Points.update``."""
    return models.DeletePayloadOperation(delete_payload=models.DeletePayload(keys=list(keys), filter=chosen))


class Points:
    """One collection of the server."""

    def __init__(self, connection: Connection, name: str) -> None:
        self.name = f"{connection.options.prefix}_{name}"
        self._connection = connection

    # -- reading -------------------------------------------------------------------------------------

    async def get(self, ids: Iterable[UUID], *, fields: list[str] | bool = True) -> dict[UUID, Payload]:
        """The payloads of those that are there."""
        found: dict[UUID, Payload] = {}
        for group in groups(dict.fromkeys(ids), POINTS_A_READ):
            for record in await self.records(group, fields=fields):
                found[UUID(str(record.id))] = record.payload or {}
        return found

    async def records(
        self, ids: Sequence[UUID], *, fields: list[str] | bool = True, vectors: bool = False
    ) -> list[models.Record]:
        if not ids:
            return []
        return await self._connection.ask(
            self._connection.client.retrieve(
                self.name,
                [str(each) for each in ids],
                with_payload=fields,
                with_vectors=vectors,
                consistency=_ALL,
            )
        )

    async def first(
        self,
        chosen: models.Filter,
        *,
        order: str,
        limit: int,
        descending: bool = False,
        fields: list[str] | bool = True,
    ) -> list[Payload]:
        """By an integer of the payload; those that lack it are left out, equal ones come in any order."""
        direction = models.Direction.DESC if descending else models.Direction.ASC
        records, _ = await self._connection.ask(
            self._connection.client.scroll(
                self.name,
                scroll_filter=chosen,
                limit=limit,
                order_by=models.OrderBy(key=order, direction=direction),
                with_payload=fields,
                consistency=_ALL,
            )
        )
        return [record.payload or {} for record in records]

    async def by_id(
        self, chosen: models.Filter, *, limit: int | None = None, fields: list[str] | bool = True
    ) -> list[Payload]:
        """In order of their ids; all of them without a limit."""
        found: list[Payload] = []
        async for page in self.pages(chosen, size=min(limit or POINTS_A_READ, POINTS_A_READ), fields=fields):
            found += page
            if limit is not None and len(found) >= limit:
                break
        return found if limit is None else found[:limit]

    async def pages(
        self, chosen: models.Filter, *, size: int = POINTS_A_READ, fields: list[str] | bool = True
    ) -> AsyncIterator[list[Payload]]:
        """All of the chosen, by their ids; points that change meanwhile come at most once."""
        offset = None
        while True:
            records, offset = await self._connection.ask(
                self._connection.client.scroll(
                    self.name,
                    scroll_filter=chosen,
                    limit=size,
                    offset=offset,
                    with_payload=fields,
                    consistency=_ALL,
                )
            )
            yield [record.payload or {} for record in records]
            if offset is None:
                return

    async def page(
        self, chosen: models.Filter, *, limit: int, start: str | None = None, vectors: bool = False
    ) -> tuple[list[models.Record], str | None]:
        """Points from an id on, in order of their ids, and the first id behind them."""
        records, following = await self._connection.ask(
            self._connection.client.scroll(
                self.name,
                scroll_filter=chosen,
                limit=limit,
                offset=start,
                with_payload=True,
                with_vectors=vectors,
                consistency=_ALL,
            )
        )
        return records, None if following is None else str(following)

    async def count(self, chosen: models.Filter) -> int:
        answer = await self._connection.ask(
            self._connection.client.count(self.name, count_filter=chosen, exact=True)
        )
        return answer.count

    async def facet(self, key: str, chosen: models.Filter, *, limit: int = 10_000) -> dict[Any, int]:
        """How many points have each value, most frequent first, then by value."""
        answer = await self._connection.ask(
            self._connection.client.facet(
                self.name, key=key, facet_filter=chosen, limit=limit, exact=True, consistency=_ALL
            )
        )
        return {hit.value: hit.count for hit in answer.hits}

    async def query_each(self, requests: Sequence[models.QueryRequest]) -> list[list[models.ScoredPoint]]:
        """The answers of several queries sent at once."""
        answers = await self._connection.ask(
            self._connection.client.query_batch_points(self.name, requests, consistency=_ALL)
        )
        return [list(answer.points) for answer in answers]

    # -- writing -------------------------------------------------------------------------------------

    async def insert(self, points: Sequence[models.PointStruct]) -> None:
        """Store those that are not there; the others are left as they are."""
        await self._write(points, NEVER)

    async def put(self, points: Sequence[models.PointStruct]) -> None:
        """Store the points, whatever is there."""
        await self._write(points, None)

    async def swap(self, points: Sequence[models.PointStruct], expected: Collection[str]) -> set[UUID]:
        """Compare-and-set: store those whose point is missing or bears one of the expected tokens.

        Returns the ids of those that were stored. The points need new tokens.
        """
        await self.replace(points, expected)
        return await self.bearing(points)

    async def replace(
        self,
        points: Sequence[models.PointStruct],
        expected: Collection[str],
        *also: Condition,
    ) -> None:
        """As ``swap``, of points that fulfil these conditions too; ``bearing`` says which were stored."""
        as_read = where(any_of(TOKEN, expected), *also) if expected else NEVER
        await self._write(points, as_read)

    async def swap_one(self, new: models.PointStruct, expected: str) -> bool:
        """Compare-and-set of one point's payload; one that is not there stays away."""
        await self._connection.ask(
            self._connection.client.overwrite_payload(
                self.name,
                new.payload or {},
                points=where(has_id([UUID(str(new.id))]), equals(TOKEN, expected)),
                wait=True,
                ordering=_STRONG,
            )
        )
        return bool(await self.bearing([new]))

    async def bearing(self, points: Sequence[models.PointStruct]) -> set[UUID]:
        """The ids of the points whose tokens are stored: no two writes have the same, so mostly a count says it."""
        ours = {UUID(str(each.id)): (each.payload or {})[TOKEN] for each in points}
        if not ours:
            return set()
        if len(ours) > 1 and await self.count(where(any_of(TOKEN, ours.values()))) == len(ours):
            return set(ours)
        stored = await self.tokens(ours)
        return {each for each, token in ours.items() if stored.get(each) == token}

    async def update(self, updates: Sequence[models.UpdateOperation]) -> None:
        """One after the other in one request; those before one that fails stay."""
        await self._connection.ask(
            self._connection.client.batch_update_points(self.name, updates, wait=True, ordering=_STRONG)
        )

    async def tokens(self, ids: Iterable[UUID]) -> dict[UUID, str | None]:
        found = await self.get(ids, fields=[TOKEN])
        return {each: payload.get(TOKEN) for each, payload in found.items()}

    async def _write(self, points: Sequence[models.PointStruct], condition: models.Filter | None) -> None:
        for group in _by_size(points):
            await self._connection.ask(
                self._connection.client.upsert(
                    self.name, group, wait=True, ordering=_STRONG, update_filter=condition
                )
            )

    async def set_payload(self, payload: Payload, chosen: models.Filter) -> None:
        await self._connection.ask(
            self._connection.client.set_payload(
                self.name, payload, points=chosen, wait=True, ordering=_STRONG
            )
        )

    async def clear(self, keys: Sequence[str], chosen: models.Filter) -> None:
        """Take these fields out of the payloads."""
        await self._connection.ask(
            self._connection.client.delete_payload(
                self.name, keys, points=chosen, wait=True, ordering=_STRONG
            )
        )

    async def delete(self, chosen: models.Filter) -> None:
        await self._connection.ask(
            self._connection.client.delete(self.name, points_selector=chosen, wait=True, ordering=_STRONG)
        )


def _by_size(points: Sequence[models.PointStruct]) -> Iterator[list[models.PointStruct]]:
    group: list[models.PointStruct] = []
    size = 0
    for each in points:
        weight = _weight(each)
        if group and (len(group) == POINTS_A_WRITE or size + weight > _BYTES_A_WRITE):
            yield group
            group, size = [], 0
        group.append(each)
        size += weight
    if group:
        yield group


def _weight(each: models.PointStruct) -> int:
    """About the bytes of its JSON."""
    weight = 0
    vectors: Any = each.vector
    for value in (each.payload or {}).values():
        kind = type(value)
        weight += 4 * len(value) if kind is str else 12 * len(value) if kind is list else 24
    for vector in vectors.values():
        weight += 20 * len(vector) if isinstance(vector, list) else 30 * len(vector.indices)
    return weight
