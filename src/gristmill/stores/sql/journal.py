"""The journal of what another database is owed: after the work of each transaction, what it changed is marked.

Triggers note the rows that change (``triggers``); here facts follow from them (``next_facts``) and marks are set.
A process that knows of no other database does not look; what it leaves is marked by the next one that does.
"""

from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    Text,
    bindparam,
    delete,
    null,
    or_,
    select,
    true,
)

from gristmill.ports.rows import Kind
from gristmill.stores.sql import fact_rows, locks, mark_rows, replica_row
from gristmill.stores.sql.columns import instant
from gristmill.stores.sql.fact_rows import Fact
from gristmill.stores.sql.next_facts import NEXT_FACTS, drawing
from gristmill.stores.sql.raw import RawStatement
from gristmill.stores.sql.record_store import DrawWrite
from gristmill.stores.sql.tables_replication import changed, marks
from gristmill.stores.sql.triggers import ThisTransaction
from gristmill.stores.sql.upserts import Insert, insert

# Of a new mark, after its kind and place.
MARKED = (
    bindparam("sequence", type_=BigInteger).cast(BigInteger),
    bindparam("marked_at", type_=BigInteger).cast(BigInteger),
    null().cast(Text),
)
_OF_FACTS = or_(*(changed.c.kind == int(kind) for kind in NEXT_FACTS))


class _Noted:
    """The statements over what one transaction noted, or over all that can be seen."""

    def __init__(self, scope: ColumnElement[bool]) -> None:
        others = delete(changed).where(scope, ~_OF_FACTS)
        gone = others.returning(changed.c.kind, changed.c.place).cte("gone")
        self.kinds = RawStatement(select(changed.c.kind).where(scope).distinct())
        self.take_facts = RawStatement(
            delete(changed).where(scope, _OF_FACTS).returning(changed.c.kind, changed.c.place)
        )
        self.mark_others = RawStatement(
            _marking(select(changed.c.kind, changed.c.place, *MARKED).where(scope, ~_OF_FACTS)),
            on_postgres=_marking(select(gone.c.kind, gone.c.place, *MARKED).distinct()),
        )
        # PostgreSQL has taken them with their marks: others may have come since.
        self.forget_others = RawStatement(others)
        self.forget = RawStatement(delete(changed).where(scope))


def _marking(rows: Select[Any]) -> Insert:
    return insert(marks).from_select(mark_rows.NAMES, rows).or_update(["kind", "place"], mark_rows.AGAIN)


_MINE = _Noted(changed.c.xact == ThisTransaction())
_ALL = _Noted(true())


def capture(connection: Connection, draw: DrawWrite, *, of_others: bool = False) -> None:
    """Mark what the transaction changed; with ``of_others`` also what was left by those that did not look."""
    noted = _ALL if of_others else _MINE
    kinds = {Kind(kind) for kind in noted.kinds.execute(connection, {}).scalars()}
    if not kinds:
        return
    sequence = replica_row.draw(connection)
    if not kinds <= NEXT_FACTS.keys():
        noted.mark_others.execute(connection, {"sequence": sequence, "marked_at": instant(draw().now)})
        if not locks.needed(connection):
            noted.forget_others.execute(connection, {})
    if not kinds.isdisjoint(NEXT_FACTS):
        rows = sorted(set(noted.take_facts.execute(connection, {}).all()))
        for kind, of_kind in groupby(rows, key=itemgetter(0)):
            _capture(connection, Kind(kind), [place for _, place in of_kind], draw, sequence)


def _capture(
    connection: Connection, kind: Kind, places: Sequence[str], draw: DrawWrite, sequence: int
) -> None:
    changed = refresh(connection, kind, places, draw)
    mark_rows.mark(connection, kind, changed, sequence=sequence, now=draw().now)


def refresh(connection: Connection, kind: Kind, places: Sequence[str], draw: DrawWrite) -> list[str]:
    """Bring the facts in line with their rows; returns the places of those that changed."""
    found = fact_rows.find_all(connection, kind, places)
    changes: list[tuple[str, Fact | None, Fact]] = []
    gone: list[str] = []
    for place, after in NEXT_FACTS[kind](connection, places, found, drawing(connection, draw)).items():
        before = found.get(place)
        if after is None:
            gone.append(place)
        elif after != before:
            changes.append((place, before, after))
    mark_rows.forget(connection, kind, gone)
    fact_rows.store_all(connection, kind, changes)
    return [place for place, _, _ in changes]


def forget_changed(connection: Connection) -> None:
    """What the transaction changed so far is owed to nobody: it came from the other database."""
    _MINE.forget.execute(connection, {})


_LEFT = RawStatement(select(changed.c.kind).limit(1))


def is_left(connection: Connection) -> bool:
    """Whether transactions of processes that did not look changed anything."""
    return _LEFT.execute(connection, {}).first() is not None
