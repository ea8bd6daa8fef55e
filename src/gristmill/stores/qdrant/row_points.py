"""Where the rows that databases replicate are kept here, kind by kind, and how each is found and read."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from qdrant_client import models

from gristmill.ports.rows import Body, Kind, row_of
from gristmill.stores.qdrant import batch_points, document_points, schema, vector_points, worker_points
from gristmill.stores.qdrant.connection import Connection
from gristmill.stores.qdrant.document_points import collection_id, collection_of
from gristmill.stores.qdrant.end_points import ENDS_OWED, EVENT, StoredEnd, ends_of
from gristmill.stores.qdrant.marks import OWED
from gristmill.stores.qdrant.points import TOKEN, Condition, Payload, Points, any_of, equals, where
from gristmill.stores.qdrant.record_points import record_of
from gristmill.stores.qdrant.version_points import version_of, version_point_id

RowKey = tuple[Kind, str]
Change = Callable[[StoredEnd], StoredEnd]


@dataclass(frozen=True, slots=True)
class Source:
    """The points of one kind of row; ``mark`` is the field that says that some of them are owed."""

    kind: Kind
    points: Points
    conditions: tuple[Condition, ...] = ()
    mark: str = OWED

    @property
    def name(self) -> str:
        return f"{self.kind.name}:{self.points.name}"


class RowPoints:
    def __init__(self, connection: Connection, collections: schema.Schema) -> None:
        self._schema = collections
        self._state = Points(connection, schema.STATE.name)
        self._of = {
            Kind.CHUNKS: Points(connection, schema.VERSIONS.name),
            Kind.DOCUMENT: Points(connection, schema.DOCUMENTS.name),
            Kind.RECORD: Points(connection, schema.RECORDS.name),
        }

    async def sources(self) -> list[Source]:
        """In the order of their kinds."""
        vectors = sorted(await self._schema.known("vectors"), key=lambda points: points.name)
        return [
            Source(Kind.WORKER, self._state, (equals("type", worker_points.WORKER),)),
            Source(Kind.COLLECTION, self._state, (equals("type", document_points.COLLECTION),)),
            *(Source(Kind.VECTOR, each) for each in vectors),
            Source(Kind.CHUNKS, self._of[Kind.CHUNKS]),
            Source(Kind.DOCUMENT, self._of[Kind.DOCUMENT]),
            Source(Kind.BATCH, self._state, (equals("type", batch_points.BATCH),)),
            Source(Kind.RECORD, self._of[Kind.RECORD]),
            Source(Kind.END, self._state, (any_of("type", [batch_points.BATCH, EVENT]),), mark=ENDS_OWED),
        ]

    async def places(self, kind: Kind) -> list[Points]:
        if kind is Kind.VECTOR:
            return await self._schema.known("vectors")
        return [self._of.get(kind, self._state)]

    async def find(self, kind: Kind, keys: Iterable[str]) -> list[tuple[Points, dict[str, Payload]]]:
        """The points of rows that are here, by key; not those of ends, which share points."""
        ids = {point_id(kind, key): key for key in keys}
        fields = [TOKEN, *MARKED] if kind in _TOKEN_SAYS_ALL else True
        found = [(points, await points.get(ids, fields=fields)) for points in await self.places(kind)]
        return [(points, {ids[each]: row for each, row in rows.items()}) for points, rows in found]

    # -- ends ----------------------------------------------------------------------------------------

    async def ends(self, keys: Iterable[str]) -> dict[str, StoredEnd]:
        wanted = set(keys)
        holders = await self._state.by_id(where(any_of("end_ids", wanted))) if wanted else []
        ends = {str(each.event.event_id): each for holder in holders for each in ends_of(holder)}
        return {key: ends[key] for key in wanted & ends.keys()}

    async def change_ends(self, chosen: models.Filter, change: Change) -> int:
        """Change ends that these points hold, by compare-and-set; returns how many were changed."""
        left, count = await self._state.by_id(chosen), 0
        while left:
            points, tokens, changes = [], [], dict[UUID, int]()
            for holder in left:
                before = ends_of(holder)
                after = [change(each) for each in before]
                if differing := sum(old != new for old, new in zip(before, after, strict=True)):
                    holder_id, new = batch_points.point_with_ends(holder, after)
                    points.append(new)
                    tokens.append(holder[TOKEN])
                    changes[holder_id] = differing
            won = await self._state.swap(points, tokens)
            count += sum(changes[each] for each in won)
            left = list((await self._state.get(changes.keys() - won)).values())
        return count


MARKED = ("owed", "aside")
_TOKEN_SAYS_ALL = {Kind.WORKER, Kind.RECORD, Kind.VECTOR}


def point_id(kind: Kind, key: str) -> UUID:
    match kind:
        case Kind.WORKER:
            return worker_points.worker_point_id(key)
        case Kind.COLLECTION:
            return collection_id(key)
        case Kind.CHUNKS:
            document_id, _, version = key.partition(":")
            return version_point_id(UUID(document_id), version)
        case _:
            return UUID(key)


def body_of(kind: Kind, record: models.Record) -> Body:
    """Not of chunks and ends, of which a row is not a point."""
    payload = record.payload or {}
    match kind:
        case Kind.WORKER:
            return worker_points.row_of(payload)
        case Kind.COLLECTION:
            return collection_of(payload)
        case Kind.VECTOR:
            return vector_points.row_of(record)
        case Kind.DOCUMENT:
            return document_points.stored_of(payload).facts
        case Kind.BATCH:
            return batch_points.stored_of(payload).facts
        case _:
            return record_of(payload)


def token_of(kind: Kind, key: str, payload: Payload) -> str:
    """The token of the row that this point is."""
    match kind:
        case Kind.WORKER | Kind.RECORD:
            return str(payload[TOKEN])
        case Kind.VECTOR:
            return key
        case Kind.COLLECTION:
            return row_of(collection_of(payload)).token
        case Kind.CHUNKS:
            return version_of(payload).row_token
        case Kind.DOCUMENT:
            return document_points.stored_of(payload).facts.token
        case _:
            return batch_points.stored_of(payload).facts.token


def key_of_point(kind: Kind, record: models.Record) -> str:
    payload = record.payload or {}
    match kind:
        case Kind.WORKER:
            return str(payload["worker_id"])
        case Kind.COLLECTION:
            return str(payload["name"])
        case Kind.CHUNKS:
            return f"{payload['document_id']}:{payload['version']}"
        case _:
            return str(record.id)


def by_kind(keys: Sequence[RowKey]) -> dict[Kind, list[str]]:
    found: dict[Kind, list[str]] = {}
    for kind, key in keys:
        found.setdefault(kind, []).append(key)
    return found
