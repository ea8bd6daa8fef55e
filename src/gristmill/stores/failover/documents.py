"""The document port over two databases."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from gristmill.domain.document import Collection, Document, DocumentVersion, EmbeddingIdentity, Hit, Wanted
from gristmill.ports.documents import ChunkQuery, CollectionSummary, DocumentPage, Legs, Published, Vector
from gristmill.stores.failover.access import Access


class FailoverDocuments:
    """Every method as the port says; readers see the database that serves."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def open_collection(self, name: str, embedding: EmbeddingIdentity) -> Collection:
        return await self._access.write(lambda d: d.documents.open_collection(name, embedding))

    async def list_collections(self) -> Sequence[CollectionSummary]:
        return await self._access.read(lambda d: d.documents.list_collections())

    async def stage_versions(self, versions: Sequence[DocumentVersion]) -> Sequence[Wanted]:
        return await self._access.write(lambda d: d.documents.stage_versions(versions))

    async def missing_vectors(self, vector_ids: Sequence[UUID]) -> set[UUID]:
        return await self._access.read(lambda d: d.documents.missing_vectors(vector_ids))

    async def put_vectors(self, embedding: EmbeddingIdentity, vectors: Mapping[UUID, Vector]) -> int:
        return await self._access.write(lambda d: d.documents.put_vectors(embedding, vectors))

    async def publish(self, wanted: Mapping[UUID, Wanted]) -> Mapping[UUID, Published]:
        return await self._access.write(lambda d: d.documents.publish(wanted))

    async def update_metadata(self, changes: Mapping[UUID, Mapping[str, object]]) -> int:
        return await self._access.write(lambda d: d.documents.update_metadata(changes))

    async def delete_documents(self, document_ids: Sequence[UUID]) -> int:
        return await self._access.write(lambda d: d.documents.delete_documents(document_ids))

    async def find_documents(self, document_ids: Sequence[UUID]) -> Mapping[UUID, Document]:
        return await self._access.read(lambda d: d.documents.find_documents(document_ids))

    async def list_documents(
        self, collection: str | None = None, *, limit: int, after: str | None = None, under: str | None = None
    ) -> DocumentPage:
        return await self._access.read(
            lambda d: d.documents.list_documents(collection, limit=limit, after=after, under=under)
        )

    async def list_chunks(self, document_id: UUID) -> Sequence[Hit]:
        return await self._access.read(lambda d: d.documents.list_chunks(document_id))

    async def search(self, query: ChunkQuery) -> Legs:
        return await self._access.read(lambda d: d.documents.search(query))

    async def count_stale(self, pipeline: str) -> int:
        return await self._access.read(lambda d: d.documents.count_stale(pipeline))
