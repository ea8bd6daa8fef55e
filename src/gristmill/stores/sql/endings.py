"""Ends of batches: cancel, end, clean up. Each function runs in one transaction."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Row, and_, delete, func, or_, select, update

from gristmill.domain.batch import Batch, Counters, computed_status, may_end
from gristmill.domain.events import batch_ended
from gristmill.domain.moves import Write
from gristmill.domain.record import OPEN_STATUSES, RecordStatus
from gristmill.domain.versions import Ending, Step
from gristmill.ports.batches import Cleanup
from gristmill.stores.sql import batch_rows, outbox
from gristmill.stores.sql.batch_rows import NO_HOLD
from gristmill.stores.sql.columns import instant, storable
from gristmill.stores.sql.record_store import changed_in_bulk
from gristmill.stores.sql.tables import batches, error_types, events, failures, records
from gristmill.stores.sql.tally import Tally
from gristmill.stores.sql.value_lists import ids_in, packed_ids


def cancel_batch(connection: Connection, batch_id: UUID, *, error_message: str | None, write: Write) -> int:
    row = batch_rows.taken_row(connection, batch_id)
    if batch_rows.batch_of(row).ended:
        return 0
    counters = batch_rows.counters_of(row)
    _cancel_open(connection, batch_id, counters, write)
    batch_rows.change(
        connection,
        batch_id,
        now=write.now,
        cancel_requested=True,
        error_message=row.error_message if error_message is None else storable(error_message),
        sealed_at=row.sealed_at or write.now,
        total_files=counters.total,
    )
    return counters.open


def _cancel_open(connection: Connection, batch_id: UUID, counters: Counters, write: Write) -> None:
    _cancel_open_records(connection, batch_id, write)
    tally = Tally()
    tally.changed(
        batch_id,
        {
            RecordStatus.PENDING: -counters.pending,
            RecordStatus.PROCESSING: -counters.processing,
            RecordStatus.CANCELLED: counters.open,
        },
        ended_at=write.now if counters.open else None,
    )
    tally.write(connection)


def _cancel_open_records(connection: Connection, batch_id: UUID, write: Write) -> None:
    """``moves.cancel`` as a statement: a batch may have a million records."""
    is_open = records.c.status.in_([status.value for status in OPEN_STATUSES])
    connection.execute(
        update(records)
        .where(records.c.batch_id == batch_id, is_open)
        .values(
            **changed_in_bulk(write),
            status=RecordStatus.CANCELLED.value,
            ended_at=instant(write.now),
            ending=Ending.CANCELLED.value,
            step=Step.PROCESSING.value,
            due=None,
        )
    )


def end_batches(connection: Connection, batch_ids: Collection[UUID] | None, *, write: Write) -> list[Batch]:
    no_open = and_(batches.c.pending == 0, batches.c.processing == 0)
    candidates = select(batches).where(
        batches.c.completed_at.is_(None),
        batches.c.sealed_at.is_not(None),
        # What a merge brought after the batch was cancelled here is swept (B2).
        or_(no_open, batches.c.cancel_requested.is_(True)),
    )
    if batch_ids is not None:
        candidates = candidates.where(batches.c.batch_id.in_(batch_ids))
    candidates = candidates.order_by(batches.c.batch_id).with_for_update()
    rows = connection.execute(candidates).all()
    ended = [row.batch_id for row in rows if _end(connection, row, write)]
    return [batch_rows.batch_of(batch_rows.row_of(connection, batch_id)) for batch_id in ended]


def _end(connection: Connection, row: Row[Any], write: Write) -> bool:
    if batch_rows.counters_of(row).open:
        _cancel_open(connection, row.batch_id, batch_rows.counters_of(row), write)
        row = batch_rows.row_of(connection, row.batch_id)
    batch, counters = batch_rows.batch_of(row), batch_rows.counters_of(row)
    if not may_end(batch, counters):
        return False
    status = computed_status(batch, counters)
    event = batch_ended(batch, counters, status=status, now=write.now)
    told = outbox.store(connection, event, created_at=batch.created_at)
    ended = {"status": status.value, "completed_at": told.ended_at, **NO_HOLD}
    batch_rows.change(connection, batch.batch_id, now=write.now, **ended)
    return True


def count_old(connection: Connection, older_than: timedelta, *, now: datetime) -> Cleanup:
    return _count(connection, batches.c.completed_at < now - older_than, {})


def _count(connection: Connection, condition: ColumnElement[bool], parameters: Mapping[str, Any]) -> Cleanup:
    total = sum((batches.c[status.value] for status in RecordStatus), start=batches.c.total_files * 0)
    counted = select(func.count(), func.coalesce(func.sum(total), 0)).where(condition)
    found = connection.execute(counted, parameters).one()
    return Cleanup(batches=found[0], records=int(found[1]))


def delete_old(connection: Connection, older_than: timedelta, *, now: datetime) -> Cleanup:
    old = select(batches.c.batch_id).where(batches.c.completed_at < now - older_than)
    ids = connection.scalars(old.order_by(batches.c.batch_id).with_for_update()).all()
    chosen = {"ids": packed_ids(ids)}
    are_old = batches.c.batch_id.in_(ids_in("ids"))
    found = _count(connection, are_old, chosen)
    delete_batches(connection, ids)
    told = events.c.batch_id.in_(ids_in("ids")) & events.c.delivered_at.is_not(None)
    connection.execute(delete(events).where(told), chosen)
    return found


def delete_batches(connection: Connection, batch_ids: Sequence[UUID]) -> None:
    """With their records and figures; events stay."""
    for table in (records, failures, error_types, batches):
        of_batch = table.c.batch_id.in_(ids_in("ids"))
        connection.execute(delete(table).where(of_batch), {"ids": packed_ids(batch_ids)})
