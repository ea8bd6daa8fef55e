"""Explicit retry: failed records go back to work in their batch's next round, in one transaction."""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, delete, func, select, update

from gristmill.domain.batch import BatchStatus
from gristmill.domain.failures import PERMANENT_CATEGORIES, FailureCategory
from gristmill.domain.moves import Write, round_after
from gristmill.domain.record import QUEUED, RecordStatus
from gristmill.domain.versions import Ending, Step
from gristmill.stores.sql import batch_rows
from gristmill.stores.sql.batch_rows import NO_HOLD
from gristmill.stores.sql.columns import instant, moment
from gristmill.stores.sql.record_store import changed_in_bulk
from gristmill.stores.sql.tables import error_types, records
from gristmill.stores.sql.tally import Tally


def retry_failed(
    connection: Connection,
    batch_id: UUID,
    *,
    categories: Collection[FailureCategory] | None,
    permanent: bool,
    write: Write,
) -> int:
    row = batch_rows.taken_row(connection, batch_id)
    wanted = set(FailureCategory if categories is None else categories)
    chosen = _chosen(batch_id, wanted if permanent else wanted - PERMANENT_CATEGORIES)
    reopened = _take_from_figures(connection, batch_id, chosen)
    if reopened:
        _take_from_error_types(connection, batch_id, chosen)
        highest = connection.scalars(select(func.max(records.c.round)).where(chosen)).one()
        following = round_after(row.round, highest)
        _reopen(connection, chosen, batch_round=following, write=write)
        _renew_latest(connection, batch_id)
        batch_rows.change(
            connection,
            batch_id,
            now=write.now,
            round=following,
            status=BatchStatus.PROCESSING.value,
            completed_at=None,
            cancel_requested=False,
            error_message=None,
            last_ended_at=_last_end(connection, batch_id),
            **NO_HOLD,
        )
    return reopened


def _chosen(batch_id: UUID, categories: Collection[FailureCategory]) -> ColumnElement[bool]:
    return (
        (records.c.batch_id == batch_id)
        & records.c.error_category.in_(sorted(category.value for category in categories))
        & (records.c.status == RecordStatus.FAILED.value)
    )


def _take_from_figures(connection: Connection, batch_id: UUID, chosen: ColumnElement[bool]) -> int:
    groups = connection.execute(
        select(
            records.c.error_category,
            records.c.attempts,
            func.count().label("failed"),
            func.max(records.c.retries_total).label("retries"),
        )
        .where(chosen)
        .group_by(records.c.error_category, records.c.attempts)
    ).all()
    failed: int = sum(group.failed for group in groups)
    tally = Tally()
    for group in groups:
        tally.failed(batch_id, group.error_category, attempts=group.attempts, change=-group.failed)
    tally.changed(
        batch_id,
        {RecordStatus.FAILED: -failed, RecordStatus.PENDING: failed},
        retries=1 + max((group.retries for group in groups), default=-1),
    )
    tally.write(connection)
    return failed


def _take_from_error_types(connection: Connection, batch_id: UUID, chosen: ColumnElement[bool]) -> None:
    gone = (
        select(records.c.error_key, func.count().label("count"))
        .where(chosen)
        .group_by(records.c.error_key)
        .subquery()
    )
    connection.execute(
        update(error_types)
        .where(error_types.c.batch_id == batch_id, error_types.c.error_key == gone.c.error_key)
        .values(records=error_types.c.records - gone.c.count)
    )
    emptied = (error_types.c.batch_id == batch_id) & (error_types.c.records == 0)
    connection.execute(delete(error_types).where(emptied))


def _reopen(connection: Connection, chosen: ColumnElement[bool], *, batch_round: int, write: Write) -> None:
    """``moves.reopen`` as a statement: a million records may have failed."""
    now = instant(write.now)
    connection.execute(
        update(records)
        .where(chosen)
        .values(
            **changed_in_bulk(write),
            status=RecordStatus.PENDING.value,
            stage=QUEUED,
            attempts=0,
            retries_total=records.c.retries_total + 1,
            next_attempt_at=now,
            due=True,
            error_category=None,
            error_message=None,
            error_key=None,
            last_error_at=None,
            ended_at=None,
            round=batch_round,
            ending=Ending.OPEN.value,
            step=Step.PENDING.value,
        )
    )


def _renew_latest(connection: Connection, batch_id: UUID) -> None:
    carriers = (records.c.batch_id == batch_id) & (records.c.error_key == error_types.c.error_key)
    latest = select(func.max(records.c.last_error_at)).where(carriers).scalar_subquery()
    connection.execute(update(error_types).where(error_types.c.batch_id == batch_id).values(latest_at=latest))


def _last_end(connection: Connection, batch_id: UUID) -> object:
    # Reads the batch once, which is little beside reopening what failed in it.
    latest = connection.scalar(select(func.max(records.c.ended_at)).where(records.c.batch_id == batch_id))
    return None if latest is None else moment(latest)
