"""The document port over dicts. No method awaits inside, so each is atomic on its event loop."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from uuid import UUID

import numpy as np

from gristmill.domain.document import (
    Chunk,
    Collection,
    Document,
    DocumentVersion,
    EmbeddingIdentity,
    Hit,
    Wanted,
)
from gristmill.domain.document_facts import DocumentFacts, Pointer
from gristmill.domain.record import microseconds
from gristmill.domain.versions import WriteIds
from gristmill.ports.documents import (
    ChunkQuery,
    CollectionSummary,
    DocumentPage,
    Legs,
    Published,
    Vector,
    filter_pairs,
)
from gristmill.ports.errors import CollectionConflictError, CollectionNotFoundError
from gristmill.ports.rows import ChunksRow, VectorRow
from gristmill.stores.memory.bm25 import bm25_scores
from gristmill.stores.memory.cursors import page
from gristmill.stores.memory.forgetting import forget_versions
from gristmill.stores.memory.json_values import json_copy
from gristmill.stores.memory.tables import Tables


class MemoryDocuments:
    def __init__(self, tables: Tables, *, write_ids: WriteIds) -> None:
        self._tables = tables
        self._clock = tables.clock
        self._write_ids = write_ids

    # -- collections ---------------------------------------------------------------------------------

    async def open_collection(self, name: str, embedding: EmbeddingIdentity) -> Collection:
        stored = self._tables.collections.get(name)
        if stored is None:
            stored = Collection(name=name, embedding=embedding, created_at=self._clock.now())
            self._tables.keep(stored)
        if stored.embedding != embedding:
            raise CollectionConflictError(name, stored.embedding.key, embedding.key)
        return stored

    async def list_collections(self) -> Sequence[CollectionSummary]:
        return [self._summary(collection) for _, collection in sorted(self._tables.collections.items())]

    def _summary(self, collection: Collection) -> CollectionSummary:
        documents = self._live_in(collection.name)
        chunks = sum(document.chunks for document in documents)
        return CollectionSummary(collection=collection, documents=len(documents), chunks=chunks)

    # -- writing -------------------------------------------------------------------------------------

    async def stage_versions(self, versions: Sequence[DocumentVersion]) -> Sequence[Wanted]:
        for version in versions:
            self._check_collection(version.collection)
        return [self._stage(replace(version, metadata=json_copy(version.metadata))) for version in versions]

    def _stage(self, content: DocumentVersion) -> Wanted:
        new = DocumentFacts(content.document_id, content.collection, content.source)
        stored = self._tables.documents.get(content.document_id, new)
        stamp = stored.next_stamp(microseconds(self._clock.now()))
        here = self._tables.chunks.get(content.document_id, {}).get(content.version)
        chunks = here.content if here else content  # The first ones stay: they are immutable.
        self._tables.keep(ChunksRow(chunks, stamp, self._write_ids.draw()))
        facts = stored.staged(content, stamp=stamp, write_id=self._write_ids.draw())
        self._tables.keep(facts)
        return Wanted(version=content.version, ordinal=stamp)

    async def missing_vectors(self, vector_ids: Sequence[UUID]) -> set[UUID]:
        return set(vector_ids) - self._tables.vectors.keys()

    async def put_vectors(self, embedding: EmbeddingIdentity, vectors: Mapping[UUID, Vector]) -> int:
        for vector_id, vector in vectors.items():
            if vector.shape != (embedding.dimensions,):
                raise ValueError(
                    f"Vector {vector_id} has the shape {vector.shape}, but {embedding.key} makes vectors of "
                    f"{embedding.dimensions} dimensions. Embed its text again with that model."
                )
        new = {each: vector for each, vector in vectors.items() if each not in self._tables.vectors}
        for vector_id, vector in new.items():
            self._tables.keep(VectorRow(vector_id, embedding, vector.astype(np.float32)))
        return len(new)

    async def publish(self, wanted: Mapping[UUID, Wanted]) -> Mapping[UUID, Published]:
        return {document_id: self._publish(document_id, ours) for document_id, ours in wanted.items()}

    def _publish(self, document_id: UUID, ours: Wanted) -> Published:
        facts = self._tables.documents.get(document_id)
        if facts is None or facts.wanted is None:
            return Published.SUPERSEDED
        if facts.wanted.ordinal < ours.ordinal:
            return Published.INCOMPLETE
        if facts.wanted.version != ours.version:
            return Published.SUPERSEDED
        if facts.live is not None and facts.live.ordinal == facts.wanted.ordinal:
            return Published.LIVE
        if not is_complete(self._tables, facts.wanted, document_id):
            return Published.INCOMPLETE
        shown = facts.published(write_id=self._write_ids.draw(), now=self._clock.now())
        self._tables.keep(shown)
        forget_versions(self._tables, shown)
        return Published.LIVE

    async def update_metadata(self, changes: Mapping[UUID, Mapping[str, object]]) -> int:
        known = {each: new for each, new in changes.items() if self._document(each) is not None}
        now = self._clock.now()
        for document_id, metadata in known.items():
            facts = self._tables.documents[document_id]
            stamp, write_id = facts.next_stamp(microseconds(now)), self._write_ids.draw()
            self._tables.keep(facts.edit(json_copy(metadata), stamp=stamp, write_id=write_id, now=now))
        return len(known)

    async def delete_documents(self, document_ids: Sequence[UUID]) -> int:
        live = sum(self._document(document_id) is not None for document_id in set(document_ids))
        for document_id in document_ids:
            facts = self._tables.documents.get(document_id)
            if facts is not None and (facts.wanted or facts.live):
                facts = facts.delete(stamp=facts.next_stamp(microseconds(self._clock.now())))
                self._tables.keep(facts)
                forget_versions(self._tables, facts)
        return live

    # -- reading -------------------------------------------------------------------------------------

    async def find_documents(self, document_ids: Sequence[UUID]) -> Mapping[UUID, Document]:
        found = {document_id: self._document(document_id) for document_id in document_ids}
        return {document_id: document for document_id, document in found.items() if document is not None}

    async def list_documents(
        self, collection: str | None = None, *, limit: int, after: str | None = None, under: str | None = None
    ) -> DocumentPage:
        if collection is not None:
            self._check_collection(collection)
        documents = [
            document
            for document in self._live_in(collection)
            if under is None or document.source.startswith(under)
        ]
        return DocumentPage(*page(documents, listing="documents", key=_place, limit=limit, after=after))

    async def list_chunks(self, document_id: UUID) -> Sequence[Hit]:
        document = self._document(document_id)
        return [] if document is None else [_hit(document, chunk, 0.0) for chunk in self._chunks(document)]

    async def search(self, query: ChunkQuery) -> Legs:
        self._check_collection(query.collection)
        documents = self._live_in(query.collection)
        chunks = [(document, chunk) for document in documents for chunk in self._chunks(document)]
        return Legs(text=_text_leg(chunks, query), vector=self._vector_leg(chunks, query))

    def _vector_leg(self, chunks: Sequence[tuple[Document, Chunk]], query: ChunkQuery) -> list[Hit]:
        if query.vector is None:
            return []
        hits = [
            _hit(document, chunk, _cosine(self._tables.vectors[chunk.vector_id], query.vector))
            for document, chunk in chunks
            if _matches(document, query)
        ]
        return _best(hits, query.limit)

    async def count_stale(self, pipeline: str) -> int:
        return sum(document.pipeline != pipeline for document in self._live_in(None))

    # -- rows ----------------------------------------------------------------------------------------

    def _check_collection(self, name: str) -> None:
        if name not in self._tables.collections:
            raise CollectionNotFoundError(name, list(self._tables.collections))

    def _document(self, document_id: UUID) -> Document | None:
        facts = self._tables.documents.get(document_id)
        return None if facts is None else facts.document()

    def _live_in(self, collection: str | None) -> list[Document]:
        shown = (facts.document() for facts in self._tables.documents.values())
        return [each for each in shown if each is not None and collection in {None, each.collection}]

    def _chunks(self, document: Document) -> tuple[Chunk, ...]:
        row = self._tables.chunks[document.document_id][document.version]
        return tuple(sorted(row.content.chunks, key=lambda chunk: chunk.index))


def is_complete(tables: Tables, pointer: Pointer, document_id: UUID) -> bool:
    """Whether all chunks of a version and all their vectors are here."""
    row = tables.chunks.get(document_id, {}).get(pointer.version)
    return row is not None and all(chunk.vector_id in tables.vectors for chunk in row.content.chunks)


def _place(document: Document) -> tuple[str, str]:
    return document.collection, document.source


def _matches(document: Document, query: ChunkQuery) -> bool:
    pairs = filter_pairs(document.metadata)
    return all(any((key, text) in pairs for text in texts) for key, texts in query.filters.items())


def _text_leg(chunks: Sequence[tuple[Document, Chunk]], query: ChunkQuery) -> list[Hit]:
    if query.tokens is None:
        return []
    scores = bm25_scores([chunk.tokens for _, chunk in chunks], query.tokens)
    hits = [
        _hit(document, chunk, score)
        for (document, chunk), score in zip(chunks, scores, strict=True)
        if score > 0 and _matches(document, query)
    ]
    return _best(hits, query.limit)


def _cosine(row: VectorRow, unit: Vector) -> float:
    """0 for a vector without a direction."""
    vector = row.vector.astype(np.float64)
    length = 1.0 if row.embedding.normalised else float(np.linalg.norm(vector))
    return float(np.dot(vector, unit)) / (length or 1.0)


def _best(hits: list[Hit], limit: int) -> list[Hit]:
    return sorted(hits, key=lambda hit: (-hit.score, hit.chunk_id))[:limit]


def _hit(document: Document, chunk: Chunk, score: float) -> Hit:
    return Hit(
        chunk_id=chunk.chunk_id,
        document_id=document.document_id,
        version=document.version,
        source=document.source,
        title=document.title,
        heading=chunk.heading,
        text=chunk.text,
        start=chunk.start,
        end=chunk.end,
        page=chunk.page,
        metadata=document.metadata,
        score=score,
    )
