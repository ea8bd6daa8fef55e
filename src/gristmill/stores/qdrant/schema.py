"""The collections and their payload indexes, made before any data, and the point that says which schema it is."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID, uuid4

import structlog
from qdrant_client import models
from qdrant_client.http.exceptions import UnexpectedResponse

from gristmill.domain.identity import NAMESPACE
from gristmill.ports.errors import ConfigurationError
from gristmill.stores.qdrant.connection import Connection
from gristmill.stores.qdrant.marks import ASIDE, OWED, OWED_AT
from gristmill.stores.qdrant.points import TOKEN, Points, equals, point, where
from gristmill.stores.qdrant.text_order import KEYS

_log = structlog.get_logger(__name__)

VERSION = 2
OLDEST = (1, 16)  # The first with conditional upserts.
# The first that logs which points an update with a condition changes (qdrant/qdrant, pull request 9678). Older ones choose
# them anew after a crash: killed while it flushes, one can lose what it acknowledged and be left with wrong indexes.
CRASH_SAFE = (1, 19)
META_ID = NAMESPACE
_NOT_FOUND, _CONFLICT = 404, 409
DENSE, TEXT = "dense", "text"

Kind = Literal["keyword", "integer"]


@dataclass(frozen=True, slots=True)
class Layout:
    """One collection: its payload indexes, and its vectors if ``dimensions`` are given."""

    name: str
    indexes: Mapping[str, Kind]
    dimensions: int | None = None
    searched: bool = False


_PLACE: dict[str, Kind] = dict.fromkeys(KEYS, "integer")
_MARKS: dict[str, Kind] = dict.fromkeys((OWED, OWED_AT, ASIDE), "integer")

STATE = Layout(
    "state",
    {
        "type": "keyword",
        TOKEN: "keyword",
        "status": "keyword",
        "sealed_at": "integer",
        "created_at": "integer",
        "completed_at": "integer",
        "hold_until": "integer",
        "outbox_at": "integer",
        "end_ids": "keyword",
        "renewed_at": "integer",
        "gone": "keyword",
        "returned": "keyword",
        "removed": "keyword",
        "deleted_at": "integer",
        "ends_owed": "integer",
        "ends_owed_at": "integer",
        "ends_owed_count": "integer",
        "ends_aside_count": "integer",
        **_MARKS,
    },
)
RECORDS = Layout(
    "records",
    {
        TOKEN: "keyword",
        "batch_id": "keyword",
        "batch_created_at": "integer",
        "kind": "keyword",
        "status": "keyword",
        "outcome": "keyword",
        "worker": "keyword",
        "error_category": "keyword",
        "error_key": "keyword",
        "claim_order": "integer",
        "next_attempt_at": "integer",
        "last_error_at": "integer",
        "started_at": "integer",
        "ended_at": "integer",
        "retries_total": "integer",
        **_PLACE,
        **_MARKS,
    },
)
DOCUMENTS = Layout(
    "documents",
    {
        TOKEN: "keyword",
        "collection": "keyword",
        "live_chunks": "integer",
        "live_pipeline": "keyword",
        "dead_at": "integer",
        **_PLACE,
        **_MARKS,
    },
)
VERSIONS = Layout("versions", {TOKEN: "keyword", "document_id": "keyword", **_MARKS})


def chunks_of(dimensions: int) -> Layout:
    return Layout(
        f"chunks_{dimensions}",
        {
            "collection": "keyword",
            "document_id": "keyword",
            "staging": "keyword",
            "ordinal": "integer",
            "filters": "keyword",
            "terms": "integer",
            "length": "integer",
        },
        dimensions,
        searched=True,
    )


def vectors_of(dimensions: int) -> Layout:
    return Layout(f"vectors_{dimensions}", {TOKEN: "keyword", **_MARKS}, dimensions)


class Schema:
    """Brings collections up to date; each step may be taken by several processes at once."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._made: set[str] = set()

    async def open(self) -> UUID:
        """Make what is missing of the fixed collections; returns the database's incarnation.

        Raises ConfigurationError for a server that is too old and for a schema that is not this program's.
        """
        version = (await self._connection.ask(self._connection.client.info())).version
        if _numbers(version) < OLDEST:
            raise ConfigurationError(
                f"Qdrant at {self._connection.options.shown_url} is version {version}, and Gristmill needs "
                f"{'.'.join(map(str, OLDEST))} or newer. Update the server."
            )
        if _numbers(version) < CRASH_SAFE:
            _log.warning(
                "qdrant_not_crash_safe",
                version=version,
                advice="If it is killed, it can lose acknowledged writes. Update it to 1.19 or newer.",
            )
        for layout in (STATE, RECORDS, DOCUMENTS, VERSIONS):
            await self.ensure(layout)
        state = Points(self._connection, STATE.name)
        new = {"type": "meta", "schema": VERSION, "incarnation": str(uuid4()), TOKEN: uuid4().hex}
        stored = (await state.get([META_ID])).get(META_ID)
        if stored is None:
            await state.insert([point(META_ID, new)])
            stored = (await state.get([META_ID]))[META_ID]
        if stored["schema"] != VERSION:
            raise ConfigurationError(
                f"The collections '{self._connection.options.prefix}_*' on Qdrant at "
                f"{self._connection.options.shown_url} have schema {stored['schema']}, and this program knows "
                f"{VERSION}. Update Gristmill, or choose another prefix."
            )
        return UUID(stored["incarnation"])

    async def details(self) -> dict[str, str]:
        """What people want to know of the server."""
        info = await self._connection.ask(self._connection.client.info())
        found = {"version": info.version}
        for layout in (RECORDS, DOCUMENTS):
            points = Points(self._connection, layout.name)
            found[layout.name] = str(await points.count(models.Filter()))
        return found

    async def ensure(self, layout: Layout) -> Points:
        """The collection, made with its indexes if it is not there.

        Raises ConfigurationError if it has other vectors than ours have.
        """
        points = Points(self._connection, layout.name)
        if layout.name not in self._made:
            await self._make(points.name, layout)
            self._made.add(layout.name)
        return points

    async def known(self, kind: str) -> list[Points]:
        """The collections of this kind that there are, whichever process made them."""
        listed = await self._connection.ask(self._connection.client.get_collections())
        start = f"{self._connection.options.prefix}_{kind}_"
        own = len(self._connection.options.prefix) + 1
        return [
            Points(self._connection, each.name[own:])
            for each in listed.collections
            if each.name.startswith(start) and each.name[len(start) :].isdigit()
        ]

    async def _make(self, name: str, layout: Layout) -> None:
        client, ask = self._connection.client, self._connection.ask
        try:
            found = await ask(client.get_collection(name))
        except UnexpectedResponse as error:
            if error.status_code != _NOT_FOUND:
                raise
            await self._create(name, layout)
            found = await ask(client.get_collection(name))
        self._check(name, layout, found.config.params.vectors)
        for key in layout.indexes.keys() - found.payload_schema.keys():
            await ask(client.create_payload_index(name, key, _index(layout.indexes[key]), wait=True))

    async def _create(self, name: str, layout: Layout) -> None:
        try:
            await self._connection.ask(
                self._connection.client.create_collection(
                    name,
                    vectors_config=_dense(layout),
                    sparse_vectors_config={TEXT: models.SparseVectorParams()} if layout.searched else None,
                    on_disk_payload=True,
                )
            )
        except UnexpectedResponse as error:
            if error.status_code != _CONFLICT:  # Another process made it meanwhile.
                raise

    def _check(self, name: str, layout: Layout, vectors: Any) -> None:
        stored = {key: (each.size, each.distance) for key, each in _by_name(vectors).items()}
        wanted = {key: (each.size, each.distance) for key, each in _dense(layout).items()}
        if stored != wanted:
            raise ConfigurationError(
                f"Collection '{name}' on Qdrant at {self._connection.options.shown_url} has the vectors "
                f"{_shown(stored)}, and Gristmill's has {_shown(wanted)}. It is not ours: choose another prefix, or "
                "delete it if nothing needs it."
            )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("-", maxsplit=1)[0].split(".")[:2] if part.isdigit())


def _dense(layout: Layout) -> dict[str, models.VectorParams]:
    if layout.dimensions is None:
        return {}
    # Vectors that are only kept need no graph.
    graph = None if layout.searched else models.HnswConfigDiff(m=0)
    return {
        DENSE: models.VectorParams(
            size=layout.dimensions, distance=models.Distance.DOT, on_disk=True, hnsw_config=graph
        )
    }


def _by_name(vectors: Any) -> dict[str, models.VectorParams]:
    if vectors is None:
        return {}
    return vectors if isinstance(vectors, dict) else {"": vectors}


def _shown(vectors: Mapping[str, tuple[int, models.Distance]]) -> str:
    named = [f"'{key}' ({size} dimensions, {distance.value})" for key, (size, distance) in vectors.items()]
    return ", ".join(named) or "none"


def _index(kind: Kind) -> models.PayloadSchemaType:
    return {"keyword": models.PayloadSchemaType.KEYWORD, "integer": models.PayloadSchemaType.INTEGER}[kind]


def of_type(name: str, *more: Any) -> models.Filter:
    return where(equals("type", name), *more)
