"""Values for tests, complete but for what the test is about."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import numpy as np

from gristmill.domain import identity
from gristmill.domain.batch import Batch, BatchStatus, NewBatch
from gristmill.domain.document import Chunk, DocumentVersion, EmbeddingIdentity, embedded_text
from gristmill.domain.failures import Failure, FailureCategory
from gristmill.domain.record import Item, Record
from gristmill.ports.batches import Worker
from gristmill.ports.documents import Vector
from tests.support.clocks import START

EMBEDDING = EmbeddingIdentity(provider="test", model="hash", dimensions=8)
PIPELINE = "plain 1 | words 1 | size=100"


def new_batch(batch_id: UUID | None = None, **changes: Any) -> NewBatch:
    return NewBatch(**({"batch_id": batch_id or uuid4(), "kind": "documents"} | changes))


def item(item_id: Any, **changes: Any) -> Item:
    return Item(**({"item_id": item_id, "kind": "documents"} | changes))


def items(*item_ids: Any, **changes: Any) -> list[Item]:
    return [item(item_id, **changes) for item_id in item_ids]


def numbered(count: int, *, start: int = 0) -> list[Item]:
    """Items whose ids sort as they are counted."""
    return items(*(f"item-{number:05}" for number in range(start, start + count)))


def failure(
    category: FailureCategory = FailureCategory.TIMEOUT, message: str = "It took too long."
) -> Failure:
    return Failure(category, message)


def worker(worker_id: str, renewed_at: datetime, **changes: Any) -> Worker:
    fields: dict[str, Any] = {
        "worker_id": worker_id,
        "host_id": "host-1",
        "boot_id": "boot-1",
        "pid": 4711,
        "process_started": 1709285415.25,
        "renewed_at": renewed_at,
    }
    return Worker(**(fields | changes))


def record(**changes: Any) -> Record:
    fields: dict[str, Any] = {
        "batch_id": UUID(int=1),
        "item_id": "a",
        "kind": "documents",
        "source": None,
        "payload": {},
        "priority": 0,
        "created_at": START,
        "updated_at": START,
        "next_attempt_at": START,
    }
    return Record(**(fields | changes))


def batch(**changes: Any) -> Batch:
    fields: dict[str, Any] = {
        "batch_id": UUID(int=1),
        "kind": "documents",
        "name": None,
        "collection": None,
        "priority": 0,
        "round": 0,
        "status": BatchStatus.QUEUED,
        "created_at": START,
        "updated_at": START,
        "total_files": 0,
        "processed_files": 0,
        "max_error_rate": None,
        "error_message": None,
        "cancel_requested": False,
        "sealed_at": None,
        "started_at": None,
        "completed_at": None,
        "submitter": None,
        "options": {},
    }
    return Batch(**(fields | changes))


def unit(*values: float) -> Vector:
    """The values as a float32 vector of length 1."""
    vector = np.array(values, dtype=np.float64)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def random_unit(seed: int, dimensions: int = EMBEDDING.dimensions) -> Vector:
    return unit(*np.random.default_rng(seed).normal(size=dimensions))


def text_vector(text: str, embedding: EmbeddingIdentity = EMBEDDING) -> Vector:
    """A vector that depends on nothing but the text."""
    return random_unit(int(identity.content_hash(text.encode())[:12], 16), embedding.dimensions)


def version(
    source: str,
    texts: Sequence[str],
    *,
    collection: str = "papers",
    title: str | None = None,
    metadata: Mapping[str, object] | None = None,
    pipeline: str = PIPELINE,
    embedding: EmbeddingIdentity = EMBEDDING,
) -> DocumentVersion:
    """A version with one chunk for each text; its tokens are the words, in lower case."""
    document_id = identity.document_id(collection, source)
    content_hash = identity.content_hash("\n".join(texts).encode())
    content_version = identity.version_of(content_hash, pipeline)
    return DocumentVersion(
        document_id=document_id,
        collection=collection,
        source=source,
        version=content_version,
        content_hash=content_hash,
        pipeline=pipeline,
        title=title,
        metadata=metadata or {},
        chunks=tuple(
            Chunk(
                chunk_id=identity.chunk_id(document_id, content_version, index),
                index=index,
                text=text,
                start=index * 1000,
                end=index * 1000 + len(text),
                heading=f"Part {index}",
                page=index + 1,
                vector_id=identity.vector_id(embedded_text(title, "", text), embedding.key),
                tokens=tuple(text.lower().split()),
            )
            for index, text in enumerate(texts)
        ),
    )


def without_words(version: DocumentVersion) -> DocumentVersion:
    """The same with nothing in its chunks that text search could find."""
    return replace(version, chunks=tuple(replace(chunk, tokens=()) for chunk in version.chunks))


def vectors_of(*versions: DocumentVersion, embedding: EmbeddingIdentity = EMBEDDING) -> dict[UUID, Vector]:
    """A vector for every chunk of the versions, made from its text."""
    return {
        chunk.vector_id: text_vector(embedded_text(each.title, "", chunk.text), embedding)
        for each in versions
        for chunk in each.chunks
    }
