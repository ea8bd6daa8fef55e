"""The outbox: events stored with what they tell of, until listeners know of them."""

from collections.abc import Collection
from dataclasses import asdict
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, select, update

from gristmill.domain.batch import BatchStatus, Counters
from gristmill.domain.events import BatchEnded
from gristmill.stores.sql.tables import events
from gristmill.stores.sql.upserts import insert


def store(connection: Connection, event: BatchEnded, *, created_at: datetime) -> BatchEnded:
    """The event that is there afterwards: one a round, so an end that is there has been told, or will be.

    ``created_at``: when its batch was created; an end before that is of an earlier one of the same id.
    """
    new = insert(events).values(_row_of(event)).or_nothing().returning(events.c.event_id)
    if connection.execute(new).first() is not None:
        return event
    found = event_of(connection.execute(select(events).where(events.c.event_id == event.event_id)).one())
    if found.ended_at >= created_at:
        return found
    replace(connection, event, delivered_at=None)
    return event


def hold(connection: Connection, event_ids: Collection[UUID]) -> None:
    """Nobody else tells of these events until the transaction ends."""
    if event_ids:
        chosen = select(events.c.event_id).where(events.c.event_id.in_(event_ids))
        connection.execute(chosen.order_by(events.c.event_id).with_for_update())


def replace(connection: Connection, event: BatchEnded, *, delivered_at: datetime | None) -> None:
    """Store the event as another database tells it."""
    row = _row_of(event) | {"delivered_at": delivered_at}
    connection.execute(insert(events).values(row).or_update(["event_id"], row))


def _row_of(event: BatchEnded) -> dict[str, Any]:
    return {
        "event_id": event.event_id,
        "batch_id": event.batch_id,
        "ended_at": event.ended_at,
        "body": {
            "round": event.round,
            "kind": event.kind,
            "name": event.name,
            "collection": event.collection,
            "status": event.status.value,
            "counters": asdict(event.counters),
            "error_message": event.error_message,
        },
    }


def pending(connection: Connection, *, limit: int) -> list[BatchEnded]:
    waiting = select(events).where(events.c.delivered_at.is_(None))
    oldest_first = waiting.order_by(events.c.ended_at, events.c.event_id).limit(limit)
    return [event_of(row) for row in connection.execute(oldest_first)]


def delivered(connection: Connection, event_ids: Collection[UUID], *, now: datetime) -> None:
    is_pending = events.c.event_id.in_(event_ids) & events.c.delivered_at.is_(None)
    connection.execute(update(events).where(is_pending).values(delivered_at=now))


def event_of(row: Row[Any]) -> BatchEnded:
    body = row.body
    return BatchEnded(
        event_id=row.event_id,
        batch_id=row.batch_id,
        round=body["round"],
        kind=body["kind"],
        name=body["name"],
        collection=body["collection"],
        status=BatchStatus(body["status"]),
        counters=Counters(**body["counters"]),
        error_message=body["error_message"],
        ended_at=row.ended_at,
    )
