"""Between batches and their rows."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, bindparam, select, update

from gristmill.domain.batch import Batch, BatchStatus, Counters, NewBatch
from gristmill.domain.failures import FailureCategory
from gristmill.domain.hold import NOT_HELD, Hold
from gristmill.domain.record import RecordStatus
from gristmill.ports.errors import BatchNotFoundError
from gristmill.stores.sql import locks
from gristmill.stores.sql.columns import storable
from gristmill.stores.sql.tables import batches

# Made once: every operation on a batch begins with it.
_BATCH = select(batches).where(batches.c.batch_id == bindparam("id"))


def find_row(connection: Connection, batch_id: UUID) -> Row[Any] | None:
    return connection.execute(_BATCH, {"id": batch_id}).one_or_none()


def row_of(connection: Connection, batch_id: UUID) -> Row[Any]:
    row = find_row(connection, batch_id)
    if row is None:
        raise BatchNotFoundError(batch_id)
    return row


def kept_row(connection: Connection, batch_id: UUID) -> Row[Any]:
    """The row of a batch whose records are worked on (``locks.keep``)."""
    if not locks.keep(connection, [batch_id]):
        raise BatchNotFoundError(batch_id)
    return row_of(connection, batch_id)


def taken_row(connection: Connection, batch_id: UUID) -> Row[Any]:
    """The row of a batch that is decided over (``locks.take``)."""
    if not locks.take(connection, [batch_id]):
        raise BatchNotFoundError(batch_id)
    return row_of(connection, batch_id)


def change(connection: Connection, batch_id: UUID, *, now: datetime, **changes: Any) -> None:
    """Change facts of the batch; its figures change by ``tally``."""
    connection.execute(
        update(batches).where(batches.c.batch_id == batch_id).values(updated_at=now, **changes)
    )


def counters_of(row: Row[Any]) -> Counters:
    return Counters(**{status.value: getattr(row, status.value) for status in RecordStatus})


def batch_of(row: Row[Any]) -> Batch:
    return Batch(
        batch_id=row.batch_id,
        kind=row.kind,
        name=row.name,
        collection=row.collection,
        priority=row.priority,
        round=row.round,
        status=BatchStatus(row.status),
        created_at=row.created_at,
        updated_at=row.updated_at,
        total_files=row.total_files,
        processed_files=counters_of(row).ended,
        max_error_rate=row.max_error_rate,
        error_message=row.error_message,
        cancel_requested=row.cancel_requested,
        sealed_at=row.sealed_at,
        started_at=row.started_at,
        completed_at=row.completed_at,
        submitter=row.submitter,
        options=row.options,
        hold=hold_of(row),
    )


def hold_of(row: Row[Any]) -> Hold:
    if not row.hold_streak:
        return NOT_HELD
    return Hold(
        streak=row.hold_streak,
        cause=FailureCategory(row.hold_cause),
        since=row.held_since,
        until=row.held_until,
        reason=row.hold_reason,
    )


def hold_values(hold: Hold) -> dict[str, Any]:
    return {
        "hold_streak": hold.streak,
        "hold_cause": None if hold.cause is None else hold.cause.value,
        "held_since": hold.since,
        "held_until": hold.until,
        "hold_reason": None if hold.reason is None else storable(hold.reason),
    }


NO_HOLD = hold_values(NOT_HELD)


def values_of(new: NewBatch, now: datetime) -> dict[str, Any]:
    """The row of a batch that is queued, unsealed and empty."""
    return {
        "batch_id": new.batch_id,
        "kind": new.kind,
        "name": None if new.name is None else storable(new.name),
        "collection": new.collection,
        "priority": new.priority,
        "round": 0,
        "status": BatchStatus.QUEUED.value,
        "created_at": now,
        "updated_at": now,
        "total_files": 0,
        "max_error_rate": new.max_error_rate,
        "cancel_requested": False,
        "submitter": new.submitter,
        "options": new.options,
        **NO_HOLD,
        **{status.value: 0 for status in RecordStatus},
        "max_retries": 0,
        "completed_microseconds": 0,
    }
