"""The document port over two databases."""

from collections.abc import Mapping, Sequence
from typing import cast
from uuid import UUID

from gristmill.domain.document import Collection, Document, DocumentVersion, EmbeddingIdentity, Hit, Wanted
from gristmill.domain.document_facts import DocumentFacts
from gristmill.ports.database import ReplicatedDatabase
from gristmill.ports.documents import ChunkQuery, CollectionSummary, DocumentPage, Legs, Published, Vector
from gristmill.ports.rows import row_of
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
        async def publish(database: ReplicatedDatabase) -> Mapping[UUID, Published]:
            published = await database.documents.publish(wanted)
            lost = {each: ours for each, ours in wanted.items() if published[each] is Published.SUPERSEDED}
            unknown = await _not_staged_here(database, lost) if lost else ()
            return {**published, **dict.fromkeys(unknown, Published.INCOMPLETE)}

        return await self._access.write(publish)

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


async def _not_staged_here(database: ReplicatedDatabase, wanted: Mapping[UUID, Wanted]) -> list[UUID]:
    """Those that lost to nothing: what is wanted of them is only in the database that does not serve now.

    None where the two have never met: until then a database need not remember what it deleted.
    """
    if (await database.replication.standing()).peer is None:
        return []
    asked = [row_of(DocumentFacts(each, "", "")) for each in wanted]
    unknown = []
    for (each, ours), row in zip(wanted.items(), await database.replication.find(asked), strict=True):
        facts = None if row is None else cast("DocumentFacts", row.body)
        if facts is None or (facts.wanted is None and facts.deleted < ours.ordinal):
            unknown.append(each)
    return unknown
