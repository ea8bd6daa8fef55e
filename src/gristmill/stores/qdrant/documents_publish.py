"""Publishing: the document's point is the switch.

Its order: the staged chunks get their vectors, their filters and the name of their collection (found now, and
dropped by search, for their token is not live); the document's point makes that token live; what was staged before
goes. A crash before the switch leaves the old version live, and the same call goes on; after it, leftovers are
dropped by search and go with the next version.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import numpy as np
from qdrant_client import models

from gristmill.domain.document import Wanted
from gristmill.ports.documents import Published
from gristmill.stores.qdrant import schema
from gristmill.stores.qdrant.document_points import Stored, chunk_point_id, dimension_of
from gristmill.stores.qdrant.documents_write import DocumentsWrite
from gristmill.stores.qdrant.points import Payload, Points, any_of, groups, point, where
from gristmill.stores.qdrant.ranking import weight

_DOCUMENTS_A_SLICE = 64


class DocumentsPublish(DocumentsWrite):
    async def publish(self, wanted: Mapping[UUID, Wanted]) -> Mapping[UUID, Published]:
        published: dict[UUID, Published] = {}
        left = set(wanted)
        while left:
            stored = await self._stored(left)
            for each in list(left):
                answer = _answer(stored.get(each), wanted[each])
                if answer is not None:
                    published[each] = answer
                    left.discard(each)
            for document_id, complete in (await self._switch([stored[each] for each in left])).items():
                if not complete:
                    published[document_id] = Published.INCOMPLETE
                    left.discard(document_id)
        return {each: published[each] for each in wanted}

    async def _switch(self, documents: Sequence[Stored]) -> dict[UUID, bool]:
        """Try to make these live; says of each whether it was complete."""
        complete: dict[UUID, bool] = {}
        collections = await self._collections(each.collection for each in documents)
        for name, collection in collections.items():
            ours = (each for each in documents if each.collection == name)
            for some in groups(ours, _DOCUMENTS_A_SLICE):
                complete |= await self._switch_some(collection, some)
        return complete

    async def _switch_some(self, collection: Payload, documents: Sequence[Stored]) -> dict[UUID, bool]:
        chunks = await self._chunks(collection)
        found = await self._staged_chunks(chunks, documents)
        vectors = await self._vectors_for(collection, found)
        ready = {
            each.document_id: each
            for each in documents
            if each.staged is not None
            and len(found[each.document_id]) == each.staged.chunks
            and all(chunk["vector_id"] in vectors for chunk in found[each.document_id])
        }
        lengths = [chunk["length"] for each in ready for chunk in found[each]]
        if lengths:
            collection = await self._with(collection, mean_length=max(1.0, sum(lengths) / len(lengths)))
        await chunks.put(
            [
                _shown_chunk(chunk, collection, each, vectors[chunk["vector_id"]])
                for each in ready.values()
                for chunk in found[each.document_id]
            ]
        )
        now = self._clock.now()
        live = {key: each.published(now) for key, each in ready.items()}
        won = await self._swap(live)
        await self._delete_outdated([live[each] for each in won])
        await self._delete_given_up(chunks, [each for key, each in ready.items() if key not in won])
        return {each.document_id: each.document_id in ready for each in documents}

    async def _delete_given_up(self, chunks: Points, lost: Sequence[Stored]) -> None:
        """Chunks written for documents that were changed meanwhile, of stagings that nobody wants any more."""
        if lost:
            now = await self._stored(each.document_id for each in lost)
            wanted = {each.token for stored in now.values() for each in (stored.staged, stored.live) if each}
            tokens = {each.staged.token for each in lost if each.staged} - wanted
            if tokens:
                await chunks.delete(where(any_of("staging", tokens)))

    async def _staged_chunks(self, chunks: Points, documents: Sequence[Stored]) -> dict[UUID, list[Payload]]:
        tokens = [each.staged.token for each in documents if each.staged is not None]
        found: dict[UUID, list[Payload]] = {each.document_id: [] for each in documents}
        for chunk in await chunks.by_id(where(any_of("staging", tokens))):
            found[UUID(chunk["document_id"])].append(chunk)
        return found

    async def _vectors_for(
        self, collection: Payload, chunks: Mapping[UUID, Sequence[Payload]]
    ) -> dict[str, list[float]]:
        wanted = dict.fromkeys(chunk["vector_id"] for each in chunks.values() for chunk in each)
        points = await self._vectors(collection)
        found: dict[str, list[float]] = {}
        for some in groups(map(UUID, wanted), 500):
            for record in await points.records(some, fields=False, vectors=True):
                vector: Any = record.vector
                found[str(record.id)] = vector[schema.DENSE]
        return found


def _answer(stored: Stored | None, ours: Wanted) -> Published | None:
    """What publishing comes to without doing anything; None if there is something to do."""
    if stored is None or stored.staged is None or stored.staged.version != ours.version:
        return Published.SUPERSEDED
    return Published.LIVE if stored.is_published else None


def _shown_chunk(
    chunk: Payload, collection: Payload, stored: Stored, vector: list[float]
) -> models.PointStruct:
    assert stored.staged is not None
    shown = chunk | {"collection": collection["name"], "filters": stored.staged.filters}
    vectors: dict[str, Any] = {schema.DENSE: vector if collection["normalised"] else _unit(vector)}
    if chunk["terms"]:
        vectors[schema.TEXT] = _sparse(chunk, collection["mean_length"])
    return point(chunk_point_id(chunk), shown, vectors)


def _unit(vector: list[float]) -> list[float]:
    values = np.array(vector, dtype=np.float64)
    length = np.linalg.norm(values)
    unit: list[float] = (values / length if length else values).astype(np.float32).tolist()
    return unit


def _sparse(chunk: Payload, mean_length: float) -> models.SparseVector:
    counts: dict[int, int] = {}
    for term, count in zip(chunk["terms"], chunk["counts"], strict=True):
        dimension = dimension_of(term)
        counts[dimension] = counts.get(dimension, 0) + count
    values = [weight(count, chunk["length"], mean_length) for count in counts.values()]
    return models.SparseVector(indices=list(counts), values=values)
