"""A small static model for English, a hundred times as fast as the default; the extra ``gristmill[wordllama]``."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from gristmill.embedders.identities import WORDLLAMA
from gristmill.embedders.vectors import unit_rows
from gristmill.ports.documents import Vector
from gristmill.ports.errors import ConfigurationError

_TEXTS_AT_ONCE = 64
_CHARACTERS_AT_ONCE = 1 << 16  # Padding included; the model takes about a kilobyte for every four of them.


class WordllamaEmbedder:
    """Takes a second and about 140 MB to load, most of both for what its package imports.

    Raises ConfigurationError when the package is not installed. A text is embedded the same alone or among
    others.
    """

    identity = WORDLLAMA

    def __init__(self) -> None:
        self._model = _load_model()

    def embed(self, texts: Sequence[str]) -> Vector:
        answer = np.zeros((len(texts), self.identity.dimensions), dtype=np.float32)
        for positions in _batches(texts):
            answer[positions] = self._model.embed([texts[at] for at in positions], batch_size=len(positions))
        return unit_rows(answer, count=len(texts), identity=self.identity)

    def embed_query(self, text: str) -> Vector:
        vector: Vector = self.embed([text])[0]
        return vector


def _batches(texts: Sequence[str]) -> Iterator[list[int]]:
    """Positions of the texts, shortest first: every batch is padded to its longest text."""
    batch: list[int] = []
    for at in sorted(range(len(texts)), key=lambda at: len(texts[at])):
        if batch and (
            len(batch) == _TEXTS_AT_ONCE or (len(batch) + 1) * len(texts[at]) > _CHARACTERS_AT_ONCE
        ):
            yield batch
            batch = []
        batch.append(at)
    if batch:
        yield batch


def _load_model() -> Any:
    """Load from the package's own files and nowhere else.

    Without downloads wordllama looks for its tokenizer in ``tokenizer/`` beside its code and in ``tokenizers/``
    in the cache folder; the wheel has ``tokenizers/``. So the package itself serves as the cache folder.
    """
    spec = find_spec("wordllama")
    if spec is None or spec.origin is None:
        raise ConfigurationError(
            "Embedder 'wordllama' needs a package that is not installed. Run `pip install 'gristmill[wordllama]'`."
        )
    with _root_logger_untouched():
        from wordllama import WordLlama  # noqa: PLC0415  # An extra: only who asks for it needs it.

    return WordLlama.load("l2_supercat", cache_dir=Path(spec.origin).parent, dim=256, disable_download=True)


@contextmanager
def _root_logger_untouched() -> Iterator[None]:
    """The package calls logging.basicConfig when imported, which is the application's to call."""
    root = logging.getLogger()
    handlers, level = root.handlers.copy(), root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
