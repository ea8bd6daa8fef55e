"""Between batches and their points.

A batch's point holds its facts and its outbox: the events of its ends that nobody was told of yet, so that an end
and its event are one write. ``removed`` marks a batch whose records are being deleted; it is there for nobody.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from qdrant_client import models

from gristmill.domain.batch import Batch, BatchStatus, Counters, NewBatch
from gristmill.domain.events import BatchEnded
from gristmill.domain.failures import FailureCategory
from gristmill.domain.hold import Hold
from gristmill.stores.qdrant.points import TOKEN, Payload, point
from gristmill.stores.qdrant.values import (
    instant,
    instant_or_none,
    json_text,
    json_value,
    moment,
    moment_or_none,
    storable,
)

BATCH = "batch"
EVENT = "event"


def new_batch(new: NewBatch, now: datetime) -> Batch:
    return Batch(
        batch_id=new.batch_id,
        kind=new.kind,
        name=None if new.name is None else storable(new.name),
        collection=new.collection,
        priority=new.priority,
        round=0,
        status=BatchStatus.QUEUED,
        created_at=now,
        updated_at=now,
        total_files=0,
        processed_files=0,
        max_error_rate=new.max_error_rate,
        error_message=None,
        cancel_requested=False,
        sealed_at=None,
        started_at=None,
        completed_at=None,
        submitter=new.submitter,
        options=json_value(json_text(new.options)),
    )


def point_of(batch: Batch, kept: Mapping[str, Any] | None = None) -> models.PointStruct:
    """``kept``: what is no fact of the batch, as the point has it; a None drops it."""
    hold = batch.hold
    payload = {
        "type": BATCH,
        "batch_id": str(batch.batch_id),
        "kind": batch.kind,
        "name": batch.name,
        "collection": batch.collection,
        "priority": batch.priority,
        "round": batch.round,
        "status": batch.status.value,
        "created_at": instant(batch.created_at),
        "updated_at": instant(batch.updated_at),
        "total_files": batch.total_files,
        "max_error_rate": batch.max_error_rate,
        "error_message": None if batch.error_message is None else storable(batch.error_message),
        "cancel_requested": batch.cancel_requested,
        "sealed_at": instant_or_none(batch.sealed_at),
        "started_at": instant_or_none(batch.started_at),
        "completed_at": instant_or_none(batch.completed_at),
        "submitter": batch.submitter,
        "options": json_text(batch.options),
        "hold_streak": hold.streak,
        "hold_cause": None if hold.cause is None else hold.cause.value,
        "hold_since": instant_or_none(hold.since),
        "hold_until": instant_or_none(hold.until),
        "hold_reason": None if hold.reason is None else storable(hold.reason),
        **(kept or {}),
        TOKEN: uuid4().hex,
    }
    return point(batch.batch_id, {key: value for key, value in payload.items() if value is not None})


_KEPT = ("reference", "outbox", "outbox_ids", "outbox_at", "reopening_until")


def kept_of(payload: Payload) -> Payload:
    return {name: payload[name] for name in _KEPT if name in payload}


def batch_of(payload: Payload, *, processed_files: int = 0) -> Batch:
    get = payload.get
    cause = get("hold_cause")
    return Batch(
        batch_id=UUID(payload["batch_id"]),
        kind=payload["kind"],
        name=get("name"),
        collection=get("collection"),
        priority=payload["priority"],
        round=payload["round"],
        status=BatchStatus(payload["status"]),
        created_at=moment(payload["created_at"]),
        updated_at=moment(payload["updated_at"]),
        total_files=payload["total_files"],
        processed_files=processed_files,
        max_error_rate=get("max_error_rate"),
        error_message=get("error_message"),
        cancel_requested=payload["cancel_requested"],
        sealed_at=moment_or_none(get("sealed_at")),
        started_at=moment_or_none(get("started_at")),
        completed_at=moment_or_none(get("completed_at")),
        submitter=get("submitter"),
        options=json_value(payload["options"]),
        hold=Hold(
            streak=payload["hold_streak"],
            cause=None if cause is None else FailureCategory(cause),
            since=moment_or_none(get("hold_since")),
            until=moment_or_none(get("hold_until")),
            reason=get("hold_reason"),
        ),
    )


# -- events ------------------------------------------------------------------------------------------


def outbox_of(payload: Payload) -> list[BatchEnded]:
    return [_event_of(each) for each in json_value(payload.get("outbox", "[]"))]


def with_outbox(events: list[BatchEnded]) -> dict[str, Any]:
    """The fields of an outbox; all None when it is empty."""
    return {
        "outbox": json_text([_event_json(each) for each in events]) if events else None,
        "outbox_ids": [str(each.event_id) for each in events] or None,
        "outbox_at": min((instant(each.ended_at) for each in events), default=None),
    }


def orphan_point(event: BatchEnded) -> models.PointStruct:
    """An event whose batch is deleted."""
    payload = {"type": EVENT, **with_outbox([event]), TOKEN: uuid4().hex}
    return point(event.event_id, payload)


def _event_json(event: BatchEnded) -> dict[str, Any]:
    return {
        "event_id": str(event.event_id),
        "batch_id": str(event.batch_id),
        "round": event.round,
        "kind": event.kind,
        "name": event.name,
        "collection": event.collection,
        "status": event.status.value,
        "counters": [
            getattr(event.counters, name)
            for name in ("pending", "processing", "completed", "failed", "cancelled")
        ],
        "error_message": event.error_message,
        "ended_at": instant(event.ended_at),
    }


def _event_of(stored: Mapping[str, Any]) -> BatchEnded:
    return BatchEnded(
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


def counted(batch: Batch, processed_files: int) -> Batch:
    return replace(batch, processed_files=processed_files)
