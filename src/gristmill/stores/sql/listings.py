"""Lists in pages, and statistics over many batches. Each function runs in one transaction."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, ColumnElement, Connection, Row, bindparam, func, or_, select

from gristmill.domain.batch import Counters
from gristmill.domain.failures import FailureCategory
from gristmill.domain.record import Record, RecordStatus
from gristmill.ports.batches import BatchPage, RecordPage, Statistics
from gristmill.stores.cursors import cursor, key_of
from gristmill.stores.sql import batch_rows
from gristmill.stores.sql.columns import instant, moment
from gristmill.stores.sql.rows import COLUMNS, record_of
from gristmill.stores.sql.tables import batches, failures, records

_IDS_A_QUERY = 500

# Made once, for to name all columns takes longer than to read a page; limits and cursors are added to them.
_NEWEST_FIRST = select(batches).order_by(batches.c.created_at.desc(), batches.c.batch_id)
_OF_BATCH = select(*COLUMNS).where(records.c.batch_id == bindparam("batch"))
_BY_ITEM_ID = _OF_BATCH.order_by(records.c.item_id)


def list_batches(connection: Connection, *, limit: int, after: str | None) -> BatchPage:
    newest_first = _NEWEST_FIRST.limit(limit + 1)
    if after is not None:
        created, batch_id = key_of("batches", after, int, str)
        created_at = moment(created)
        newest_first = newest_first.where(
            batches.c.created_at <= created_at,
            or_(batches.c.created_at < created_at, batches.c.batch_id > UUID(batch_id)),
        )
    found = [batch_rows.batch_of(row) for row in connection.execute(newest_first)]
    shown = found[:limit]
    more = len(found) > len(shown) > 0
    last = (instant(shown[-1].created_at), str(shown[-1].batch_id)) if more else ()
    return BatchPage(shown, cursor("batches", *last) if more else None)


def find_records(connection: Connection, *, batch_id: UUID, item_ids: Sequence[str]) -> dict[str, Record]:
    batch_rows.row_of(connection, batch_id)
    found: dict[str, Record] = {}
    for start in range(0, len(item_ids), _IDS_A_QUERY):
        some = item_ids[start : start + _IDS_A_QUERY]
        rows = connection.execute(_OF_BATCH.where(records.c.item_id.in_(some)), {"batch": batch_id})
        found |= {record.item_id: record for record in map(record_of, rows)}
    return found


def list_records(
    connection: Connection,
    batch_id: UUID,
    *,
    status: RecordStatus | None,
    category: FailureCategory | None,
    limit: int,
    after: str | None,
) -> RecordPage:
    batch_rows.row_of(connection, batch_id)
    page = _BY_ITEM_ID.limit(limit + 1)
    if category is not None:
        page = page.where(records.c.error_category == category.value)
    if status is not None:
        # The index by category knows the status too; a bare column would make SQLite take the index by status.
        column = records.c.status if category is None else func.coalesce(records.c.status, "")
        page = page.where(column == status.value)
    if after is not None:
        page = page.where(records.c.item_id > key_of("records", after, str)[0])
    found = [record_of(row) for row in connection.execute(page, {"batch": batch_id})]
    shown = found[:limit]
    more = len(found) > len(shown) > 0
    return RecordPage(shown, cursor("records", shown[-1].item_id) if more else None)


def statistics(connection: Connection, since: datetime) -> Statistics:
    recent = batches.c.created_at >= since
    by_status = connection.execute(
        select(batches.c.status, func.count()).where(recent).group_by(batches.c.status)
    )
    batches_by_status: dict[str, int] = {row[0]: row[1] for row in by_status}
    totals = connection.execute(_totals().where(recent)).one()
    counters = Counters(**{status.value: getattr(totals, status.value) for status in RecordStatus})
    failed = connection.execute(
        select(failures.c.category, _whole(func.sum(failures.c.records)))
        .where(failures.c.batch_id.in_(select(batches.c.batch_id).where(recent)), failures.c.records > 0)
        .group_by(failures.c.category)
    )
    tried = counters.completed + counters.failed
    return Statistics(
        since=since,
        batches=sum(batches_by_status.values()),
        batches_by_status=batches_by_status,
        items=counters.total,
        completed=counters.completed,
        failed=counters.failed,
        cancelled=counters.cancelled,
        success_rate_percentage=round(100 * counters.completed / tried, 2) if tried else 0.0,
        mean_seconds=totals.microseconds / counters.completed / 1e6 if counters.completed else None,
        items_per_hour=_items_per_hour(totals, counters.ended),
        failures={row[0]: row[1] for row in failed},
    )


def _totals() -> Any:
    sums = [_whole(func.sum(batches.c[status.value])).label(status.value) for status in RecordStatus]
    return select(
        *sums,
        _whole(func.sum(batches.c.completed_microseconds)).label("microseconds"),
        func.min(batches.c.first_started_at).label("first_started_at"),
        func.max(batches.c.last_ended_at).label("last_ended_at"),
    )


def _whole(total: ColumnElement[int]) -> ColumnElement[int]:
    """A sum as the number that it is: PostgreSQL adds up to decimals."""
    return func.coalesce(total, 0).cast(BigInteger)


def _items_per_hour(totals: Row[Any], ended: int) -> float | None:
    first, last = totals.first_started_at, totals.last_ended_at
    if first is None or last is None or last <= first:
        return None
    return float(ended / ((last - first) / timedelta(hours=1)))
