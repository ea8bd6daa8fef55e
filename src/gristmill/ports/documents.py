"""The document port: collections, versions, chunks, vectors, and search over the live versions.

Every method is atomic, and durable when it returns. A reader sees either the old version of a document or
the new one, never parts of both: ``publish`` is the one step between them. Every method may raise
StoreUnavailableError; nothing else means an outage.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from gristmill.domain.document import Collection, Document, DocumentVersion, EmbeddingIdentity, Hit, Wanted

Vector = NDArray[np.float32]


class Published(StrEnum):
    LIVE = "live"
    SUPERSEDED = "superseded"  # Another version is wanted now, or the document was deleted.
    # Some of its vectors are not there yet, or its staging is only in the other database; the old version stays.
    INCOMPLETE = "incomplete"


@dataclass(frozen=True, slots=True)
class CollectionSummary:
    collection: Collection
    documents: int
    chunks: int


@dataclass(frozen=True, slots=True)
class DocumentPage:
    documents: Sequence[Document]
    after: str | None


@dataclass(frozen=True, slots=True)
class ChunkQuery:
    """``tokens`` asks the text leg, ``vector`` (unit length) the vector leg; None leaves that leg out.

    ``filters``: metadata key to accepted values, as ``filter_text`` writes them. All keys must match; a list
    in the metadata matches if one of its elements does.
    """

    collection: str
    limit: int
    tokens: Sequence[str] | None = None
    vector: Vector | None = None
    filters: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Legs:
    """Best first, at most ``limit`` each.

    ``text`` scores are BM25 (k1 1.2, b 0.75, idf = ln(1 + (N - n + 0.5) / (n + 0.5)), Robertson and Zaragoza
    2009, the idf as Lucene keeps it above 0); ``vector`` scores are cosines. Ties by chunk id.
    """

    text: Sequence[Hit]
    vector: Sequence[Hit]


def filter_text(value: Any) -> str:
    """How a metadata value is compared by filters."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def filter_pairs(metadata: Mapping[str, object]) -> set[tuple[str, str]]:
    """Every (key, text) a filter on this metadata can match; nested objects cannot be matched."""
    pairs: set[tuple[str, str]] = set()
    for key, value in metadata.items():
        values = value if isinstance(value, list | tuple) else [value]
        pairs |= {(key, filter_text(each)) for each in values if isinstance(each, str | int | float | bool)}
    return pairs


class Documents(Protocol):
    # -- collections ---------------------------------------------------------------------------------

    async def open_collection(self, name: str, embedding: EmbeddingIdentity) -> Collection:
        """Create the collection, or return it. Raises CollectionConflictError on another identity."""
        ...

    async def list_collections(self) -> Sequence[CollectionSummary]:
        """By name; counts are of live versions."""
        ...

    # -- writing -------------------------------------------------------------------------------------

    async def stage_versions(self, versions: Sequence[DocumentVersion]) -> Sequence[Wanted]:
        """Commit each version's chunks and make it the wanted one; readers see no change yet.

        Again with the same version: no duplicate chunks, a new ordinal. The ordinal is higher than every
        earlier one of that document. Order: answers in the order given. Raises CollectionNotFoundError.
        """
        ...

    async def missing_vectors(self, vector_ids: Sequence[UUID]) -> set[UUID]:
        """Those of the ids for which no vector is stored."""
        ...

    async def put_vectors(self, embedding: EmbeddingIdentity, vectors: Mapping[UUID, Vector]) -> int:
        """Store float32 vectors of the identity's dimensions; the first one of an id stays. Returns how many are new.

        Of a call that an outage had repeated, what its first try stored counts as there before. Raises ValueError on
        wrong dimensions.
        """
        ...

    async def publish(self, wanted: Mapping[UUID, Wanted]) -> Mapping[UUID, Published]:
        """Make each document's version live if it is still the wanted one and all its vectors are there.

        A wanted version equal to ours but with a higher ordinal is ours too: same content. One with a lower ordinal
        is older than ours, which has yet to come from the database it was staged in: incomplete. So is, of two
        databases, a document of which the one that serves never heard; one alone knows that it was deleted.
        The old version stops being found in the same step; its chunks are deleted then or soon after.
        """
        ...

    async def update_metadata(self, changes: Mapping[UUID, Mapping[str, object]]) -> int:
        """Replace the metadata of live documents; ids that are not there are passed over. Returns how many."""
        ...

    async def delete_documents(self, document_ids: Sequence[UUID]) -> int:
        """Delete documents with all versions and chunks. Vectors stay: they may be paid for, and are reused.

        Returns how many live documents there were. A version staged before is not published any more.
        """
        ...

    # -- reading -------------------------------------------------------------------------------------

    async def find_documents(self, document_ids: Sequence[UUID]) -> Mapping[UUID, Document]:
        """The live ones among them."""
        ...

    async def list_documents(
        self, collection: str | None = None, *, limit: int, after: str | None = None, under: str | None = None
    ) -> DocumentPage:
        """Live documents by (collection, source); ``under``: only sources that start with this text.

        Raises ValueError for a cursor that is not ours; CollectionNotFoundError.
        """
        ...

    async def list_chunks(self, document_id: UUID) -> Sequence[Hit]:
        """The live chunks in order, score 0; empty if there is no such document."""
        ...

    async def search(self, query: ChunkQuery) -> Legs:
        """Ask both legs on one consistent view: every hit of a document is of the same, live version.

        Raises CollectionNotFoundError.
        """
        ...

    async def count_stale(self, pipeline: str) -> int:
        """Live documents whose version was made by another extractor, chunker or parameters."""
        ...
