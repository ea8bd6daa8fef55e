"""Between documents, collections, chunks and their points.

A document's point holds two stagings of it: ``staged``, the version that is wanted, and ``live``, the one that
readers see; ``live`` is the one field that publishes. A staging is named by a token, and so are its chunks: what
carries another token than the live one is shown to nobody.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4, uuid5

from qdrant_client import models

from gristmill.domain.document import Chunk, Collection, Document, DocumentVersion, EmbeddingIdentity, Hit
from gristmill.domain.identity import NAMESPACE
from gristmill.ports.documents import filter_pairs
from gristmill.stores.qdrant.points import TOKEN, Payload, point
from gristmill.stores.qdrant.text_order import KEYS, place
from gristmill.stores.qdrant.values import instant, json_text, json_value, moment, storable

COLLECTION = "collection"

_TERM_BITS = 52  # Whole numbers that JSON and every client keep exactly.
_DIMENSIONS = 1 << 32

# -- collections -------------------------------------------------------------------------------------


def collection_id(name: str) -> UUID:
    return uuid5(NAMESPACE, f"collection\x1f{name}")


def collection_point(
    collection: Collection, *, reference: str | None = None, mean_length: float | None = None
) -> models.PointStruct:
    """``reference``: of its sources (see text_order); ``mean_length``: what its text index was begun with."""
    embedding = collection.embedding
    payload = {
        "type": COLLECTION,
        "name": collection.name,
        "provider": embedding.provider,
        "model": embedding.model,
        "dimensions": embedding.dimensions,
        "task": embedding.task,
        "normalised": embedding.normalised,
        "created_at": instant(collection.created_at),
        "reference": reference,
        "mean_length": mean_length,
        TOKEN: uuid4().hex,
    }
    return point(
        collection_id(collection.name), {key: each for key, each in payload.items() if each is not None}
    )


def collection_of(payload: Payload) -> Collection:
    return Collection(
        name=payload["name"],
        embedding=EmbeddingIdentity(
            provider=payload["provider"],
            model=payload["model"],
            dimensions=payload["dimensions"],
            task=payload["task"],
            normalised=payload["normalised"],
        ),
        created_at=moment(payload["created_at"]),
    )


# -- documents ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Staging:
    """One staging of a version; ``created_at`` and ``updated_at`` are set when it is published."""

    token: str
    ordinal: int
    version: str
    content_hash: str
    pipeline: str
    title: str | None
    metadata: str  # JSON.
    chunks: int
    created_at: int = 0
    updated_at: int = 0

    @classmethod
    def of(cls, version: DocumentVersion, ordinal: int) -> "Staging":
        return cls(
            token=uuid4().hex,
            ordinal=ordinal,
            version=version.version,
            content_hash=version.content_hash,
            pipeline=version.pipeline,
            title=None if version.title is None else storable(version.title),
            metadata=json_text(version.metadata),
            chunks=len(version.chunks),
        )

    @property
    def filters(self) -> list[str]:
        return filters_of(json_value(self.metadata))


@dataclass(frozen=True, slots=True)
class Stored:
    """A document's point. A deleted document keeps one for its ordinal."""

    document_id: UUID
    collection: str
    source: str
    place: tuple[int, ...]
    ordinal: int
    staged: Staging | None
    live: Staging | None
    token: str = ""

    @property
    def document(self) -> Document:
        live = self.live
        assert live is not None
        return Document(
            document_id=self.document_id,
            collection=self.collection,
            source=self.source,
            version=live.version,
            content_hash=live.content_hash,
            pipeline=live.pipeline,
            title=live.title,
            metadata=json_value(live.metadata),
            chunks=live.chunks,
            created_at=moment(live.created_at),
            updated_at=moment(live.updated_at),
        )

    def staging(self, version: DocumentVersion) -> "Stored":
        ordinal = self.ordinal + 1
        return replace(self, ordinal=ordinal, staged=Staging.of(version, ordinal))

    def published(self, now: datetime) -> "Stored":
        staged = self.staged
        assert staged is not None
        created_at = self.live.created_at if self.live else instant(now)
        live = replace(staged, created_at=created_at, updated_at=instant(now))
        return replace(self, live=live)

    @property
    def is_published(self) -> bool:
        return self.staged is not None and self.live is not None and self.staged.token == self.live.token


