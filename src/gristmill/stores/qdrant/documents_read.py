"""Looking at collections, documents and their chunks."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from qdrant_client import models

from gristmill.domain.document import Document, Hit
from gristmill.ports.documents import CollectionSummary, DocumentPage
from gristmill.ports.errors import StoreUnavailableError
from gristmill.stores.cursors import cursor, key_of
from gristmill.stores.qdrant.connection import NAME
from gristmill.stores.qdrant.document_points import collection_of, stored_of
from gristmill.stores.qdrant.document_store import LIVE, DocumentStore
from gristmill.stores.qdrant.points import Payload, equals, where
from gristmill.stores.qdrant.text_order import Listing
from gristmill.stores.qdrant.values import storable
from gristmill.stores.qdrant.version_points import hit_of

_READS = 20  # A version that is replaced between two calls is read again.


class DocumentsRead(DocumentStore):
    async def list_collections(self) -> Sequence[CollectionSummary]:
        return [await self._summary(each) for each in await self._all_collections()]

    async def _summary(self, collection: Payload) -> CollectionSummary:
        live = where(equals("collection", collection["name"]), LIVE)
        documents = await self._documents.facet("live_chunks", live)
        return CollectionSummary(
            collection=collection_of(collection),
            documents=sum(documents.values()),
            chunks=sum(chunks * count for chunks, count in documents.items()),
        )

    async def find_documents(self, document_ids: Sequence[UUID]) -> Mapping[UUID, Document]:
        found = await self._stored(document_ids)
        return {each: found[each].document for each in document_ids if each in found and found[each].live}

    async def list_documents(
        self, collection: str | None = None, *, limit: int, after: str | None = None, under: str | None = None
    ) -> DocumentPage:
        start: list[str] | None = None if after is None else key_of("documents", after, str, str)
        if collection is None:
            collections = await self._all_collections()
        else:
            collections = list((await self._collections([collection])).values())
        found: list[Document] = []
        for each in collections:
            if len(found) > limit or (start is not None and each["name"] < start[0]):
                continue
            behind = start[1] if start is not None and each["name"] == start[0] else None
            found += await self._in(each, behind, storable(under or ""), limit + 1 - len(found))
        more, shown = len(found) > limit > 0, found[:limit]
        last = (shown[-1].collection, shown[-1].source) if shown else ()
        return DocumentPage(shown, cursor("documents", *last) if more else None)

    async def _in(self, collection: Payload, behind: str | None, under: str, limit: int) -> list[Document]:
        """Documents of one collection behind a source, of those that begin with ``under``."""
        if "reference" not in collection:
            return []
        listing = Listing(self._documents, collection["reference"], lambda row: str(row["source"]))
        chosen = [equals("collection", collection["name"]), LIVE]
        first_under = bool(under) and (behind is None or behind < under)
        start = under if first_under else behind
        rows = await listing.after(start, chosen, limit, including=first_under)
        return [stored_of(row).document for row in rows if row["source"].startswith(under)]

    async def list_chunks(self, document_id: UUID) -> Sequence[Hit]:
        for _ in range(_READS):
            stored = (await self._stored([document_id])).get(document_id)
            if stored is None or stored.live is None:
                return []
            collection = (await self._collections([stored.collection]))[stored.collection]
            chunks = await self._chunks(collection)
            found = await chunks.by_id(
                where(equals("document_id", str(document_id)), equals("staging", stored.staging or ""))
            )
            if len(found) == stored.live.chunks:
                document = stored.document
                found.sort(key=lambda each: int(each["index"]))
                return [hit_of(each, document, 0.0) for each in found]
        raise StoreUnavailableError(
            NAME,
            f"document {document_id} has not all of its chunks",
            "Ingest its source again with --refresh.",
        )

    async def count_stale(self, pipeline: str) -> int:
        return await self._documents.count(
            models.Filter(must=[LIVE], must_not=[equals("live_pipeline", pipeline)])
        )
