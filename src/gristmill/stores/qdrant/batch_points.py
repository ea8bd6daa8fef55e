"""Between batches and their points.

A batch's point holds its facts, the ends of its rounds (``end_points``), and what is this database's own: whether
the end of its round holds with the records that are here, the reference its item ids are ordered by, and until when
it is being reopened. A tombstone (``removed``) is there for nobody.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from qdrant_client import models

from gristmill.domain import facts as batch_facts
from gristmill.domain.batch import Batch, BatchStatus, Counters, NewBatch
from gristmill.domain.facts import BatchFacts, Cancel, Header, Held, Seal, Submitter
from gristmill.domain.failures import FailureCategory
from gristmill.domain.hold import NOT_HELD, Hold
from gristmill.domain.identity import end_event_id
from gristmill.domain.moves import Write
from gristmill.domain.versions import Version
from gristmill.stores.qdrant import end_points
from gristmill.stores.qdrant.end_points import StoredEnd
from gristmill.stores.qdrant.marks import Marks, marks_of
from gristmill.stores.qdrant.points import TOKEN, Payload, point
from gristmill.stores.qdrant.values import (
    instant,
    instant_or_none,
    json_text,
    json_value,
    moment,
    moment_or_none,
    storable,
    version_of,
    version_text,
)

BATCH = "batch"


@dataclass(frozen=True, slots=True)
class StoredBatch:
    """``status`` is that of the end of its round if it holds here, else None: the batch goes on."""

    facts: BatchFacts
    ends: tuple[StoredEnd, ...] = ()
    status: BatchStatus | None = None
    reference: str | None = None
    reopening_until: int = 0
    token: str = ""
    marks: Marks = field(default_factory=dict)

    @property
    def batch_id(self) -> UUID:
        return self.facts.batch_id

    @property
    def end(self) -> StoredEnd | None:
        """The end of its round, whether or not it holds here."""
        event_id = end_event_id(self.facts.batch_id, self.facts.round)
        ends = (each for each in self.ends if each.event.event_id == event_id)
        return next((each for each in ends if each.fact.life == self.facts.life), None)

    @property
    def batch(self) -> Batch:
        """As it is shown, but for the number of ended records."""
        end = self.end if self.status is not None else None
        if end is None or self.status is None:
            return batch_facts.batch_of(self.facts, None, Counters())
        return replace(batch_facts.batch_of(self.facts, end.fact, Counters()), status=self.status)

    def with_end(self, end: StoredEnd) -> "StoredBatch":
        others = (each for each in self.ends if each.event.event_id != end.event.event_id)
        return replace(self, ends=(*others, end))


def counted(batch: Batch, processed_files: int) -> Batch:
    return replace(batch, processed_files=processed_files)


def queued(new: NewBatch, write: Write, *, life: int) -> BatchFacts:
    first = Version().written(stamp=write.stamp, write_id=write.write_id)
    return BatchFacts(
        batch_id=new.batch_id,
        header=Header(
            kind=new.kind,
            name=None if new.name is None else storable(new.name),
            collection=new.collection,
            priority=new.priority,
            max_error_rate=new.max_error_rate,
            options=json_value(json_text(new.options)),
            created_at=write.now,
            write_id=write.write_id,
        ),
        submitter=Submitter(new.submitter, first),
        held=Held(NOT_HELD, first),
        updated_at=write.now,
        life=life,
    )


def point_of(stored: StoredBatch) -> models.PointStruct:
    facts, batch = stored.facts, stored.batch
    kept = tuple(each for each in stored.ends if not _is_past(each, facts))
    payload = {
        "type": BATCH,
        "batch_id": str(facts.batch_id),
        "status": batch.status.value,
        "completed_at": instant_or_none(batch.completed_at),
        **_header_fields(facts.header),
        **_seal_fields(facts.seal),
        **_cancel_fields(facts.cancel),
        **_hold_fields(facts.held),
        "submitter": facts.submitter.name,
        "submitter_version": version_text(facts.submitter.version),
        "updated_at": instant(facts.updated_at),
        "started_at": instant_or_none(facts.started_at),
        "life": facts.life,
        "round": facts.round,
        "deleted": facts.deleted,
        "deleted_at": instant_or_none(facts.deleted_at),
        "removed": None if facts.deleted is None else "yes",
        "ended": stored.status is not None,
        "reference": stored.reference,
        "reopening_until": stored.reopening_until or None,
        **end_points.fields_of(kept),
        **stored.marks,
        TOKEN: uuid4().hex,
    }
    return point(facts.batch_id, {key: value for key, value in payload.items() if value is not None})


def _is_past(end: StoredEnd, facts: BatchFacts) -> bool:
    """Whether nobody needs it: told, of an earlier life, and not owed, lest the other database never hears of it."""
    past = facts.deleted is not None or end.fact.life < facts.life
    return end.fact.delivered and past and not end.is_owed


def stored_of(payload: Payload) -> StoredBatch:
    get = payload.get
    facts = BatchFacts(
        batch_id=UUID(payload["batch_id"]),
        header=_header_of(payload),
        submitter=Submitter(get("submitter"), version_of(payload["submitter_version"])),
        held=_held_of(payload),
        updated_at=moment(payload["updated_at"]),
        life=payload["life"],
        round=payload["round"],
        seal=_seal_of(payload),
        cancel=_cancel_of(payload),
        started_at=moment_or_none(get("started_at")),
        deleted=get("deleted"),
        deleted_at=moment_or_none(get("deleted_at")),
    )
    return StoredBatch(
        facts=facts,
        ends=end_points.ends_of(payload),
        status=BatchStatus(payload["status"]) if payload["ended"] else None,
        reference=get("reference"),
        reopening_until=get("reopening_until", 0),
        token=payload[TOKEN],
        marks=marks_of(payload),
    )


# -- facts -------------------------------------------------------------------------------------------


def _header_fields(header: Header) -> dict[str, Any]:
    return {
        "kind": header.kind,
        "name": None if header.name is None else storable(header.name),
        "collection": header.collection,
        "priority": header.priority,
        "max_error_rate": header.max_error_rate,
        "options": json_text(dict(header.options)),
        "created_at": instant(header.created_at),
        "header_id": header.write_id,
    }


def _header_of(payload: Payload) -> Header:
    return Header(
        kind=payload["kind"],
        name=payload.get("name"),
        collection=payload.get("collection"),
        priority=payload["priority"],
        max_error_rate=payload.get("max_error_rate"),
        options=json_value(payload["options"]),
        created_at=moment(payload["created_at"]),
        write_id=payload["header_id"],
    )


def _seal_fields(seal: Seal | None) -> dict[str, Any]:
    if seal is None:
        return {}
    return {
        "total_files": seal.total,
        "sealed_at": instant(seal.sealed_at),
        "sealed_anew": seal.anew or None,
        "seal_id": seal.write_id,
    }


def _seal_of(payload: Payload) -> Seal | None:
    if "sealed_at" not in payload:
        return None
    return Seal(
        payload["total_files"],
        moment(payload["sealed_at"]),
        payload["seal_id"],
        anew=payload.get("sealed_anew", 0),
    )


def _cancel_fields(cancel: Cancel | None) -> dict[str, Any]:
    if cancel is None:
        return {}
    message = cancel.error_message
    return {
        "cancel_round": cancel.round,
        "error_message": None if message is None else storable(message),
        "cancel_stamp": cancel.stamp,
        "cancel_id": cancel.write_id,
    }


def _cancel_of(payload: Payload) -> Cancel | None:
    if "cancel_id" not in payload:
        return None
    message = payload.get("error_message")
    return Cancel(payload["cancel_round"], message, payload["cancel_stamp"], payload["cancel_id"])


def _hold_fields(held: Held) -> dict[str, Any]:
    hold = held.hold
    return {
        "hold_streak": hold.streak,
        "hold_cause": None if hold.cause is None else hold.cause.value,
        "hold_since": instant_or_none(hold.since),
        "hold_until": instant_or_none(hold.until),
        "hold_reason": None if hold.reason is None else storable(hold.reason),
        "hold_version": version_text(held.version),
    }


def _held_of(payload: Payload) -> Held:
    get = payload.get
    cause = get("hold_cause")
    hold = Hold(
        streak=payload["hold_streak"],
        cause=None if cause is None else FailureCategory(cause),
        since=moment_or_none(get("hold_since")),
        until=moment_or_none(get("hold_until")),
        reason=get("hold_reason"),
    )
    return Held(hold, version_of(payload["hold_version"]))


def changed_at(facts: BatchFacts, now: datetime, **changes: object) -> BatchFacts:
    """The facts with these changes, made now."""
    return replace(facts, updated_at=max(facts.updated_at, now), **changes)  # type: ignore[arg-type]


def held_as(facts: BatchFacts, hold: Hold, write: Write) -> BatchFacts:
    if hold == facts.held.hold:
        return facts
    version = facts.held.version.written(stamp=write.stamp, write_id=write.write_id)
    return replace(facts, held=Held(hold, version))


def point_with_ends(payload: Payload, ends: Sequence[StoredEnd]) -> tuple[UUID, models.PointStruct]:
    """A stored point of a batch, or of one end alone, with its ends as they are now."""
    if payload["type"] == end_points.EVENT:
        (end,) = ends
        return end.event.event_id, end_points.lone_point(end)
    stored = replace(stored_of(payload), ends=tuple(ends))
    return stored.batch_id, point_of(stored)
