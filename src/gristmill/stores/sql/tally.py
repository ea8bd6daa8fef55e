"""What a transaction changes in the figures of batches: gathered record by record, written once (protocol B1)."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Column, ColumnElement, Connection, bindparam, case, delete, func, select, update

from gristmill.domain.failures import Failure
from gristmill.domain.record import Record, RecordStatus
from gristmill.stores.sql.columns import instant, storable
from gristmill.stores.sql.raw import RawStatement
from gristmill.stores.sql.rows import error_key
from gristmill.stores.sql.tables import batches, error_types, failures, records
from gristmill.stores.sql.upserts import insert

_MICROSECOND = timedelta(microseconds=1)


@dataclass(slots=True)
class _Figures:
    statuses: Counter[RecordStatus] = field(default_factory=Counter)
    completed_microseconds: int = 0
    max_retries: int = 0
    first_started_at: datetime | None = None
    last_ended_at: datetime | None = None


@dataclass(slots=True)
class _ErrorType:
    error: Failure
    change: int = 0
    latest_at: datetime | None = None  # Of the records that came to carry it.
    left: bool = False  # By a record that may have been the newest.


class Tally:
    """Tell it of every change, write the records, then ``write`` it in the same transaction."""

    def __init__(self) -> None:
        self._batches: defaultdict[UUID, _Figures] = defaultdict(_Figures)
        self._failed: Counter[tuple[UUID, str, int]] = Counter()
        self._errors: dict[tuple[UUID, bytes], _ErrorType] = {}

    def moved(self, before: Record | None, after: Record) -> None:
        """A record came, or changed from ``before``."""
        figures = self._batches[after.batch_id]
        if before is not None:
            self._count(figures, before, -1)
        self._count(figures, after, 1)
        figures.max_retries = max(figures.max_retries, after.retries_total)
        if after.started_at is not None:
            figures.first_started_at = min(figures.first_started_at or after.started_at, after.started_at)
        if after.ended_at is not None:
            figures.last_ended_at = max(figures.last_ended_at or after.ended_at, after.ended_at)

    def changed(
        self,
        batch_id: UUID,
        statuses: Mapping[RecordStatus, int],
        *,
        retries: int = 0,
        ended_at: datetime | None = None,
    ) -> None:
        """So many records more or fewer have each status; for changes made in bulk."""
        figures = self._batches[batch_id]
        figures.statuses.update(statuses)
        figures.max_retries = max(figures.max_retries, retries)
        figures.last_ended_at = ended_at

    def failed(self, batch_id: UUID, category: str, *, attempts: int, change: int) -> None:
        self._failed[batch_id, category, attempts] += change

    def _count(self, figures: _Figures, record: Record, change: int) -> None:
        figures.statuses[record.status] += change
        if record.status is RecordStatus.COMPLETED and record.started_at and record.ended_at:
            figures.completed_microseconds += change * ((record.ended_at - record.started_at) // _MICROSECOND)
        if record.error is not None:
            self._count_error(record, record.error, change)
            if record.status is RecordStatus.FAILED:
                category = record.error.category.value
                self.failed(record.batch_id, category, attempts=record.attempts, change=change)

    def _count_error(self, record: Record, error: Failure, change: int) -> None:
        key = (record.batch_id, error_key(error))
        found = self._errors.setdefault(key, _ErrorType(error))
        found.change += change
        if change < 0:
            found.left = True
        elif record.last_error_at is not None:
            found.latest_at = max(found.latest_at or record.last_error_at, record.last_error_at)

    def write(self, connection: Connection) -> None:
        for batch_id, figures in sorted(self._batches.items()):
            _ADD_FIGURES.execute(connection, _figures(batch_id, figures))
        if any(self._failed.values()):
            connection.execute(_ADD_FAILED, [_failed(*each) for each in self._failed.items()])
        self._write_errors(connection)

    def _write_errors(self, connection: Connection) -> None:
        came = [(key, each) for key, each in self._errors.items() if each.latest_at is not None]
        gone = [(key, each) for key, each in self._errors.items() if each.latest_at is None]
        left = [(key, each) for key, each in self._errors.items() if each.left]
        for statement, changes in ((_ADD_ERRORS, came), (_TAKE_ERRORS, gone), (_FIND_LATEST, left)):
            if changes:
                connection.execute(statement, [_error(*each) for each in changes])
        if left:
            connection.execute(_DROP_ERRORS, [_error(*each) for each in left])


def _figures(batch_id: UUID, figures: _Figures) -> dict[str, Any]:
    return {
        "key": batch_id.bytes,
        **{f"more_{status.value}": figures.statuses[status] for status in RecordStatus},
        "more_microseconds": figures.completed_microseconds,
        "retries": figures.max_retries,
        "started": None if figures.first_started_at is None else instant(figures.first_started_at),
        "ended": None if figures.last_ended_at is None else instant(figures.last_ended_at),
    }


def _failed(key: tuple[UUID, str, int], change: int) -> dict[str, Any]:
    batch_id, category, attempts = key
    return {"batch_id": batch_id, "category": category, "attempts": attempts, "records": change}


def _error(key: tuple[UUID, bytes], found: _ErrorType) -> dict[str, Any]:
    return {
        "batch": key[0],
        "error": key[1],
        "category_": found.error.category.value,
        "message_": storable(found.error.message),
        "change": found.change,
        "latest": found.latest_at,
    }


def _outermost(column: Column[datetime], found: str, *, earlier: bool) -> ColumnElement[datetime]:
    """The earlier or later of the stored time and the one found; either may be missing."""
    new = bindparam(found, type_=column.type)
    wins = new < column if earlier else new > column
    return case((column.is_(None), new), (wins, new), else_=column)


_ADD_FIGURES = RawStatement(
    update(batches)
    .where(batches.c.batch_id == bindparam("key"))
    .values(
        {status.value: batches.c[status.value] + bindparam(f"more_{status.value}") for status in RecordStatus}
        | {
            "completed_microseconds": batches.c.completed_microseconds + bindparam("more_microseconds"),
            "max_retries": case(
                (batches.c.max_retries < bindparam("retries"), bindparam("retries")),
                else_=batches.c.max_retries,
            ),
            "first_started_at": _outermost(batches.c.first_started_at, "started", earlier=True),
            "last_ended_at": _outermost(batches.c.last_ended_at, "ended", earlier=False),
        }
    )
)

_NEW_FAILED = insert(failures)
_ADD_FAILED = _NEW_FAILED.or_update(
    ["batch_id", "category", "attempts"],
    {"records": failures.c.records + _NEW_FAILED.excluded.records},
)

_ERROR = (error_types.c.batch_id == bindparam("batch")) & (error_types.c.error_key == bindparam("error"))
_NEW_ERROR = insert(error_types).values(
    batch_id=bindparam("batch"),
    error_key=bindparam("error"),
    category=bindparam("category_"),
    message=bindparam("message_"),
    records=bindparam("change"),
    latest_at=bindparam("latest"),
)
_ADD_ERRORS = _NEW_ERROR.or_update(
    ["batch_id", "error_key"],
    {
        "records": error_types.c.records + _NEW_ERROR.excluded.records,
        "latest_at": case(
            (error_types.c.latest_at < _NEW_ERROR.excluded.latest_at, _NEW_ERROR.excluded.latest_at),
            else_=error_types.c.latest_at,
        ),
    },
)
_TAKE_ERRORS = update(error_types).where(_ERROR).values(records=error_types.c.records + bindparam("change"))
_DROP_ERRORS = delete(error_types).where(_ERROR, error_types.c.records == 0)
_LATEST = (
    select(func.max(records.c.last_error_at))
    .where(records.c.batch_id == error_types.c.batch_id, records.c.error_key == error_types.c.error_key)
    .scalar_subquery()
)
_FIND_LATEST = (
    update(error_types).where(_ERROR).values(latest_at=func.coalesce(_LATEST, error_types.c.latest_at))
)
