"""Staging, vectors, metadata and deleting.

Orders of writes, each prefix of which is harmless and can be repeated:

- staging: the chunks under a new staging (seen by nobody, for they name no collection), then the version's point,
  then the document's. A version that is here already keeps its chunks.
- metadata: see ``documents_show``. Search checks each hit against the document.
- deleting: the document's point becomes a tombstone, which hides it, then its versions and chunks go.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from uuid import UUID

import numpy as np

from gristmill.domain.document import Collection, DocumentVersion, EmbeddingIdentity, Wanted
from gristmill.domain.document_facts import DocumentFacts
from gristmill.ports.documents import Vector
from gristmill.ports.errors import CollectionConflictError
from gristmill.ports.rows import ChunksRow
from gristmill.stores.qdrant import document_points, schema, vector_points
from gristmill.stores.qdrant.document_points import Stored, collection_id, collection_of, unstored
from gristmill.stores.qdrant.documents_show import Change, DocumentsShow
from gristmill.stores.qdrant.points import TOKEN, Payload, point
from gristmill.stores.qdrant.values import instant, json_text, json_value
from gristmill.stores.qdrant.version_points import (
    StoredVersion,
    chunk_payload,
    chunk_point_id,
    new_version,
    version_point_id,
)


class DocumentsWrite(DocumentsShow):
    # -- collections ---------------------------------------------------------------------------------

    async def open_collection(self, name: str, embedding: EmbeddingIdentity) -> Collection:
        new = Collection(name=name, embedding=embedding, created_at=self._clock.now())
        await self._make_room_for(new)
        stored = (await self._state.get([collection_id(name)])).get(collection_id(name))
        if stored is None:
            marks = self._numbers.marks()
            await self._state.insert([document_points.collection_point(new, marks=marks)])
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
            collections[each.collection] = await self._with_reference(known, each.source)
        given = [replace(each, metadata=json_value(json_text(each.metadata))) for each in versions]
        wanted: dict[int, Wanted] = {}
        for name, collection in collections.items():
            ours = {n: each for n, each in enumerate(given) if each.collection == name}
            for slice_ in _each_document_once(ours):
                wanted |= await self._stage(collection, slice_)
        return [wanted[n] for n in range(len(given))]

    async def _stage(self, collection: Payload, versions: Mapping[int, DocumentVersion]) -> dict[int, Wanted]:
        left, wanted = dict(versions), dict[int, Wanted]()
        while left:
            before = await self._stored(each.document_id for each in left.values())
            now = instant(self._clock.now())
            stored = {
                each.document_id: before.get(each.document_id) or _unstored(each, collection)
                for each in left.values()
            }
            rows = {
                n: ChunksRow(each, stored[each.document_id].facts.next_stamp(now), self._write_ids.draw())
                for n, each in left.items()
            }
            here = await self._stage_chunks(collection, list(rows.values()))
            staged = {
                row.content.document_id: self._staged(stored[row.content.document_id], row)
                for row in rows.values()
                if version_point_id(row.content.document_id, row.content.version) in here
            }
            won = await self._swap(staged)
            for n, row in rows.items():
                if row.content.document_id in won:
                    wanted[n] = Wanted(row.content.version, row.ordinal)
                    del left[n]
        return wanted

    def _staged(self, stored: Stored, row: ChunksRow) -> Stored:
        facts = stored.facts.staged(row.content, stamp=row.ordinal, write_id=self._write_ids.draw())
        return replace(stored, facts=facts, marks=self._numbers.marks())

    async def _stage_chunks(self, collection: Payload, rows: Sequence[ChunksRow]) -> set[UUID]:
        """Let these versions be here, each with its chunks; returns the ids of the points for which it was done."""
        known = await self._versions_of((row.content.document_id, row.content.version) for row in rows)
        whole = await self._whole(collection, known.values())
        marks, stamps, changed = self._numbers.marks(), dict[UUID, int](), list[StoredVersion]()
        fresh: list[tuple[ChunksRow, StoredVersion]] = []
        for row in rows:
            stored = known.get((row.content.document_id, row.content.version))
            if stored is not None and stored.point_id in whole:
                changed.append(replace(stored, ordinal=row.ordinal, write_id=row.write_id, marks=marks))
            else:
                new = replace(new_version(row, marks), token=stored.token if stored else "")
                changed.append(new)
                fresh.append((row, new))
                stamps[new.point_id] = row.ordinal
        return await self._put_versions(collection, changed, fresh, stamps)

    async def _put_versions(
        self,
        collection: Payload,
        changed: Sequence[StoredVersion],
        fresh: Sequence[tuple[ChunksRow, StoredVersion]],
        stamps: Mapping[UUID, int],
    ) -> set[UUID]:
        """The chunks of the fresh ones, then the points of all; returns the ids of those that were stored."""
        chunks = await self._chunks(collection)
        payloads = [
            chunk_payload(chunk, new, stamps[new.point_id])
            for row, new in fresh
            for chunk in row.content.chunks
        ]
        await chunks.put([point(chunk_point_id(each), each) for each in payloads])
        won = await self._swap_versions(changed)
        await self._delete_stagings(chunks, [new.staging for _, new in fresh if new.point_id not in won])
        return won

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
        marks = self._numbers.marks()
        points = [
            vector_points.point_of(vector_id, embedding, vector.astype(np.float32), marks)
            for vector_id, vector in vectors.items()
        ]
        stored = await self._schema.ensure(schema.vectors_of(embedding.dimensions))
        await stored.insert(points)
        return len(await stored.bearing(points))

    # -- changing ------------------------------------------------------------------------------------

    async def update_metadata(self, changes: Mapping[UUID, Mapping[str, object]]) -> int:
        new = {each: json_value(json_text(metadata)) for each, metadata in changes.items()}
        count = 0
        while new:
            stored = {each: found for each, found in (await self._stored(new)).items() if found.live}
            shown = await self._show([self._edited(found, new[each]) for each, found in stored.items()])
            count += len(shown.stored)
            new = {each: new[each] for each in stored.keys() - shown.stored}
        return count

    def _edited(self, stored: Stored, metadata: Mapping[str, object]) -> Change:
        write = self._write()
        stamp = stored.facts.next_stamp(write.stamp)
        facts = stored.facts.edit(metadata, stamp=stamp, write_id=write.write_id, now=write.now)
        return Change(stored, facts, self._numbers.marks())

    async def delete_documents(self, document_ids: Sequence[UUID]) -> int:
        left, count = set(document_ids), 0
        while left:
            stored = await self._stored(left)
            there = {each: found for each, found in stored.items() if found.facts.wanted or found.live}
            now = instant(self._clock.now())
            hidden = {each: self._hidden(found, now) for each, found in there.items()}
            won = await self._swap(hidden)
            count += sum(there[each].live is not None for each in won)
            dead = [found for each, found in stored.items() if each not in there]
            await self._forget_versions([*(hidden[each] for each in won), *dead])
            left = there.keys() - won
        return count

    def _hidden(self, stored: Stored, now: int) -> Stored:
        facts = stored.facts.delete(stamp=stored.facts.next_stamp(now))
        return replace(stored, facts=facts, staging=None, marks=self._numbers.marks())


def _unstored(content: DocumentVersion, collection: Payload) -> Stored:
    facts = DocumentFacts(content.document_id, content.collection, content.source)
    return unstored(facts, collection["reference"])


def _each_document_once(versions: Mapping[int, DocumentVersion]) -> Iterator[dict[int, DocumentVersion]]:
    """The versions in slices, in each of which a document comes once; its versions stay in order."""
    left = dict(versions)
    while left:
        first: dict[UUID, int] = {}
        for n, each in left.items():
            first.setdefault(each.document_id, n)
        yield {n: left.pop(n) for n in first.values()}
