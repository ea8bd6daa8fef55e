"""What all parts of the document port share: the collections of Qdrant, and the points of documents and versions."""

from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

from gristmill.domain import moves
from gristmill.domain.document import Collection
from gristmill.domain.versions import WriteIds
from gristmill.ports.clock import Clock
from gristmill.ports.errors import CollectionNotFoundError
from gristmill.stores.qdrant import document_points, schema
from gristmill.stores.qdrant.connection import Connection
from gristmill.stores.qdrant.document_points import Stored, collection_id, stored_of
from gristmill.stores.qdrant.marks import Numbers, marks_of
from gristmill.stores.qdrant.points import TOKEN, Condition, Payload, Points, any_of, where, within
from gristmill.stores.qdrant.values import storable
from gristmill.stores.qdrant.version_points import (
    StoredVersion,
    version_of,
    version_point,
    version_point_id,
)

LIVE: Condition = within("live_chunks", gte=0)
Versions = dict[tuple[UUID, str], StoredVersion]


class DocumentStore:
    def __init__(
        self,
        connection: Connection,
        collections: schema.Schema,
        clock: Clock,
        *,
        write_ids: WriteIds,
        numbers: Numbers,
    ) -> None:
        self._schema = collections
        self._clock = clock
        self._write_ids = write_ids
        self._numbers = numbers
        self._state = Points(connection, schema.STATE.name)
        self._documents = Points(connection, schema.DOCUMENTS.name)
        self._versions = Points(connection, schema.VERSIONS.name)

    def _write(self) -> moves.Write:
        return moves.Write(now=self._clock.now(), write_id=self._write_ids.draw())

    async def _chunks(self, collection: Payload) -> Points:
        return await self._schema.ensure(schema.chunks_of(collection["dimensions"]))

    async def _vectors(self, collection: Payload) -> Points:
        return await self._schema.ensure(schema.vectors_of(collection["dimensions"]))

    # -- collections ---------------------------------------------------------------------------------

    async def _collections(self, names: Iterable[str]) -> dict[str, Payload]:
        """Their points. Raises CollectionNotFoundError."""
        wanted = dict.fromkeys(names)
        found = await self._state.get(collection_id(name) for name in wanted)
        for name in wanted:
            if collection_id(name) not in found:
                raise CollectionNotFoundError(name, [each["name"] for each in await self._all_collections()])
        return {name: found[collection_id(name)] for name in wanted}

    async def _all_collections(self) -> list[Payload]:
        """In the order of their names."""
        found = await self._state.by_id(schema.of_type(document_points.COLLECTION))
        return sorted(found, key=lambda each: str(each["name"]))

    async def _with(self, collection: Payload, **once: str | float) -> Payload:
        """The collection's point with these fields; what is set once stays."""
        while not once.keys() <= collection.keys():
            new = document_points.collection_point(
                document_points.collection_of(collection),
                marks=marks_of(collection),
                reference=collection.get("reference", once.get("reference")),
                mean_length=collection.get("mean_length", once.get("mean_length")),
            )
            await self._state.swap_one(new, collection[TOKEN])
            collection = (await self._collections([collection["name"]]))[collection["name"]]
        return collection

    async def _with_reference(self, collection: Payload, source: str) -> Payload:
        """With the text its sources are ordered by; the first one given stays."""
        return await self._with(collection, reference=storable(source))

    async def _make_room_for(self, collection: Collection) -> None:
        await self._schema.ensure(schema.chunks_of(collection.embedding.dimensions))
        await self._schema.ensure(schema.vectors_of(collection.embedding.dimensions))

    # -- documents -----------------------------------------------------------------------------------

    async def _stored(self, document_ids: Iterable[UUID]) -> dict[UUID, Stored]:
        found = await self._documents.get(document_ids)
        return {each: stored_of(payload) for each, payload in found.items()}

    async def _swap(self, changed: Mapping[UUID, Stored]) -> set[UUID]:
        """Store documents whose points still bear the tokens they were read with, or are not there."""
        points = [document_points.document_point(each) for each in changed.values()]
        return await self._documents.swap(points, [each.token for each in changed.values() if each.token])

    # -- versions ------------------------------------------------------------------------------------

    async def _versions_of(self, keys: Iterable[tuple[UUID, str]]) -> Versions:
        """Versions by document and version."""
        found = await self._versions.get(version_point_id(*key) for key in keys)
        versions = [version_of(payload) for payload in found.values()]
        return {(each.content.document_id, each.content.version): each for each in versions}

    async def _all_versions_of(self, document_ids: Sequence[UUID]) -> list[StoredVersion]:
        chosen = where(any_of("document_id", [str(each) for each in document_ids]))
        return [version_of(payload) for payload in await self._versions.by_id(chosen)]

    async def _swap_versions(self, changed: Sequence[StoredVersion]) -> set[UUID]:
        """Store versions whose points still bear the tokens they were read with, or are not there."""
        points = [version_point(each) for each in changed]
        return await self._versions.swap(points, [each.token for each in changed if each.token])
