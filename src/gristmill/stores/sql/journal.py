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
    and_,
    bindparam,
    delete,
    literal,
    not_,
    null,
    or_,
    select,
    tuple_,
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


# Of what others left, so much at a time: facts are found one by one.
_MOST_FACTS = 2_000
_MOST_OTHERS = 100_000


class _Noted:
    """The statements over noted rows that have facts, and over the others."""

    def __init__(self, of_facts: ColumnElement[bool], others: ColumnElement[bool]) -> None:
        gone = delete(changed).where(others).returning(changed.c.kind, changed.c.place).cte("gone")
        self.kinds = RawStatement(select(changed.c.kind).where(or_(of_facts, others)).distinct())
        self.take_facts = RawStatement(
            delete(changed).where(of_facts).returning(changed.c.kind, changed.c.place)
        )
        self.mark_others = RawStatement(
            _marking(select(changed.c.kind, changed.c.place, *MARKED).where(others)),
            on_postgres=_marking(select(gone.c.kind, gone.c.place, *MARKED).distinct()),
        )
        # PostgreSQL has taken them with their marks: more may have come since.
        self.forget_others = RawStatement(delete(changed).where(others))


def _marking(rows: Select[Any]) -> Insert:
    return insert(marks).from_select(mark_rows.NAMES, rows).or_update(["kind", "place"], mark_rows.AGAIN)


def _first(condition: ColumnElement[bool], most: int) -> ColumnElement[bool]:
    key = (changed.c.xact, changed.c.kind, changed.c.place)
    in_order = select(*key).where(condition).order_by(*key).limit(literal(most))
    return tuple_(*key).in_(in_order)


_OF_THIS = changed.c.xact == ThisTransaction()
_MINE = _Noted(and_(_OF_THIS, _OF_FACTS), and_(_OF_THIS, not_(_OF_FACTS)))
_LEFT = _Noted(_first(_OF_FACTS, _MOST_FACTS), _first(not_(_OF_FACTS), _MOST_OTHERS))
_FORGET = RawStatement(delete(changed).where(_OF_THIS))
_ANY_LEFT = RawStatement(select(changed.c.kind).limit(1))


def capture(connection: Connection, draw: DrawWrite) -> None:
    """Mark what the transaction changed."""
    _capture(connection, _MINE, draw)


def capture_left(connection: Connection, draw: DrawWrite) -> bool:
    """Mark some of what was left by those that did not look; whether there is more."""
    _capture(connection, _LEFT, draw)
    return is_left(connection)


def is_left(connection: Connection) -> bool:
    """Whether transactions of processes that did not look changed anything."""
    return _ANY_LEFT.execute(connection, {}).first() is not None


def forget_changed(connection: Connection) -> None:
    """What the transaction changed so far is owed to nobody: it came from the other database."""
    _FORGET.execute(connection, {})


def _capture(connection: Connection, noted: _Noted, draw: DrawWrite) -> None:
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
            changed_places = refresh(connection, Kind(kind), [place for _, place in of_kind], draw)
            mark_rows.mark(connection, Kind(kind), changed_places, sequence=sequence, now=draw().now)


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
