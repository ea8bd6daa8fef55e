"""Which records are due: found by index, however many wait, whatever else there is.

A pending record is marked as due when its time has come, so that those that wait are not looked at again and
again. Each kind is asked for by itself, because an index has one order only.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Subquery,
    and_,
    bindparam,
    exists,
    func,
    select,
    union_all,
    update,
)

from gristmill.stores.sql.columns import instant, moment
from gristmill.stores.sql.dialects import POSTGRESQL
from gristmill.stores.sql.raw import RawStatement
from gristmill.stores.sql.tables import DUE, WAITING, batches, records

# So many become due at a time, or as many as are claimed if that is more, which keeps every claim short: after a
# long pause, of more than these the ones that waited longest come first.
_MADE_DUE = 1_000
# Of more due records than this, any time that has passed is as good as the earliest.
_MOST_DUE_READ = 1_000

# While a batch is held, so many others are asked; of more, the oldest.
_MOST_OPEN_READ = 1_000

# A batch that ended or is being stopped can still get records back, from a claim that had been lost.
_IS_OPEN = and_(
    batches.c.batch_id == records.c.batch_id,
    batches.c.completed_at.is_(None),
    batches.c.cancel_requested.is_not(True),
)
_IN_OPEN_BATCH = exists().where(_IS_OPEN)
_IN_ORDER = (records.c.claim_order, records.c.record_id)


@dataclass(frozen=True, slots=True)
class Choice:
    """What is asked for: these kinds, of one batch or of all."""

    kinds: tuple[str, ...]
    batch_id: UUID | None

    @property
    def shape(self) -> tuple[int, bool]:
        """All that the text of a statement depends on."""
        return len(self.kinds), self.batch_id is not None

    @property
    def parameters(self) -> dict[str, Any]:
        named: dict[str, Any] = {_kind(number): kind for number, kind in enumerate(self.kinds)}
        return named if self.batch_id is None else named | {"of_batch": self.batch_id.bytes}


def choices(
    connection: Connection, kinds: Collection[str] | None, batch_id: UUID | None, *, now: datetime
) -> list[Choice]:
    """Where claims may take from: all batches at once or the one named, but none that is held.

    While any is held, the others are asked one by one, so that nobody reads past a million held records.
    """
    names = _names(connection, kinds)
    held = _held(connection, now)
    if batch_id is not None:
        return [] if batch_id in held else [Choice(names, batch_id)]
    if not held:
        return [Choice(names, None)]
    rows = _OPEN_BATCHES.execute(connection, {"most_open": _MOST_OPEN_READ})
    others = (UUID(bytes=row.batch_id) for row in rows)
    return [Choice(names, other) for other in others if other not in held]


def _names(connection: Connection, kinds: Collection[str] | None) -> tuple[str, ...]:
    if kinds is None:
        rows = [*_KINDS_DUE.execute(connection, {}), *_KINDS_WAITING.execute(connection, {})]
        kinds = {row.kind for row in rows}
    return tuple(sorted(set(kinds)))


def _held(connection: Connection, now: datetime) -> dict[UUID, datetime]:
    """Held batches, and until when."""
    rows = _HELD.execute(connection, {"at": instant(now)})
    return {UUID(bytes=row.batch_id): moment(row.held_until) for row in rows}


def read_in_order(connection: Connection) -> None:
    """Let PostgreSQL take the first records from the index that has them in order, until the transaction ends.

    Before it has counted a new batch it may think it has a handful of records, and sort all of them.
    """
    if connection.dialect.name == POSTGRESQL:
        connection.exec_driver_sql("SET LOCAL enable_sort = off")


def make_due(connection: Connection, chosen: Choice, *, now: datetime, limit: int) -> None:
    """Mark the records whose wait is over, at least ``limit`` of them."""
    most = {"most_over": max(limit, _MADE_DUE)}
    _make_due(*chosen.shape).execute(connection, {"by": instant(now), **most, **chosen.parameters})


def next_due(
    connection: Connection, kinds: Collection[str] | None, batch_id: UUID | None, *, now: datetime
) -> datetime | None:
    names = _names(connection, kinds)
    found = [_next_of(connection, each) for each in choices(connection, names, batch_id, now=now)]
    for held, until in _held(connection, now).items():
        if batch_id in {None, held}:
            earliest = _next_of(connection, Choice(names, held))
            found.append(None if earliest is None else max(earliest, until))
    return min((each for each in found if each is not None), default=None)


def _next_of(connection: Connection, chosen: Choice) -> datetime | None:
    if not chosen.kinds:
        return None
    earliest = _next_due(*chosen.shape).execute(connection, chosen.parameters).scalar()
    return None if earliest is None else moment(earliest)


def shares(connection: Connection, chosen: Sequence[Choice], *, limit: int) -> list[tuple[Choice, int]]:
    """How many of the first ``limit`` due records belong to each."""
    if len(chosen) == 1:
        return [(chosen[0], limit)]
    due = [
        (row.claim_order, row.record_id, place)
        for place, each in enumerate(chosen)
        for row in _due_records(*each.shape).execute(connection, each.parameters | {"most": limit})
    ]
    counts = Counter(place for _, _, place in sorted(due)[:limit])
    return [(chosen[place], count) for place, count in counts.items()]


@lru_cache
def _due_records(kinds: int, in_batch: bool) -> RawStatement:  # noqa: FBT001 (a shape, see Choice)
    return RawStatement(select(first_due(kinds, in_batch)))


def first_due(kinds: int, in_batch: bool, *, free: bool = False) -> Subquery:  # noqa: FBT001 (a shape, see Choice)
    """The key and claim order of the first ``most`` due records.

    ``free``, for PostgreSQL: of those that no other transaction works on; they and their batches are locked.
    """
    due = _free_due if free else _due
    return _first(
        [due(_of_kind(number, in_batch), bindparam("most")) for number in range(kinds)],
        order=("claim_order", "record_id"),
        limit=bindparam("most"),
    )


def _kind(number: int) -> str:
    return f"of_kind_{number}"


def _of_kind(number: int, in_batch: bool) -> list[ColumnElement[bool]]:  # noqa: FBT001 (a shape, see Choice)
    kind = records.c.kind == bindparam(_kind(number))
    return [kind, records.c.batch_id == bindparam("of_batch")] if in_batch else [kind]


def _due(conditions: Sequence[ColumnElement[bool]], limit: Any) -> Select[Any]:
    return (
        select(records.c.no, records.c.claim_order, records.c.record_id, records.c.next_attempt_at)
        .where(DUE, *conditions, _IN_OPEN_BATCH)
        .order_by(*_IN_ORDER)
        .limit(limit)
    )


def _free_due(conditions: Sequence[ColumnElement[bool]], limit: Any) -> Select[Any]:
    """``_due``, and nobody is waited for: what is locked, or whose batch is being stopped, is passed over."""
    return (
        select(records.c.no, records.c.claim_order, records.c.record_id, records.c.next_attempt_at)
        .join(batches, _IS_OPEN)
        .where(DUE, *conditions)
        .order_by(*_IN_ORDER)
        .limit(limit)
        .suffix_with("FOR NO KEY UPDATE OF records SKIP LOCKED FOR KEY SHARE OF batches SKIP LOCKED")
    )


def _first(parts: Sequence[Select[Any]], *, order: Sequence[str], limit: Any) -> Subquery:
    if len(parts) == 1:
        return parts[0].subquery()
    together = union_all(*(select(part.subquery()) for part in parts)).subquery()
    return select(together).order_by(*(together.c[name] for name in order)).limit(limit).subquery()


@lru_cache
def _make_due(kinds: int, in_batch: bool) -> RawStatement:  # noqa: FBT001 (a shape, see Choice)
    over = [
        select(records.c.no, records.c.next_attempt_at)
        .where(WAITING, *_of_kind(number, in_batch), records.c.next_attempt_at <= bindparam("by"))
        .order_by(records.c.next_attempt_at)
        .limit(bindparam("most_over"))
        for number in range(kinds)
    ]
    free = [each.with_for_update(key_share=True, skip_locked=True) for each in over]
    first, first_free = (
        _first(parts, order=["next_attempt_at"], limit=bindparam("most_over")) for parts in (over, free)
    )
    change = update(records).values(due=True)
    return RawStatement(
        change.where(records.c.no.in_(select(first.c.no))),
        on_postgres=change.where(is_one_of(first_free.c.no)),
    )


def is_one_of(numbers: ColumnElement[int]) -> ColumnElement[bool]:
    """Whether a record is among these, which PostgreSQL finds once: it may run IN more often, and lock more each time."""
    return records.c.no == func.any(func.array(select(numbers).scalar_subquery()))


@lru_cache
def _next_due(kinds: int, in_batch: bool) -> RawStatement:  # noqa: FBT001 (a shape, see Choice)
    parts: list[Select[Any]] = []
    for number in range(kinds):
        conditions = _of_kind(number, in_batch)
        due = _due(conditions, _MOST_DUE_READ).subquery()
        waiting = (
            select(records.c.next_attempt_at)
            .where(WAITING, *conditions, _IN_OPEN_BATCH)
            .order_by(records.c.next_attempt_at)
            .limit(1)
            .subquery()
        )
        parts += [select(due.c.next_attempt_at), select(waiting.c.next_attempt_at)]
    return RawStatement(select(func.min(union_all(*parts).subquery().c.next_attempt_at)))


def _kinds_where(condition: ColumnElement[bool]) -> RawStatement:
    """The kinds there are, by a step through the index for each."""
    lowest = select(func.min(records.c.kind).label("kind")).where(condition)
    kinds = lowest.cte("kinds", recursive=True)
    higher = select(func.min(records.c.kind)).where(condition, records.c.kind > kinds.c.kind)
    kinds = kinds.union_all(select(higher.scalar_subquery()).where(kinds.c.kind.is_not(None)))
    return RawStatement(select(kinds.c.kind).where(kinds.c.kind.is_not(None)))


_HELD = RawStatement(
    select(batches.c.batch_id, batches.c.held_until).where(batches.c.held_until > bindparam("at"))
)
_OPEN_BATCHES = RawStatement(
    select(batches.c.batch_id)
    .where(batches.c.completed_at.is_(None), batches.c.pending > 0)
    .order_by(batches.c.created_at)
    .limit(bindparam("most_open"))
)
_KINDS_DUE = _kinds_where(DUE)
_KINDS_WAITING = _kinds_where(WAITING)
