"""What all parts of the document port share: the collections of Qdrant and the points of documents."""

from collections.abc import Iterable, Mapping
from uuid import UUID

from qdrant_client import models

from gristmill.ports.clock import Clock
from gristmill.ports.errors import CollectionNotFoundError
from gristmill.stores.qdrant import document_points, schema
from gristmill.stores.qdrant.connection import Connection
from gristmill.stores.qdrant.document_points import Stored, collection_id, stored_of
from gristmill.stores.qdrant.points import TOKEN, Condition, Payload, Points, equals, where, within

LIVE: Condition = within("live_chunks", gte=0)
_DOCUMENTS_A_FILTER = 64


class DocumentStore:
    def __init__(self, connection: Connection, collections: schema.Schema, clock: Clock) -> None:
        self._schema = collections
        self._clock = clock
        self._state = Points(connection, schema.STATE.name)
        self._documents = Points(connection, schema.DOCUMENTS.name)

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
                reference=collection.get("reference", once.get("reference")),
                mean_length=collection.get("mean_length", once.get("mean_length")),
            )
            await self._state.swap_one(new, collection[TOKEN])
            collection = (await self._collections([collection["name"]]))[collection["name"]]
        return collection

    # -- documents -----------------------------------------------------------------------------------

    async def _stored(self, document_ids: Iterable[UUID]) -> dict[UUID, Stored]:
        found = await self._documents.get(document_ids)
        return {each: stored_of(payload) for each, payload in found.items()}

    async def _swap(self, changed: Mapping[UUID, Stored]) -> set[UUID]:
        """Store documents whose points still bear the tokens they were read with, or are not there."""
        points = [document_points.document_point(each) for each in changed.values()]
        return await self._documents.swap(points, [each.token for each in changed.values() if each.token])


def outdated(documents: Iterable[Stored]) -> list[models.Filter]:
    """The chunks of these documents staged until now, but for those of the live staging; some documents a filter."""
    conditions = [
        where(
            equals("document_id", str(each.document_id)),
            within("ordinal", lte=each.ordinal),
            without=[equals("staging", each.live.token)] if each.live else (),
        )
        for each in documents
    ]
    return [
        models.Filter(should=list(conditions[start : start + _DOCUMENTS_A_FILTER]))
        for start in range(0, len(conditions), _DOCUMENTS_A_FILTER)
    ]
