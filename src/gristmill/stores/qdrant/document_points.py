"""Between documents, collections and their points.

A document's point holds its facts and, beside the live version, the staging whose chunks readers see; both change in
one write, which is what publishes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID, uuid4, uuid5

from qdrant_client import models

from gristmill.domain.document import Collection, Document, EmbeddingIdentity
from gristmill.domain.document_facts import DocumentFacts, Pointer
from gristmill.domain.identity import NAMESPACE
from gristmill.stores.qdrant.marks import Marks, marks_of
from gristmill.stores.qdrant.points import TOKEN, Payload, point
from gristmill.stores.qdrant.text_order import KEYS, place
from gristmill.stores.qdrant.values import (
    instant,
    instant_or_none,
    json_text,
    json_value,
    moment,
    moment_or_none,
    storable,
)

COLLECTION = "collection"

# -- collections -------------------------------------------------------------------------------------


def collection_id(name: str) -> UUID:
    return uuid5(NAMESPACE, f"collection\x1f{name}")


def collection_point(
    collection: Collection,
    *,
    marks: Marks,
    reference: str | None = None,
    mean_length: float | None = None,
) -> models.PointStruct:
    """``reference``: of its sources (see text_order); ``mean_length``: what its text index was begun with."""
    payload = {
        "type": COLLECTION,
        "name": collection.name,
        **embedding_fields(collection.embedding),
        "created_at": instant(collection.created_at),
        "reference": reference,
        "mean_length": mean_length,
        **marks,
        TOKEN: uuid4().hex,
    }
    return point(
        collection_id(collection.name), {key: each for key, each in payload.items() if each is not None}
    )


def collection_of(payload: Payload) -> Collection:
    return Collection(
        name=payload["name"], embedding=embedding_of(payload), created_at=moment(payload["created_at"])
    )


def embedding_fields(embedding: EmbeddingIdentity) -> Payload:
    return {name: getattr(embedding, name) for name in EmbeddingIdentity.__slots__}


def embedding_of(payload: Mapping[str, Any]) -> EmbeddingIdentity:
    return EmbeddingIdentity(**{name: payload[name] for name in EmbeddingIdentity.__slots__})


# -- documents ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Stored:
    """``staging``: of the live version's chunks; ``switched_at``: when another one became live here, microseconds."""

    facts: DocumentFacts
    place: tuple[int, ...]
    staging: str | None = None
    switched_at: int = 0
    token: str = ""
    marks: Marks = field(default_factory=dict)

    @property
    def document_id(self) -> UUID:
        return self.facts.document_id

    @property
    def collection(self) -> str:
        return self.facts.collection

    @property
    def live(self) -> Pointer | None:
        return self.facts.live

    @property
    def document(self) -> Document:
        found = self.facts.document()
        assert found is not None
        return found


def unstored(facts: DocumentFacts, reference: str) -> Stored:
    return Stored(facts, place(storable(facts.source), reference))


def document_point(stored: Stored) -> models.PointStruct:
    facts = stored.facts
    live, dead = facts.live, facts.deleted > 0 and facts.wanted is None and facts.live is None
    payload: dict[str, Any] = {
        "document_id": str(facts.document_id),
        "collection": facts.collection,
        "source": storable(facts.source),
        **dict(zip(KEYS, stored.place, strict=True)),
        "wanted": None if facts.wanted is None else _pointer_json(facts.wanted),
        "live": None if live is None else _pointer_json(live),
        "live_chunks": None if live is None else live.chunks,
        "live_pipeline": None if live is None else live.pipeline,
        "staging": None if live is None else stored.staging,
        "switched_at": stored.switched_at,
        "deleted": facts.deleted,
        "buried": facts.buried or None,
        "taken": list(facts.taken) or None,
        "dead_at": facts.deleted if dead else None,
        **stored.marks,
        TOKEN: uuid4().hex,
    }
    return point(facts.document_id, {key: value for key, value in payload.items() if value is not None})


def stored_of(payload: Payload) -> Stored:
    get = payload.get
    facts = DocumentFacts(
        document_id=UUID(payload["document_id"]),
        collection=payload["collection"],
        source=payload["source"],
        wanted=_pointer_of(get("wanted")),
        live=_pointer_of(get("live")),
        deleted=payload["deleted"],
        buried=get("buried", 0),
        taken=tuple(get("taken", ())),
    )
    return Stored(
        facts=facts,
        place=tuple(payload[key] for key in KEYS),
        staging=get("staging"),
        switched_at=payload["switched_at"],
        token=payload[TOKEN],
        marks=marks_of(payload),
    )


def _pointer_json(pointer: Pointer) -> dict[str, Any]:
    return {
        "ordinal": pointer.ordinal,
        "edited": pointer.edited,
        "version": pointer.version,
        "content_hash": pointer.content_hash,
        "pipeline": pointer.pipeline,
        "title": None if pointer.title is None else storable(pointer.title),
        "metadata": json_text(dict(pointer.metadata)),
        "chunks": pointer.chunks,
        "write_id": pointer.write_id,
        "created_at": instant_or_none(pointer.created_at),
        "shown_at": instant_or_none(pointer.shown_at),
        "seen": list(pointer.seen),
    }


def _pointer_of(stored: Mapping[str, Any] | None) -> Pointer | None:
    if stored is None:
        return None
    return replace(
        Pointer(**stored),
        metadata=json_value(stored["metadata"]),
        created_at=moment_or_none(stored["created_at"]),
        shown_at=moment_or_none(stored["shown_at"]),
        seen=tuple(stored.get("seen", ())),
    )
