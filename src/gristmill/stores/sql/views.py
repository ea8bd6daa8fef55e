"""Looking at one batch: its status, progress and errors, read from kept figures and by index, not by counting."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, Select, bindparam, func, select

from gristmill.domain.batch import (
    ERROR_TYPES_SHOWN,
    MESSAGES_SHOWN,
    Aggregates,
    BatchStatusView,
    ErrorType,
    status_view,
)
from gristmill.domain.failures import FailureCategory, is_permanent
from gristmill.domain.record import RecordStatus, is_permanently_failed
from gristmill.ports.batches import ErrorGroup, Progress
from gristmill.stores.sql import batch_rows
from gristmill.stores.sql.tables import error_types, failures, records

# Made once; a batch is looked at again and again while it is worked on.
_OF_BATCH = error_types.c.batch_id == bindparam("batch")
_LATEST_ERROR_AT = select(func.max(error_types.c.latest_at)).where(_OF_BATCH)
_MESSAGES = (
    select(error_types.c.message)
    .where(_OF_BATCH)
    .order_by(error_types.c.latest_at.desc(), error_types.c.message)
    # One message may be there once for every category.
    .limit(MESSAGES_SHOWN * len(FailureCategory))
)
_MOST_FREQUENT = (
    select(error_types.c.category, error_types.c.message, error_types.c.records)
    .where(_OF_BATCH)
    .order_by(error_types.c.records.desc(), error_types.c.category, error_types.c.message)
    .limit(ERROR_TYPES_SHOWN)
)
_FAILURES = select(failures).where(failures.c.batch_id == bindparam("batch"), failures.c.records > 0)


def batch_status_view(
    connection: Connection, batch_id: UUID, *, max_attempts: int, now: datetime
) -> BatchStatusView:
    row = batch_rows.row_of(connection, batch_id)
    found = Aggregates(
        counters=batch_rows.counters_of(row),
        permanent_failures=sum(
            failed.records
            for failed in _failures(connection, batch_id)
            if is_permanently_failed(FailureCategory(failed.category), failed.attempts, max_attempts)
        ),
        max_retries=row.max_retries,
        messages=_messages(connection, batch_id),
        latest_error_at=connection.scalar(_LATEST_ERROR_AT, {"batch": batch_id}),
        first_started_at=row.first_started_at,
        last_ended_at=row.last_ended_at,
        error_types=_error_types(connection, batch_id),
    )
    return status_view(batch_rows.batch_of(row), found, now)


def _messages(connection: Connection, batch_id: UUID) -> list[str]:
    return list(dict.fromkeys(connection.scalars(_MESSAGES, {"batch": batch_id})))


def _error_types(connection: Connection, batch_id: UUID) -> list[ErrorType]:
    return [ErrorType(*row) for row in connection.execute(_MOST_FREQUENT, {"batch": batch_id})]


def _failures(connection: Connection, batch_id: UUID) -> Sequence[Row[Any]]:
    return connection.execute(_FAILURES, {"batch": batch_id}).all()


def progress(connection: Connection, batch_id: UUID, *, now: datetime) -> Progress:
    row = batch_rows.row_of(connection, batch_id)
    batch, counters = batch_rows.batch_of(row), batch_rows.counters_of(row)
    total = max(batch.total_files, counters.total)
    seconds = ((batch.completed_at or now) - (batch.started_at or now)).total_seconds()
    rate = counters.ended / seconds if seconds > 0 else 0.0
    failed: Counter[str] = Counter()
    for each in _failures(connection, batch_id):
        failed[each.category] += each.records
    return Progress(
        batch=batch,
        counters=counters,
        percent=round(100 * counters.ended / total, 2) if total else 0.0,
        rate=rate,
        eta_seconds=counters.open / rate if rate else None,
        failures=dict(failed),
    )


def error_groups(connection: Connection, batch_id: UUID) -> list[ErrorGroup]:
    batch_rows.row_of(connection, batch_id)
    counts: Counter[str] = Counter()
    for failed in _failures(connection, batch_id):
        counts[failed.category] += failed.records
    groups = []
    for category, count in sorted(counts.items(), key=lambda each: (-each[1], each[0])):
        newest = connection.execute(_newest_failed(batch_id, category)).one()
        groups.append(
            ErrorGroup(
                category=FailureCategory(category),
                count=count,
                permanent=is_permanent(FailureCategory(category)),
                item_id=newest.item_id,
                example=newest.error_message,
            )
        )
    return groups


def _newest_failed(batch_id: UUID, category: str) -> Select[Any]:
    return (
        select(records.c.item_id, records.c.error_message)
        .where(
            records.c.batch_id == batch_id,
            records.c.error_category == category,
            records.c.status == RecordStatus.FAILED.value,
        )
        .order_by(records.c.last_error_at.desc(), records.c.item_id.desc())
        .limit(1)
    )