def unstored(version: DocumentVersion, reference: str) -> Stored:
    source = storable(version.source)
    return Stored(
        document_id=version.document_id,
        collection=version.collection,
        source=source,
        place=place(source, reference),
        ordinal=0,
        staged=None,
        live=None,
    )


def document_point(stored: Stored) -> models.PointStruct:
    payload: dict[str, Any] = {
        "document_id": str(stored.document_id),
        "collection": stored.collection,
        "source": stored.source,
        **dict(zip(KEYS, stored.place, strict=True)),
        "ordinal": stored.ordinal,
        TOKEN: uuid4().hex,
    }
    if stored.staged is not None:
        payload["staged"] = _staging_json(stored.staged)
    if stored.live is not None:
        payload |= {
            "live": _staging_json(stored.live),
            "live_chunks": stored.live.chunks,
            "live_pipeline": stored.live.pipeline,
        }
    return point(stored.document_id, payload)


def stored_of(payload: Payload) -> Stored:
    staged, live = payload.get("staged"), payload.get("live")
    return Stored(
        document_id=UUID(payload["document_id"]),
        collection=payload["collection"],
        source=payload["source"],
        place=tuple(payload[key] for key in KEYS),
        ordinal=payload["ordinal"],
        staged=None if staged is None else Staging(**staged),
        live=None if live is None else Staging(**live),
        token=payload[TOKEN],
    )


def _staging_json(staging: Staging) -> dict[str, Any]:
    return {name: getattr(staging, name) for name in Staging.__slots__}


# -- chunks ------------------------------------------------------------------------------------------


def filters_of(metadata: Mapping[str, object]) -> list[str]:
    return sorted(filter_value(key, value) for key, value in filter_pairs(metadata))


def filter_value(key: str, value: str) -> str:
    return f"{storable(key)}\x1f{storable(value)}"


def term_of(token: str) -> int:
    """A token as a number, the same everywhere; two tokens share one in no index that there will be."""
    digest = hashlib.blake2b(token.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest) >> (64 - _TERM_BITS)


def dimension_of(term: int) -> int:
    """The dimension of the sparse vector that a term counts in; a few terms share theirs."""
    return term % _DIMENSIONS


def chunk_payload(chunk: Chunk, stored: Stored) -> Payload:
    """A staged chunk: without ``collection``, so that no search or count sees it."""
    assert stored.staged is not None
    counts: dict[int, int] = {}
    for token in chunk.tokens:
        term = term_of(token)
        counts[term] = counts.get(term, 0) + 1
    payload = {
        "chunk_id": str(chunk.chunk_id),
        "document_id": str(stored.document_id),
        "staging": stored.staged.token,
        "ordinal": stored.staged.ordinal,
        "index": chunk.index,
        "text": storable(chunk.text),
        "start": chunk.start,
        "end": chunk.end,
        "heading": storable(chunk.heading),
        "page": chunk.page,
        "vector_id": str(chunk.vector_id),
        "terms": list(counts),
        "counts": list(counts.values()),
        "length": len(chunk.tokens),
    }
    return {key: value for key, value in payload.items() if value is not None}


def chunk_point_id(payload: Payload) -> UUID:
    """Of its own for each staging, so that staging a live version again changes nothing that readers see."""
    return uuid5(UUID(payload["chunk_id"]), payload["staging"])


def hit_of(payload: Payload, document: Document, score: float) -> Hit:
    return Hit(
        chunk_id=UUID(payload["chunk_id"]),
        document_id=document.document_id,
        version=document.version,
        source=document.source,
        title=document.title,
        heading=payload["heading"],
        text=payload["text"],
        start=payload["start"],
        end=payload["end"],
        page=payload.get("page"),
        metadata=document.metadata,
        score=score,
    )


def matches(metadata: Mapping[str, object], filters: Mapping[str, Sequence[str]]) -> bool:
    pairs = filter_pairs(metadata)
    return all(any((key, value) in pairs for value in values) for key, values in filters.items())
