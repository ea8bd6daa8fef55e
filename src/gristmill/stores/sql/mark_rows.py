"""Marks of rows that another database is owed."""

from collections.abc import Collection, Iterable
from datetime import datetime

from sqlalchemy import Connection, bindparam, delete, select

from gristmill.ports.rows import Kind
from gristmill.stores.sql import fact_rows
from gristmill.stores.sql.columns import instant
from gristmill.stores.sql.raw import BulkStatement, RawStatement
from gristmill.stores.sql.tables_replication import marks
from gristmill.stores.sql.upserts import insert
from gristmill.stores.sql.value_lists import packed_texts, texts_in

NAMES = ("kind", "place", "sequence", "marked_at", "reason")
_NEW_MARK = insert(marks)
AGAIN = {name: _NEW_MARK.excluded[name] for name in NAMES[2:]}
_MARK = BulkStatement(
    insert(marks).values({name: bindparam(name) for name in NAMES}).or_update(["kind", "place"], AGAIN), NAMES
)
_OF_PLACES = (marks.c.kind == bindparam("of_kind"), marks.c.place.in_(texts_in("of_places")))
_MARKED = RawStatement(select(marks.c.place).where(*_OF_PLACES))
# One that another transaction holds is about to change.
_HOLD = RawStatement(
    select(marks.c.place).where(*_OF_PLACES).order_by(marks.c.place).with_for_update(skip_locked=True)
)
_UNMARK = RawStatement(delete(marks).where(*_OF_PLACES))


def mark(connection: Connection, kind: Kind, places: Iterable[str], *, sequence: int, now: datetime) -> None:
    at = instant(now)
    _MARK.execute(connection, [(int(kind), place, sequence, at, None) for place in places])


def marked(connection: Connection, kind: Kind, places: Iterable[str]) -> set[str]:
    return set(_MARKED.execute(connection, _of(kind, places)).scalars())


def hold(connection: Connection, kind: Kind, places: Iterable[str]) -> set[str]:
    """Those of the places that are marked, and that no other transaction marks until this one ends."""
    return set(_HOLD.execute(connection, _of(kind, places)).scalars())


def unmark(connection: Connection, kind: Kind, places: Iterable[str]) -> int:
    return _UNMARK.execute(connection, _of(kind, places)).rowcount


def forget(connection: Connection, kind: Kind, places: Collection[str]) -> None:
    """Neither facts nor marks of these remain."""
    if places:
        fact_rows.forget(connection, kind, places)
        unmark(connection, kind, places)


def _of(kind: Kind, places: Iterable[str]) -> dict[str, object]:
    return {"of_kind": int(kind), "of_places": packed_texts(places)}
