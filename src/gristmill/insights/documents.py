"""Looking at documents and collections."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from gristmill.domain.document import Document, Hit
from gristmill.engine.core import Core
from gristmill.ports.documents import CollectionSummary, DocumentPage
from gristmill.ports.errors import DocumentNotFoundError


@dataclass(frozen=True, slots=True)
class DocumentDetails:
    document: Document
    chunks: Sequence[Hit]


async def list_documents(
    core: Core, *, collection: str | None = None, limit: int = 50, after: str | None = None
) -> DocumentPage:
    return await core.database.documents.list_documents(collection, limit=limit, after=after)


async def show(core: Core, document_id: UUID) -> DocumentDetails:
    """Raises DocumentNotFoundError."""
    found = await core.database.documents.find_documents([document_id])
    if document_id not in found:
        raise DocumentNotFoundError(document_id)
    return DocumentDetails(found[document_id], await core.database.documents.list_chunks(document_id))


async def collections(core: Core) -> Sequence[CollectionSummary]:
    return await core.database.documents.list_collections()
