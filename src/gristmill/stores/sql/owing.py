"""What another database is owed: pages of marks with their rows, and settling them. Each function is one transaction's."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import groupby
from operator import attrgetter, itemgetter

from sqlalchemy import Connection, and_, bindparam, func, select, tuple_, update

from gristmill.domain.document_facts import DocumentFacts
from gristmill.domain.facts import BatchFacts, EndFact
from gristmill.domain.record import moment
from gristmill.ports.replication import Identity, Owed, OwedPage, SetAside, Standing
from gristmill.ports.rows import Kind, Row, WorkerRow, row_of
from gristmill.stores.cursors import cursor, key_of
from gristmill.stores.sql import (
    bodies,
    conflict_rows,
    fact_rows,
    locks,
    mark_rows,
    merging_batches,
    replica_row,
    triggers,
)
from gristmill.stores.sql.columns import instant
from gristmill.stores.sql.raw import RawStatement
from gristmill.stores.sql.tables_replication import facts, marks

_LISTING = "owed rows"
_IS_OWED = marks.c.reason.is_(None)
_OWED = RawStatement(
    select(marks.c.kind, marks.c.place)
    .where(
        _IS_OWED,
        marks.c.sequence > bindparam("since"),
        tuple_(marks.c.kind, marks.c.place) > tuple_(bindparam("of_kind"), bindparam("of_place")),
    )
    .order_by(marks.c.kind, marks.c.place)
    .limit(bindparam("most"))
)
# Whoever settles holds it together, whoever stops trusting the other database alone.
SETTLING = "settling"
_MARKS_AT_ONCE = 50_000


def page(
    connection: Connection, standing: Standing, *, limit: int, since: int, after: str | None
) -> OwedPage:
    kind, place = (0, "") if after is None else key_of(_LISTING, after, int, str)
    given = {"since": since, "of_kind": kind, "of_place": place, "most": limit + 1}
    found = _OWED.execute(connection, given).all()
    more, last = len(found) > limit, None
    rows: list[Row] = []
    for number, group in groupby(found[:limit], key=itemgetter(0)):
        kind, places = Kind(number), [place for _, place in group]
        fitting = bodies.fitting(connection, kind, places)
        there = bodies.find(connection, kind, places[:fitting])
        rows += [row_of(there[place]) for place in places[:fitting] if place in there]
        last = (number, places[fitting - 1])
        if fitting < len(places):
            more = True
            break
    return OwedPage(standing, rows, cursor(_LISTING, *last) if more and last is not None else None)


def settle(connection: Connection, rows: Sequence[Row]) -> int:
    settled = 0
    for kind, group in groupby(sorted(rows, key=attrgetter("kind")), key=attrgetter("kind")):
        given = list(group)
        places = bodies.places_of(connection, kind, [row.body for row in given])
        tokens = {place: row.token for place, row in zip(places, given, strict=True) if place is not None}
        same = _held_as(connection, kind, tokens)
        settled += mark_rows.unmark(connection, kind, same)
        if kind is Kind.END:
            _forget_told(connection, [row.body for row in given if isinstance(row.body, EndFact)])
    return settled


def _held_as(connection: Connection, kind: Kind, tokens: dict[str, str]) -> list[str]:
    """Those of the places that are marked and whose rows still have these tokens."""
    # First held, then read: who changes a row marks it after that, and so waits for us.
    held = sorted(mark_rows.hold(connection, kind, tokens))
    found = bodies.tokens(connection, kind, held)
    return [place for place in held if found.get(place) == tokens[place]]


def _forget_told(connection: Connection, ends: Sequence[EndFact]) -> None:
    for end in ends:
        batch = fact_rows.find(connection, Kind.BATCH, end.event.batch_id.hex, BatchFacts)
        if batch is not None:
            merging_batches.forget_told_end(connection, end.event.event_id, batch)


def set_aside(connection: Connection, refused: Sequence[SetAside]) -> int:
    return sum(_set_aside(connection, each) for each in refused)


def _set_aside(connection: Connection, refused: SetAside) -> int:
    place = bodies.place_of_key(connection, refused.kind, refused.key)
    if place is None or not _held_as(connection, refused.kind, {place: refused.token}):
        return 0
    is_marked = (marks.c.kind == int(refused.kind)) & (marks.c.place == place)
    return connection.execute(update(marks).where(is_marked).values(reason=refused.reason)).rowcount


def list_set_aside(connection: Connection, *, limit: int) -> list[SetAside]:
    aside = select(marks.c.kind, marks.c.place, marks.c.reason).where(marks.c.reason.is_not(None))
    reasons: defaultdict[Kind, dict[str, str]] = defaultdict(dict)
    for kind, place, reason in connection.execute(aside.order_by(marks.c.kind, marks.c.place).limit(limit)):
        reasons[Kind(kind)][place] = reason
    found: list[SetAside] = []
    for kind, of_kind in reasons.items():
        for place, body in bodies.find(connection, kind, list(of_kind)).items():
            row = row_of(body)
            found.append(SetAside(row.kind, row.key, row.token, of_kind[place]))
    return found


def count(connection: Connection) -> Owed:
    aside = connection.scalar(select(func.count()).where(marks.c.reason.is_not(None)))
    rows, oldest = connection.execute(select(func.count(), func.min(marks.c.marked_at)).where(_IS_OWED)).one()
    return Owed(rows=rows, set_aside=aside or 0, oldest=oldest)


def begin(connection: Connection) -> None:
    """Trust no database, so that nothing is settled. The first time, note all changes and have facts found."""
    locks.one_by_one(connection, SETTLING)
    if not replica_row.taken(connection).paired:
        triggers.create(connection)
        triggers.note_facts(connection)
        replica_row.pair(connection)
    replica_row.remember(connection, None)


def mark_more(connection: Connection, *, now: datetime) -> bool:
    """Mark some of what is not marked; whether there was any."""
    sequence = replica_row.draw(connection)
    found = triggers.mark_more(connection, sequence=sequence, marked_at=instant(now), most=_MARKS_AT_ONCE)
    return found > 0


def trust(connection: Connection, peer: Identity) -> int:
    """All is marked, also what was set aside: remember the database that it is owed to."""
    connection.execute(update(marks).where(marks.c.reason.is_not(None)).values(reason=None))
    replica_row.remember(connection, peer)
    return connection.scalar(select(func.count()).select_from(marks)) or 0


def purge(connection: Connection, older_than: timedelta, *, now: datetime) -> int:
    conflict_rows.forget_old(connection)
    before, gone = now - older_than, 0
    for kind, pattern in _TOMBSTONES.items():
        found = connection.scalars(_UNMARKED, {"of_kind": int(kind), "pattern": pattern}).all()
        facts_there = fact_rows.find_all(connection, kind, found)
        died = {place: _died_at(fact) for place, fact in facts_there.items()}
        old = [place for place, at in died.items() if at is not None and at < before]
        fact_rows.forget(connection, kind, old)
        gone += len(old)
    return gone


# As facts are written as JSON: who is not dead is not read.
_TOMBSTONES = {
    Kind.WORKER: '%"gone":true%',
    Kind.DOCUMENT: '%"wanted":null,"live":null%',
    Kind.BATCH: '%"deleted_at":"%',
}
_UNMARKED = (
    select(facts.c.place)
    .outerjoin(marks, and_(marks.c.kind == facts.c.kind, marks.c.place == facts.c.place))
    .where(
        facts.c.kind == bindparam("of_kind"), marks.c.kind.is_(None), facts.c.body.like(bindparam("pattern"))
    )
)


def _died_at(fact: object) -> datetime | None:
    match fact:
        case BatchFacts(deleted_at=died):
            return died
        case DocumentFacts(wanted=None, live=None) if fact.deleted:
            return moment(fact.deleted)
        case WorkerRow(gone=True):
            return fact.worker.renewed_at
        case _:
            return None
