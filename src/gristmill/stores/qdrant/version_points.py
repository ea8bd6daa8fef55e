"""Between the chunks of a document's version and their points.

A version has a point of its own, written once all of its chunks are there. It holds what the version was committed
with and names the *staging* its chunks were written under; chunks of another staging are shown to nobody.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID, uuid4, uuid5

from qdrant_client import models

from gristmill.domain.document import Chunk, Document, DocumentVersion, Hit
from gristmill.domain.identity import NAMESPACE
from gristmill.ports.documents import filter_pairs
from gristmill.ports.rows import ChunksRow
from gristmill.stores.qdrant.marks import Marks, marks_of
from gristmill.stores.qdrant.points import TOKEN, Payload, point
from gristmill.stores.qdrant.values import json_text, json_value, storable

_TERM_BITS = 52  # Whole numbers that JSON and every client keep exactly.
_DIMENSIONS = 1 << 32


@dataclass(frozen=True, slots=True)
class StoredVersion:
    """``content`` is without its chunks, of which there are so many; ``ordinal`` and ``write_id`` are of the last staging."""

    content: DocumentVersion
    chunks: int
    staging: str
    ordinal: int
    write_id: str
    token: str = ""
    marks: Marks = field(default_factory=dict)

    @property
    def point_id(self) -> UUID:
        return version_point_id(self.content.document_id, self.content.version)

    @property
    def row_token(self) -> str:
        """As ``rows.row_of`` makes it of the whole."""
        return f"{self.ordinal}|{self.write_id}"

    def row(self, chunks: Iterable[Chunk]) -> ChunksRow:
        content = replace(self.content, chunks=tuple(sorted(chunks, key=lambda chunk: chunk.index)))
        return ChunksRow(content, self.ordinal, self.write_id)


def version_point_id(document_id: UUID, version: str) -> UUID:
    return uuid5(NAMESPACE, f"version\x1f{document_id}\x1f{version}")


def new_version(row: ChunksRow, marks: Marks) -> StoredVersion:
    content = replace(
        row.content,
        source=storable(row.content.source),
        title=None if row.content.title is None else storable(row.content.title),
        chunks=(),
    )
    return StoredVersion(
        content=content,
        chunks=len(row.content.chunks),
        staging=uuid4().hex,
        ordinal=row.ordinal,
        write_id=row.write_id,
        marks=marks,
    )


def version_point(stored: StoredVersion) -> models.PointStruct:
    content = stored.content
    payload: dict[str, Any] = {
        "document_id": str(content.document_id),
        "collection": content.collection,
        "source": content.source,
        "version": content.version,
        "content_hash": content.content_hash,
        "pipeline": content.pipeline,
        "title": content.title,
        "metadata": json_text(dict(content.metadata)),
        "chunks": stored.chunks,
        "staging": stored.staging,
        "ordinal": stored.ordinal,
        "write_id": stored.write_id,
        **stored.marks,
        TOKEN: uuid4().hex,
    }
    return point(stored.point_id, {key: value for key, value in payload.items() if value is not None})


def version_of(payload: Payload) -> StoredVersion:
    content = DocumentVersion(
        document_id=UUID(payload["document_id"]),
        collection=payload["collection"],
        source=payload["source"],
        version=payload["version"],
        content_hash=payload["content_hash"],
        pipeline=payload["pipeline"],
        title=payload.get("title"),
        metadata=json_value(payload["metadata"]),
        chunks=(),
    )
    return StoredVersion(
        content=content,
        chunks=payload["chunks"],
        staging=payload["staging"],
        ordinal=payload["ordinal"],
        write_id=payload["write_id"],
        token=payload[TOKEN],
        marks=marks_of(payload),
    )


# -- chunks ------------------------------------------------------------------------------------------


def term_of(token: str) -> int:
    """A token as a number, the same everywhere; two tokens share one in no index that there will be."""
    digest = hashlib.blake2b(token.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest) >> (64 - _TERM_BITS)


def dimension_of(term: int) -> int:
    """The dimension of the sparse vector that a term counts in; a few terms share theirs."""
    return term % _DIMENSIONS


def chunk_payload(chunk: Chunk, stored: StoredVersion, stamp: int) -> Payload:
    """A staged chunk: without ``collection``, so that no search or count sees it.

    ``stamp``: above every one of its document that this database has seen.
    """
    counts: dict[int, int] = {}
    for token in chunk.tokens:
        term = term_of(token)
        counts[term] = counts.get(term, 0) + 1
    payload = {
        "chunk_id": str(chunk.chunk_id),
        "document_id": str(stored.content.document_id),
        "staging": stored.staging,
        "ordinal": stamp,
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
        "tokens": json_text(chunk.tokens),
    }
    return {key: value for key, value in payload.items() if value is not None}


def chunk_of(payload: Payload) -> Chunk:
    return Chunk(
        chunk_id=UUID(payload["chunk_id"]),
        index=payload["index"],
        text=payload["text"],
        start=payload["start"],
        end=payload["end"],
        heading=payload["heading"],
        page=payload.get("page"),
        vector_id=UUID(payload["vector_id"]),
        tokens=tuple(json_value(payload["tokens"])),
    )


def chunk_point_id(payload: Payload) -> UUID:
    """Of its own for each staging: what is written under one staging is never overwritten by another."""
    return uuid5(UUID(payload["chunk_id"]), payload["staging"])


def filters_of(metadata: Mapping[str, object]) -> list[str]:
    return sorted(filter_value(key, value) for key, value in filter_pairs(metadata))


def filter_value(key: str, value: str) -> str:
    return f"{storable(key)}\x1f{storable(value)}"


def matches(metadata: Mapping[str, object], filters: Mapping[str, Iterable[str]]) -> bool:
    pairs = filter_pairs(metadata)
    return all(any((key, value) in pairs for value in values) for key, values in filters.items())


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
