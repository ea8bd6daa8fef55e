"""Embedders by name, loaded once a process. Importing this loads no model and not even numpy."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING

from gristmill.embedders.identities import USEM3, WORDLLAMA
from gristmill.ports.errors import ConfigurationError

if TYPE_CHECKING:
    from gristmill.domain.document import EmbeddingIdentity
    from gristmill.ports.documents import Vector
    from gristmill.ports.embedder import Embedder

_IDENTITIES = {"usem3": USEM3, "wordllama": WORDLLAMA}
_STATIC = {"wordllama"}

_loaded: dict[str, Embedder] = {}
_loading = Lock()


def known_embedders() -> tuple[str, ...]:
    return tuple(_IDENTITIES)


def identity_of(name: str) -> EmbeddingIdentity:
    """Raise ConfigurationError for a name that is not known; whether its package is there is not looked at."""
    try:
        return _IDENTITIES[name]
    except KeyError:
        known = ", ".join(f"'{known}'" for known in _IDENTITIES)
        raise ConfigurationError(f"There is no embedder '{name}'. Choose one of {known}.") from None


def is_static(name: str) -> bool:
    """Whether it looks words up and adds them, in less than a millisecond for a chunk, instead of running a network."""
    return name in _STATIC


def load(name: str) -> Embedder:
    """Load the embedder, or answer with the one this process has loaded before; safe from any thread.

    Raises ConfigurationError for a name that is not known and for a package that is not installed.
    """
    identity_of(name)
    with _loading:
        if name not in _loaded:
            with _no_garbage_collection():
                _loaded[name] = _load(name)
        return _loaded[name]


def embed_texts(name: str, texts: tuple[str, ...]) -> Vector:
    """Embed in the process this is called in: a function that travels to pool processes by name."""
    return load(name).embed(texts)


def _load(name: str) -> Embedder:
    if name == "wordllama":
        from gristmill.embedders.wordllama import WordllamaEmbedder  # noqa: PLC0415  # Loads numpy.

        return WordllamaEmbedder()
    from gristmill.embedders.usem3 import Usem3Embedder  # noqa: PLC0415  # Loads numpy.

    return Usem3Embedder()


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Take a quarter off the load: it makes hundreds of thousands of objects, all of which stay."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
