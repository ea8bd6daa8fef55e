"""Collections, documents, versions, chunks and vectors: what is searched."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True)
class EmbeddingIdentity:
    """What makes two vectors comparable; part of every vector's id."""

    provider: str
    model: str
    dimensions: int
    task: str = "document"
    normalised: bool = True

    @property
    def key(self) -> str:
        unit = "unit" if self.normalised else "raw"
        return f"{self.provider}/{self.model}/{self.dimensions}/{self.task}/{unit}"


@dataclass(frozen=True, slots=True)
class Collection:
    """A named set of documents with one embedding identity."""

    name: str
    embedding: EmbeddingIdentity
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Chunk:
    """One searchable piece; ``tokens`` are what text search indexes, title and heading included."""

    chunk_id: UUID
    index: int
    text: str
    start: int
    end: int
    heading: str
    page: int | None
    vector_id: UUID
    tokens: tuple[str, ...]

    def __reduce__(self) -> tuple[type["Chunk"], tuple[object, ...]]:
        """Travels between processes by the thousand; the default for a class with slots takes five times as long."""
        return Chunk, (
            self.chunk_id,
            self.index,
            self.text,
            self.start,
            self.end,
            self.heading,
            self.page,
            self.vector_id,
            self.tokens,
        )


@dataclass(frozen=True, slots=True)
class DocumentVersion:
    """A version as an ingest commits it, before it is live."""

    document_id: UUID
    collection: str
    source: str
    version: str
    content_hash: str
    pipeline: str
    title: str | None
    metadata: Mapping[str, object]
    chunks: tuple[Chunk, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """A document as readers see it: its live version."""

    document_id: UUID
    collection: str
    source: str
    version: str
    content_hash: str
    pipeline: str
    title: str | None
    metadata: Mapping[str, object]
    chunks: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Wanted:
    """The version a document should show next; the highest ordinal wins (protocol D2)."""

    version: str
    ordinal: int


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk of a live version with one leg's score; higher is better."""

    chunk_id: UUID
    document_id: UUID
    version: str
    source: str
    title: str | None
    heading: str
    text: str
    start: int
    end: int
    page: int | None
    metadata: Mapping[str, object]
    score: float


def embedded_text(title: str | None, heading: str, text: str) -> str:
    """The exact text that is embedded and whose hash names the vector."""
    return "\n".join(part for part in (title, heading, text) if part)
