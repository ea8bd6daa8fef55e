"""Staging, vectors, metadata and deleting.

Orders of writes, each prefix of which is harmless and can be repeated:

- staging: the chunks under a new token (seen by nobody, for they name no collection), then the document's point,
  then the chunks of a staging that it replaced go. Chunks that a crash left are of no later ordinal than the next
  staging and go when that is published.
- metadata: the chunks' filters become those of the old and the new metadata, then the document's point changes,
  then the filters become the new ones. Search checks each hit against the document.
- deleting: the document's point loses its stagings, which hides it, then its chunks go.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from uuid import UUID, uuid4

import numpy as np

from gristmill.domain.document import Collection, DocumentVersion, EmbeddingIdentity, Wanted
from gristmill.ports.documents import Vector
from gristmill.ports.errors import CollectionConflictError
from gristmill.stores.qdrant import document_points, schema
from gristmill.stores.qdrant.document_points import (
    Stored,
    chunk_payload,
    chunk_point_id,
    collection_id,
    collection_of,
    filters_of,
    unstored,
)
from gristmill.stores.qdrant.document_store import DocumentStore, outdated
from gristmill.stores.qdrant.points import TOKEN, Payload, any_of, equals, point, where
from gristmill.stores.qdrant.values import instant, json_text, json_value, storable


class DocumentsWrite(DocumentStore):
    # -- collections ---------------------------------------------------------------------------------

    async def open_collection(self, name: str, embedding: EmbeddingIdentity) -> Collection:
        await self._schema.ensure(schema.chunks_of(embedding.dimensions))
        await self._schema.ensure(schema.vectors_of(embedding.dimensions))
        stored = (await self._state.get([collection_id(name)])).get(collection_id(name))
        if stored is None:
            new = Collection(name=name, embedding=embedding, created_at=self._clock.now())
            await self._state.insert([document_points.collection_point(new)])
            stored = (await self._collections([name]))[name]
        collection = collection_of(stored)
        if collection.embedding != embedding:
            raise CollectionConflictError(name, collection.embedding.key, embedding.key)
        return collection

    # -- staging -------------------------------------------------------------------------------------

    async def stage_versions(self, versions: Sequence[DocumentVersion]) -> Sequence[Wanted]:
        collections = await self._collections(each.collection for each in versions)
        for each in versions:
            known = collections[each.collection]
            collections[each.collection] = await self._with(known, reference=storable(each.source))
        given = [replace(each, metadata=json_value(json_text(each.metadata))) for each in versions]
        wanted: dict[int, Wanted] = {}
        for name, collection in collections.items():
            ours = {n: each for n, each in enumerate(given) if each.collection == name}
            for slice_ in _each_document_once(ours):
                wanted |= await self._stage(collection, slice_)
        return [wanted[n] for n in range(len(given))]

    async def _stage(self, collection: Payload, versions: Mapping[int, DocumentVersion]) -> dict[int, Wanted]:
        chunks = await self._chunks(collection)
        left, wanted = dict(versions), dict[int, Wanted]()
        while left:
            before = await self._stored(each.document_id for each in left.values())
            staged = {
                each.document_id: before.get(
                    each.document_id, unstored(each, collection["reference"])
                ).staging(each)
                for each in left.values()
            }
            payloads = [
                chunk_payload(chunk, staged[each.document_id])
                for each in left.values()
                for chunk in each.chunks
            ]
            await chunks.put([point(chunk_point_id(each), each) for each in payloads])
            won = await self._swap(staged)
            given_up = [
                *(_token(each) for key, each in staged.items() if key not in won),
                *(_token(before[key]) for key in won if key in before and not before[key].is_published),
            ]
            if unused := [each for each in given_up if each]:
                await chunks.delete(where(any_of("staging", unused)))
            for n in [n for n, each in left.items() if each.document_id in won]:
                wanted[n] = Wanted(left[n].version, staged[left[n].document_id].ordinal)
                del left[n]
        return wanted

    # -- vectors -------------------------------------------------------------------------------------

    async def missing_vectors(self, vector_ids: Sequence[UUID]) -> set[UUID]:
        missing = set(vector_ids)
        if missing:
            for points in await self._schema.known("vectors"):
                missing -= (await points.get(missing, fields=[TOKEN])).keys()
        return missing

    async def put_vectors(self, embedding: EmbeddingIdentity, vectors: Mapping[UUID, Vector]) -> int:
        for vector_id, vector in vectors.items():
            if vector.shape != (embedding.dimensions,):
                raise ValueError(
                    f"Vector {vector_id} has the shape {vector.shape}, but {embedding.key} makes vectors of "
                    f"{embedding.dimensions} dimensions. Embed its text again with that model."
                )
        if not vectors:
            return 0
        points = [
            point(vector_id, {TOKEN: uuid4().hex}, {schema.DENSE: vector.astype(np.float32).tolist()})
            for vector_id, vector in vectors.items()
        ]
        stored = await self._schema.ensure(schema.vectors_of(embedding.dimensions))
        await stored.insert(points)
        return len(await stored.bearing(points))

    # -- changing ------------------------------------------------------------------------------------

    async def update_metadata(self, changes: Mapping[UUID, Mapping[str, object]]) -> int:
        new = {each: json_text(metadata) for each, metadata in changes.items()}
        count = 0
        while new:
            stored = {each: found for each, found in (await self._stored(new)).items() if found.live}
            collections = await self._collections(each.collection for each in stored.values())
            for each, found in stored.items():
                await self._set_filters(collections, found, new[each], keep_old=True)
            now = instant(self._clock.now())
            changed = {each: _with_metadata(found, new[each], now) for each, found in stored.items()}
            won = await self._swap(changed)
            for each in won:
                await self._set_filters(collections, changed[each], new[each], keep_old=False)
            count += len(won)
            new = {each: new[each] for each in changed.keys() - won}
        return count

    async def _set_filters(
        self, collections: Mapping[str, Payload], stored: Stored, metadata: str, *, keep_old: bool
    ) -> None:
        assert stored.live is not None
        filters = set(filters_of(json_value(metadata)))
        if keep_old:
            filters |= set(stored.live.filters)
        chunks = await self._chunks(collections[stored.collection])
        chosen = where(equals("document_id", str(stored.document_id)), equals("staging", stored.live.token))
        await chunks.set_payload({"filters": sorted(filters)}, chosen)

    async def delete_documents(self, document_ids: Sequence[UUID]) -> int:
        left, count = set(document_ids), 0
        while left:
            stored = await self._stored(left)
            hidden = {each: replace(found, live=None, staged=None) for each, found in stored.items()}
            won = await self._swap(hidden)
            count += sum(stored[each].live is not None for each in won)
            await self._delete_outdated([hidden[each] for each in won])
            left = stored.keys() - won
        return count

    async def _delete_outdated(self, documents: Sequence[Stored]) -> None:
        collections = await self._collections(each.collection for each in documents)
        for name, collection in collections.items():
            chunks = await self._chunks(collection)
            for chosen in outdated(each for each in documents if each.collection == name):
                await chunks.delete(chosen)


def _each_document_once(versions: Mapping[int, DocumentVersion]) -> Iterator[dict[int, DocumentVersion]]:
    """The versions in slices, in each of which a document comes once; its versions stay in order."""
    left = dict(versions)
    while left:
        first: dict[UUID, int] = {}
        for n, each in left.items():
            first.setdefault(each.document_id, n)
        yield {n: left.pop(n) for n in first.values()}


def _token(stored: Stored) -> str | None:
    return None if stored.staged is None else stored.staged.token


def _with_metadata(stored: Stored, metadata: str, now: int) -> Stored:
    assert stored.live is not None
    return replace(stored, live=replace(stored.live, metadata=metadata, updated_at=now))
