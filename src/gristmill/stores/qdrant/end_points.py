"""The ends of a batch, kept in its point, so that a round ends and its event is there in one write.

Each end has a mark of its own; the point carries what the marks and the untold events are found by. The ends of a
batch whose tombstone is forgotten have points of their own, of the type ``event``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID, uuid4

from qdrant_client import models

from gristmill.domain.batch import BatchStatus, Counters
from gristmill.domain.events import BatchEnded
from gristmill.domain.facts import EndFact
from gristmill.stores.qdrant.marks import ASIDE, OWED, OWED_AT, Marks, marks_of
from gristmill.stores.qdrant.points import TOKEN, Payload, point
from gristmill.stores.qdrant.values import instant, json_text, json_value, moment

EVENT = "event"
ENDS_OWED, ENDS_ASIDE = "ends_owed", "ends_aside_count"
_COUNTERS = ("pending", "processing", "completed", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class StoredEnd:
    fact: EndFact
    marks: Marks = field(default_factory=dict)

    @property
    def event(self) -> BatchEnded:
        return self.fact.event

    @property
    def is_owed(self) -> bool:
        return OWED in self.marks or ASIDE in self.marks

    def marked(self, marks: Marks) -> "StoredEnd":
        return replace(self, marks=marks)


def ends_of(payload: Payload) -> tuple[StoredEnd, ...]:
    return tuple(_end_of(each) for each in json_value(payload.get("ends", "[]")))


def fields_of(ends: Sequence[StoredEnd]) -> dict[str, Any]:
    """The fields of a point that holds these ends; those that would be empty are None."""
    untold = [each.event for each in ends if not each.fact.delivered]
    owed = [each.marks for each in ends if OWED in each.marks]
    return {
        "ends": json_text([_end_json(each) for each in ends]) if ends else None,
        "end_ids": [str(each.event.event_id) for each in ends] or None,
        "outbox_at": min((instant(each.ended_at) for each in untold), default=None),
        ENDS_OWED: max((each[OWED] for each in owed), default=None),
        "ends_owed_at": min((each[OWED_AT] for each in owed), default=None),
        "ends_owed_count": len(owed) or None,
        ENDS_ASIDE: sum(ASIDE in each.marks for each in ends) or None,
    }


def lone_point(end: StoredEnd) -> models.PointStruct:
    """An end whose batch is forgotten."""
    payload = {"type": EVENT, **fields_of([end]), TOKEN: uuid4().hex}
    return point(end.event.event_id, {key: value for key, value in payload.items() if value is not None})


def _end_json(end: StoredEnd) -> dict[str, Any]:
    event = end.event
    return {
        "event_id": str(event.event_id),
        "batch_id": str(event.batch_id),
        "round": event.round,
        "kind": event.kind,
        "name": event.name,
        "collection": event.collection,
        "status": event.status.value,
        "counters": [getattr(event.counters, name) for name in _COUNTERS],
        "error_message": event.error_message,
        "ended_at": instant(event.ended_at),
        "delivered": end.fact.delivered,
        "write_id": end.fact.write_id,
        "life": end.fact.life,
        **end.marks,
    }


def _end_of(stored: Mapping[str, Any]) -> StoredEnd:
    event = BatchEnded(
        event_id=UUID(stored["event_id"]),
        batch_id=UUID(stored["batch_id"]),
        round=stored["round"],
        kind=stored["kind"],
        name=stored["name"],
        collection=stored["collection"],
        status=BatchStatus(stored["status"]),
        counters=Counters(*stored["counters"]),
        error_message=stored["error_message"],
        ended_at=moment(stored["ended_at"]),
    )
    fact = EndFact(event, stored["delivered"], stored["write_id"], stored["life"])
    return StoredEnd(fact, marks_of(stored))
