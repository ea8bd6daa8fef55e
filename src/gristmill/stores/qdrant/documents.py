"""The document port over Qdrant; its parts say in which order they write."""

from gristmill.stores.qdrant.documents_publish import DocumentsPublish
from gristmill.stores.qdrant.documents_read import DocumentsRead
from gristmill.stores.qdrant.search import DocumentsSearch


class QdrantDocuments(DocumentsPublish, DocumentsRead, DocumentsSearch):
    """See ``ports.documents.Documents``."""
