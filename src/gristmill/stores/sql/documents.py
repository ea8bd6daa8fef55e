"""The document port on SQL: each method is one transaction of the functions beside this file."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from uuid import UUID

import structlog
from sqlalchemy import Connection

from gristmill.domain.document import Collection, Document, DocumentVersion, EmbeddingIdentity, Hit, Wanted
from gristmill.ports.clock import Clock
from gristmill.ports.documents import ChunkQuery, CollectionSummary, DocumentPage, Legs, Published, Vector
from gristmill.stores.sql import (
    collection_rows,
    documents_publish,
    documents_read,
    documents_write,
    text_merging,
)
from gristmill.stores.sql.connections import Connections
from gristmill.stores.sql.nearest import NearestVectors
from gristmill.stores.sql.search import Searcher
from gristmill.stores.sql.vector_matrix import Matrices

_log = structlog.get_logger(__name__)

# Whoever writes without end never tidies, so each staging does a step of the merging that stagings before it call for,
# and one more for every so many chunks: a step moves a thousand terms, and more chunks have more terms.
_CHUNKS_A_STEP = 500


class SqlDocuments:
    """``folder`` is for files derived from the database; they may be deleted while nobody searches."""

    def __init__(
        self, connections: Connections, *, clock: Clock, folder: Path, nearest: NearestVectors | None = None
    ) -> None:
        self._connections = connections
        self._clock = clock
        self._matrices = Matrices(folder)
        self._nearest = nearest
        self._searcher = Searcher(self._matrices, nearest)

    # -- collections ---------------------------------------------------------------------------------

    async def open_collection(self, name: str, embedding: EmbeddingIdentity) -> Collection:
        now = self._clock.now()
        return await self._connections.run_write(
            partial(collection_rows.open_collection, name=name, embedding=embedding, now=now)
        )

    async def list_collections(self) -> Sequence[CollectionSummary]:
        return await self._connections.run_read(collection_rows.summaries)

    # -- writing -------------------------------------------------------------------------------------

    async def stage_versions(self, versions: Sequence[DocumentVersion]) -> Sequence[Wanted]:
        now = self._clock.now()
        staged = await self._connections.run_write(
            partial(documents_write.stage_versions, versions=versions, now=now)
        )
        await self._merge_on_the_way(1 + sum(len(each.chunks) for each in versions) // _CHUNKS_A_STEP)
        return staged

    async def missing_vectors(self, vector_ids: Sequence[UUID]) -> set[UUID]:
        return await self._connections.run_read(
            partial(documents_write.missing_vectors, vector_ids=vector_ids)
        )

    async def put_vectors(self, embedding: EmbeddingIdentity, vectors: Mapping[UUID, Vector]) -> int:
        documents_write.check_dimensions(embedding, vectors)
        return await self._connections.run_write(
            partial(documents_write.put_vectors, embedding=embedding, given=vectors)
        )

    async def publish(self, wanted: Mapping[UUID, Wanted]) -> Mapping[UUID, Published]:
        now = self._clock.now()
        return await self._connections.run_write(partial(documents_publish.publish, wanted=wanted, now=now))

    async def update_metadata(self, changes: Mapping[UUID, Mapping[str, object]]) -> int:
        now = self._clock.now()
        return await self._connections.run_write(
            partial(documents_publish.update_metadata, changes=changes, now=now)
        )

    async def delete_documents(self, document_ids: Sequence[UUID]) -> int:
        return await self._connections.run_write(
            partial(documents_publish.delete_documents, document_ids=document_ids)
        )

    # -- reading -------------------------------------------------------------------------------------

    async def find_documents(self, document_ids: Sequence[UUID]) -> Mapping[UUID, Document]:
        return await self._connections.run_read(
            partial(documents_read.find_documents, document_ids=document_ids)
        )

    async def list_documents(
        self, collection: str | None = None, *, limit: int, after: str | None = None, under: str | None = None
    ) -> DocumentPage:
        return await self._connections.run_read(
            partial(
                documents_read.list_documents, collection=collection, limit=limit, after=after, under=under
            )
        )

    async def list_chunks(self, document_id: UUID) -> Sequence[Hit]:
        return await self._connections.run_read(partial(documents_read.list_chunks, document_id=document_id))

    async def search(self, query: ChunkQuery) -> Legs:
        return await self._connections.run_read(partial(self._searcher.search, query=query))

    async def count_stale(self, pipeline: str) -> int:
        return await self._connections.run_read(partial(documents_read.count_stale, pipeline=pipeline))

    # -- what is derived -----------------------------------------------------------------------------

    async def tidy(self) -> None:
        """Merge what has gathered in the text index, in short transactions, and write new vectors to their files."""
        await self._merge()
        await self._connections.run_read(self._catch_up)

    async def _merge(self, *, most: int | None = None) -> None:
        """At most so many steps; the rest is for the next call."""
        if await self._connections.run_read(text_merging.is_due):
            done = 0
            while done != most and await self._connections.run_write(text_merging.merge_some):
                done += 1

    async def _merge_on_the_way(self, most: int) -> None:
        """What was staged is stored already: an error here is none of it. ``tidy`` meets it again, and raises it."""
        try:
            await self._merge(most=most)
        except Exception:  # noqa: BLE001  # It is logged, and not the caller's.
            _log.exception("text_index_not_merged")

    def _catch_up(self, connection: Connection) -> None:
        """So that other processes, short-lived ones above all, find the files as they need them."""
        for row in collection_rows.every(connection):
            if self._nearest is not None and self._nearest.serves(connection, row.embedding_no):
                continue
            embedding = row.collection.embedding
            matrix = self._matrices.of(row.embedding_no, embedding=embedding, incarnation=row.incarnation)
            matrix.catch_up(connection)
