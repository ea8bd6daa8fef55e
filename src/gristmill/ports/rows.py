"""The rows that databases replicate, and how two copies of one merge.

===========  =====================================  ==================================================
kind         what                                   which copy a merge keeps
===========  =====================================  ==================================================
worker       who holds claims, and until when       the newer by its version
collection   name and embedding identity            the earlier; another identity is refused
vector       one vector of an embedding identity    they are the same: vectors are immutable by id
chunks       all chunks of one document version     the same chunks; the higher ordinal
document     wanted and live version, metadata      the join of both (``domain.document_facts``)
batch        the facts of a batch, its tombstone    the join of both (``domain.facts``)
record       a processing record                    the newer by its version (protocol V1)
end          the end of a round of a batch          the earlier; told anywhere is told
===========  =====================================  ==================================================
"""

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import cast
from uuid import UUID

from gristmill.domain.document import Collection, DocumentVersion, EmbeddingIdentity
from gristmill.domain.document_facts import DocumentFacts, join_documents
from gristmill.domain.facts import BatchFacts, EndFact, join_batches, join_ends
from gristmill.domain.record import Record, microseconds
from gristmill.domain.versions import Version, newer
from gristmill.ports.batches import Worker
from gristmill.ports.documents import Vector
from gristmill.ports.errors import CollectionConflictError


class Kind(IntEnum):
    """In the order in which they are replicated: a thing follows what it refers to (A7)."""

    WORKER = 1
    COLLECTION = 2
    VECTOR = 3
    CHUNKS = 4
    DOCUMENT = 5
    BATCH = 6
    RECORD = 7
    END = 8


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """``gone``: its lease was ended. It stays as a row, so that the other database hears of it too."""

    worker: Worker
    version: Version
    gone: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class VectorRow:
    vector_id: UUID
    embedding: EmbeddingIdentity
    vector: Vector


@dataclass(frozen=True, slots=True)
class ChunksRow:
    """``ordinal`` is the highest at which this version was staged."""

    content: DocumentVersion
    ordinal: int
    write_id: str


Body = WorkerRow | Collection | VectorRow | ChunksRow | DocumentFacts | BatchFacts | Record | EndFact


@dataclass(frozen=True, slots=True)
class Row:
    """``key`` is unique in its kind. Equal ``token`` mean equal bytes: it is what marks are compared by (V2, V3)."""

    kind: Kind
    key: str
    token: str
    body: Body


def row_of(body: Body) -> Row:  # noqa: PLR0911 - one for each kind.
    match body:
        case WorkerRow():
            return Row(Kind.WORKER, body.worker.worker_id, body.version.write_id, body)
        case Collection():
            token = f"{body.embedding.key}|{microseconds(body.created_at)}"
            return Row(Kind.COLLECTION, body.name, token, body)
        case VectorRow():
            return Row(Kind.VECTOR, str(body.vector_id), str(body.vector_id), body)
        case ChunksRow():
            content = body.content
            key = f"{content.document_id}:{content.version}"
            return Row(Kind.CHUNKS, key, f"{body.ordinal}|{body.write_id}", body)
        case DocumentFacts():
            return Row(Kind.DOCUMENT, str(body.document_id), body.token, body)
        case BatchFacts():
            return Row(Kind.BATCH, str(body.batch_id), body.token, body)
        case Record():
            return Row(Kind.RECORD, str(body.record_id), body.version.write_id, body)
        case EndFact():
            return Row(Kind.END, str(body.event.event_id), body.token, body)


def merged(stored: Body | None, incoming: Body) -> Body:  # noqa: PLR0911 - one for each kind.
    """What a database holds after merging ``incoming`` into ``stored``.

    Commutative, associative and idempotent. Raises CollectionConflictError for a collection of another embedding.
    """
    if stored is None:
        return incoming
    match incoming:
        case Record():
            return newer(cast("Record", stored), incoming)
        case WorkerRow():
            return newer(cast("WorkerRow", stored), incoming)
        case BatchFacts():
            return join_batches(cast("BatchFacts", stored), incoming)
        case EndFact():
            return join_ends(cast("EndFact", stored), incoming)
        case DocumentFacts():
            return join_documents(cast("DocumentFacts", stored), incoming)
        case ChunksRow():
            return _staged_again(cast("ChunksRow", stored), incoming)
        case Collection():
            return _earlier(cast("Collection", stored), incoming)
        case VectorRow():
            return stored


def _staged_again(left: ChunksRow, right: ChunksRow) -> ChunksRow:
    """The same chunks, of which only the ordinal rises."""
    last = max(left, right, key=lambda row: (row.ordinal, row.write_id))
    return replace(left, ordinal=last.ordinal, write_id=last.write_id)


def _earlier(left: Collection, right: Collection) -> Collection:
    if left.embedding != right.embedding:
        raise CollectionConflictError(left.name, left.embedding.key, right.embedding.key)
    return replace(left, created_at=min(left.created_at, right.created_at))


def is_tombstone(body: Body) -> bool:
    """Whether the row only says that what it was of is gone."""
    match body:
        case BatchFacts():
            return body.deleted is not None
        case DocumentFacts():
            return body.deleted > 0 and body.wanted is None and body.live is None
        case WorkerRow():
            return body.gone
        case _:
            return False
