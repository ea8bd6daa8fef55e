"""Ids derived from content: the same thing has the same id on every database and after every crash."""

import hashlib
from collections.abc import Callable
from functools import lru_cache
from uuid import UUID

NAMESPACE = UUID("6b1d5a0e-3a6f-5d0b-9a3e-67726973746d")
MAX_ITEM_ID_CHARACTERS = 500


class BadItemIdError(ValueError):
    """An item id is missing, empty, not text, or too long; nothing of its slice was stored."""

    def __init__(self, position: int, value: object) -> None:
        super().__init__(position, value)
        self.position = position
        self.value = value

    def __str__(self) -> str:
        shown = repr(self.value)
        shown = shown if len(shown) <= 80 else shown[:77] + "..."
        return (
            f"Item {self.position} has no usable item_id: got {type(self.value).__name__} {shown}. "
            f"Give every item a text of 1 to {MAX_ITEM_ID_CHARACTERS} characters, unique in its batch."
        )


def checked_item_id(value: object, *, position: int) -> str:
    """Return ``value`` if it can be an item id.

    Raises BadItemIdError otherwise; a lone surrogate is refused because no database stores it.
    """
    if not isinstance(value, str) or not value.strip() or len(value) > MAX_ITEM_ID_CHARACTERS:
        raise BadItemIdError(position, value)
    if "\x00" in value or (not value.isprintable() and _unstorable(value)):
        raise BadItemIdError(position, value)
    return value


def _unstorable(value: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in value)


def _derive(kind: str, *parts: str) -> UUID:
    """``uuid5(NAMESPACE, name)``, where lengths keep ("a", "bc") and ("ab", "c") apart."""
    hashed = _begun(kind, *parts[:-1])
    hashed.update(_part(parts[-1]))
    return UUID(bytes=_uuid5(hashed))


def _begun(kind: str, *parts: str) -> "hashlib._Hash":
    named = kind.encode() + b"".join(map(_part, parts))
    return hashlib.sha1(NAMESPACE.bytes + named, usedforsecurity=False)


def _part(part: str) -> bytes:
    return f"\x1f{len(part)}:{part}".encode()


def _uuid5(hashed: "hashlib._Hash") -> bytes:
    digest = bytearray(hashed.digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50  # RFC 9562: version 5 ...
    digest[8] = digest[8] & 0x3F | 0x80  # ... and variant.
    return bytes(digest)


@lru_cache(8192)  # Asked for several times while a record is in work.
def record_id(batch_id: UUID, item_id: str) -> UUID:
    return _derive("record", str(batch_id), item_id)


def record_ids(batch_id: UUID) -> Callable[[str], bytes]:
    """What gives ``record_id(batch_id, item_id).bytes`` for many items: a quarter of the time for each."""
    of_batch = _begun("record", str(batch_id))

    def bytes_of(item_id: str) -> bytes:
        hashed = of_batch.copy()
        hashed.update(_part(item_id))
        return _uuid5(hashed)

    return bytes_of


def document_id(collection: str, source: str) -> UUID:
    return _derive("document", collection, source)


def text_source(text: str) -> str:
    """The source of a text that came without one."""
    return "text:" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def content_hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def version_of(content: str, pipeline: str) -> str:
    """A document's version: its content hash and everything that decides its chunks."""
    return hashlib.sha256(f"{content}\x1f{pipeline}".encode()).hexdigest()


def chunk_id(document: UUID, version: str, index: int) -> UUID:
    return chunk_ids(document, version)(index)


def chunk_ids(document: UUID, version: str) -> Callable[[int], UUID]:
    """What gives the ids of the chunks of one version: half the time for each."""
    of_version = _begun("chunk", str(document), version)

    def of_index(index: int) -> UUID:
        hashed = of_version.copy()
        hashed.update(_part(str(index)))
        return UUID(bytes=_uuid5(hashed))

    return of_index


def vector_id(text: str, embedding: str) -> UUID:
    """One text under one embedding identity is one vector, stored and paid for once (protocol J1)."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return _derive("vector", digest, embedding)


@lru_cache(1024)  # Asked for whenever a batch is shown.
def end_event_id(batch_id: UUID, batch_round: int) -> UUID:
    return _derive("event", str(batch_id), str(batch_round), "ended")
