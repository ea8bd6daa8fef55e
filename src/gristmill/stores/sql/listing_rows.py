"""All rows of a database, for comparing and copying it. Facts that are not kept are made for the answer."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, bindparam, or_, select

from gristmill.ports.replication import RowPage
from gristmill.ports.rows import Body, Kind, Row, row_of
from gristmill.stores.cursors import cursor, key_of
from gristmill.stores.sql import bodies, fact_rows, replica_row, triggers
from gristmill.stores.sql.fact_rows import Fact
from gristmill.stores.sql.next_facts import NEXT_FACTS, made_up
from gristmill.stores.sql.record_store import DrawWrite
from gristmill.stores.sql.tables import records
from gristmill.stores.sql.tables_documents import document_versions, documents, vectors
from gristmill.stores.sql.tables_replication import facts

_LISTING = "rows"
_NUMBERED = {
    kind: select(table.c.no)
    .where(table.c.no > bindparam("after"))
    .order_by(table.c.no)
    .limit(bindparam("most"))
    for kind, table in ((Kind.VECTOR, vectors), (Kind.RECORD, records))
}
# By document and not by place: versions that were staged together lie together in the text index.
_VERSIONS = (
    select(document_versions.c.document_no, documents.c.document_id, document_versions.c.version)
    .join(documents, documents.c.no == document_versions.c.document_no)
    .where(
        document_versions.c.document_no >= bindparam("number"),
        or_(
            document_versions.c.document_no > bindparam("number"),
            document_versions.c.version > bindparam("after"),
        ),
    )
    .order_by(document_versions.c.document_no, document_versions.c.version)
    .limit(bindparam("most"))
)
_FACTS = (
    select(facts.c.place)
    .where(facts.c.kind == bindparam("of_kind"), facts.c.place > bindparam("after"))
    .order_by(facts.c.place)
    .limit(bindparam("most"))
)


def page(connection: Connection, *, limit: int, after: str | None, draw: DrawWrite) -> RowPage:
    """Rows of one kind, so it may be short."""
    number, last = (int(min(Kind)), "") if after is None else key_of(_LISTING, after, int, str)
    kind = Kind(number)
    listed = _places(connection, kind, after=last, most=limit + 1)
    places = list(listed.values())
    shown = places[: bodies.fitting(connection, kind, places[:limit])]
    found = _find(connection, kind, shown, draw)
    rows = [row_of(found[place]) for place in shown if place in found]
    if len(places) > len(shown) > 0:
        return RowPage(rows, cursor(_LISTING, number, list(listed)[len(shown) - 1]))
    return RowPage(rows, None if kind is max(Kind) else cursor(_LISTING, number + 1, ""))


def _places(connection: Connection, kind: Kind, *, after: str, most: int) -> dict[str, str]:
    """Where the rows are, by what a cursor says of them."""
    if kind is Kind.CHUNKS:
        return _places_of_versions(connection, after=after, most=most)
    return {place: place for place in _places_in_order(connection, kind, after=after, most=most)}


def _places_of_versions(connection: Connection, *, after: str, most: int) -> dict[str, str]:
    number, _, version = after.partition(":")
    parameters = {"number": int(number or 0), "after": version, "most": most}
    return {
        f"{row.document_no}:{row.version}": bodies.version_place(row.document_id, row.version)
        for row in connection.execute(_VERSIONS, parameters)
    }


def _places_in_order(connection: Connection, kind: Kind, *, after: str, most: int) -> Sequence[str]:
    if kind in _NUMBERED:
        numbers = connection.scalars(_NUMBERED[kind], {"after": int(after or 0), "most": most})
        return [str(number) for number in numbers]
    if kind in NEXT_FACTS and _keeps_facts(connection):
        return connection.scalars(_FACTS, {"of_kind": int(kind), "after": after, "most": most}).all()
    return triggers.places(connection, kind, after=after, most=most)


def _keeps_facts(connection: Connection) -> bool:
    found = replica_row.find(connection)
    return found is not None and found.paired


def find(connection: Connection, rows: Sequence[Row], draw: DrawWrite) -> list[Row | None]:
    given: defaultdict[Kind, list[int]] = defaultdict(list)
    for position, row in enumerate(rows):
        given[row.kind].append(position)
    found: list[Row | None] = [None] * len(rows)
    for kind, positions in given.items():
        places = bodies.places_of(connection, kind, [rows[position].body for position in positions])
        there = _find(connection, kind, [place for place in places if place is not None], draw)
        for position, place in zip(positions, places, strict=True):
            body = None if place is None else there.get(place)
            found[position] = None if body is None else row_of(body)
    return found


def _find(connection: Connection, kind: Kind, places: Sequence[str], draw: DrawWrite) -> dict[str, Body]:
    if kind not in NEXT_FACTS or _keeps_facts(connection):
        return bodies.find(connection, kind, places)
    return bodies.find(connection, kind, places, _made(connection, kind, places, draw))


def _made(connection: Connection, kind: Kind, places: Sequence[str], draw: DrawWrite) -> Mapping[str, Fact]:
    stored = fact_rows.find_all(connection, kind, places)
    made = NEXT_FACTS[kind](connection, places, stored, made_up(draw))
    return {place: fact for place, fact in made.items() if fact is not None}
