"""From texts to vectors."""

from collections.abc import Sequence
from typing import Protocol

from gristmill.domain.document import EmbeddingIdentity
from gristmill.ports.documents import Vector


class Embedder(Protocol):
    """Raises ItemError (provider_contract) when the model answers with a wrong count, dimension or number."""

    identity: EmbeddingIdentity

    def embed(self, texts: Sequence[str]) -> Vector:
        """float32 of shape (len(texts), dimensions), rows of unit length, in the order of the texts."""
        ...

    def embed_query(self, text: str) -> Vector:
        """float32 of shape (dimensions,), unit length."""
        ...
