"""The document port over dicts. No method awaits inside, so each is atomic on its event loop."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
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
from gristmill.ports.clock import Clock
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
from gristmill.stores.memory.bm25 import bm25_scores
from gristmill.stores.memory.cursors import page
from gristmill.stores.memory.json_values import json_copy


@dataclass(frozen=True, slots=True)
class _Live:
    document: Document
    chunks: tuple[Chunk, ...]


class MemoryDocuments:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._collections: dict[str, Collection] = {}
        self._ordinal = 0
        self._wanted: dict[UUID, Wanted] = {}
        self._staged: dict[UUID, DocumentVersion] = {}
        self._live: dict[UUID, _Live] = {}
        self._vectors: dict[UUID, Vector] = {}

    # -- collections ---------------------------------------------------------------------------------

    async def open_collection(self, name: str, embedding: EmbeddingIdentity) -> Collection:
        new = Collection(name=name, embedding=embedding, created_at=self._clock.now())
        stored = self._collections.setdefault(name, new)
        if stored.embedding != embedding:
            raise CollectionConflictError(name, stored.embedding.key, embedding.key)
        return stored

    async def list_collections(self) -> Sequence[CollectionSummary]:
        return [self._summary(self._collections[name]) for name in sorted(self._collections)]

    def _summary(self, collection: Collection) -> CollectionSummary:
        documents = [live.document for live in self._live_in(collection.name)]
        chunks = sum(document.chunks for document in documents)
        return CollectionSummary(collection=collection, documents=len(documents), chunks=chunks)

    # -- writing -------------------------------------------------------------------------------------

    async def stage_versions(self, versions: Sequence[DocumentVersion]) -> Sequence[Wanted]:
        for version in versions:
            self._check_collection(version.collection)
        return [self._stage(replace(version, metadata=json_copy(version.metadata))) for version in versions]

    def _stage(self, version: DocumentVersion) -> Wanted:
        self._ordinal += 1
        wanted = Wanted(version=version.version, ordinal=self._ordinal)
        self._wanted[version.document_id] = wanted
        self._staged[version.document_id] = version
        return wanted

    async def missing_vectors(self, vector_ids: Sequence[UUID]) -> set[UUID]:
        return set(vector_ids) - self._vectors.keys()

    async def put_vectors(self, embedding: EmbeddingIdentity, vectors: Mapping[UUID, Vector]) -> int:
        for vector_id, vector in vectors.items():
            if vector.shape != (embedding.dimensions,):
                raise ValueError(
                    f"Vector {vector_id} has the shape {vector.shape}, but {embedding.key} makes vectors of "
                    f"{embedding.dimensions} dimensions. Embed its text again with that model."
                )
        new = {vector_id: vector for vector_id, vector in vectors.items() if vector_id not in self._vectors}
        self._vectors |= {vector_id: vector.astype(np.float32) for vector_id, vector in new.items()}
        return len(new)

    async def publish(self, wanted: Mapping[UUID, Wanted]) -> Mapping[UUID, Published]:
        return {document_id: self._publish(document_id, ours) for document_id, ours in wanted.items()}

    def _publish(self, document_id: UUID, ours: Wanted) -> Published:
        wanted = self._wanted.get(document_id)
        if wanted is None or wanted.version != ours.version:
            return Published.SUPERSEDED
        staged = self._staged.get(document_id)
        if staged is None:
            return Published.LIVE
        if any(chunk.vector_id not in self._vectors for chunk in staged.chunks):
            return Published.INCOMPLETE
        self._live[document_id] = self._shown(staged, self._live.get(document_id))
        del self._staged[document_id]
        return Published.LIVE

    def _shown(self, version: DocumentVersion, old: _Live | None) -> _Live:
        now = self._clock.now()
        document = Document(
            document_id=version.document_id,
            collection=version.collection,
            source=version.source,
            version=version.version,
            content_hash=version.content_hash,
            pipeline=version.pipeline,
            title=version.title,
            metadata=version.metadata,
            chunks=len(version.chunks),
            created_at=old.document.created_at if old else now,
            updated_at=now,
        )
        return _Live(document, tuple(sorted(version.chunks, key=lambda chunk: chunk.index)))

    async def update_metadata(self, changes: Mapping[UUID, Mapping[str, object]]) -> int:
        known = {document_id: new for document_id, new in changes.items() if document_id in self._live}
        for document_id, metadata in known.items():
            live = self._live[document_id]
            document = replace(live.document, metadata=json_copy(metadata), updated_at=self._clock.now())
            self._live[document_id] = replace(live, document=document)
        return len(known)

    async def delete_documents(self, document_ids: Sequence[UUID]) -> int:
        for document_id in document_ids:
            self._wanted.pop(document_id, None)
            self._staged.pop(document_id, None)
        return sum(self._live.pop(document_id, None) is not None for document_id in document_ids)

    # -- reading -------------------------------------------------------------------------------------

    async def find_documents(self, document_ids: Sequence[UUID]) -> Mapping[UUID, Document]:
        return {each: self._live[each].document for each in document_ids if each in self._live}

    async def list_documents(
        self, collection: str | None = None, *, limit: int, after: str | None = None, under: str | None = None
    ) -> DocumentPage:
        if collection is not None:
            self._check_collection(collection)
        documents = [
            live.document
            for live in self._live_in(collection)
            if under is None or live.document.source.startswith(under)
        ]
        return DocumentPage(*page(documents, listing="documents", key=_place, limit=limit, after=after))

    async def list_chunks(self, document_id: UUID) -> Sequence[Hit]:
        live = self._live.get(document_id)
        return [] if live is None else [_hit(live.document, chunk, 0.0) for chunk in live.chunks]

    async def search(self, query: ChunkQuery) -> Legs:
        self._check_collection(query.collection)
        chunks = [(live.document, chunk) for live in self._live_in(query.collection) for chunk in live.chunks]
        return Legs(text=_text_leg(chunks, query), vector=self._vector_leg(chunks, query))

    def _vector_leg(self, chunks: Sequence[tuple[Document, Chunk]], query: ChunkQuery) -> list[Hit]:
        if query.vector is None:
            return []
        hits = [
            _hit(document, chunk, float(np.dot(self._vectors[chunk.vector_id], query.vector)))
            for document, chunk in chunks
            if _matches(document, query)
        ]
        return _best(hits, query.limit)

    async def count_stale(self, pipeline: str) -> int:
        return sum(live.document.pipeline != pipeline for live in self._live.values())

    # -- rows ----------------------------------------------------------------------------------------

    def _check_collection(self, name: str) -> None:
        if name not in self._collections:
            raise CollectionNotFoundError(name, list(self._collections))

    def _live_in(self, collection: str | None) -> Iterator[_Live]:
        return (live for live in self._live.values() if collection in {None, live.document.collection})


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
