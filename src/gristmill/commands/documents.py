"""Changing documents."""

from collections.abc import Sequence
from uuid import UUID

from gristmill.engine.core import Core
from gristmill.ports.errors import DocumentNotFoundError


async def delete(core: Core, document_ids: Sequence[UUID]) -> int:
    """Delete documents; returns how many. Raises DocumentNotFoundError before anything is deleted."""
    found = await core.database.documents.find_documents(document_ids)
    for document_id in document_ids:
        if document_id not in found:
            raise DocumentNotFoundError(document_id)
    return await core.database.documents.delete_documents(list(found))
