"""Which copy of a database this is, which one serves, and what is known of the other one."""

from dataclasses import dataclass, replace
from uuid import UUID, uuid4

from sqlalchemy import Connection, func, select, text, update

from gristmill.ports.replication import Acting, Identity, Standing
from gristmill.stores.sql.fact_rows import text_of, value_of
from gristmill.stores.sql.raw import RawStatement
from gristmill.stores.sql.tables import batches, workers
from gristmill.stores.sql.tables_documents import collections, vectors
from gristmill.stores.sql.tables_replication import numbers, replica
from gristmill.stores.sql.upserts import insert

_SUM = select(func.coalesce(func.sum(numbers.c.last), 0)).scalar_subquery()
_COLUMNS = select(
    replica.c.incarnation, replica.c.acting, replica.c.peer, replica.c.paired, _SUM.label("sequence")
)
_ROW = RawStatement(_COLUMNS)
_TAKEN_ROW = RawStatement(_COLUMNS.with_for_update(of=replica))
_FIRST = insert(numbers).values(slot=0, last=1)
_DRAW = RawStatement(
    _FIRST.or_update(["slot"], {"last": numbers.c.last + 1}).returning(numbers.c.last),
    # In a row that nobody else holds, or in a new one: nobody waits for another's number.
    on_postgres=text(
        """
        WITH free AS (SELECT slot FROM numbers ORDER BY slot LIMIT 1 FOR UPDATE SKIP LOCKED),
        drawn AS (UPDATE numbers SET last = last + 1 FROM free WHERE numbers.slot = free.slot RETURNING 1),
        made AS (
            INSERT INTO numbers (slot, last)
            SELECT CAST(CAST(pg_current_xact_id() AS text) AS bigint), 1 WHERE NOT EXISTS (SELECT FROM drawn)
        )
        SELECT CAST(coalesce(sum(last), 0) + 1 AS bigint) FROM numbers
        """
    ),
)
_REWRITE = RawStatement(update(replica).values(acting=replica.c.acting))


@dataclass(frozen=True, slots=True)
class Replica:
    standing: Standing
    paired: bool


def find(connection: Connection) -> Replica | None:
    """None until ``made`` was called in a transaction that writes."""
    return _replica(connection, _ROW)


def _replica(connection: Connection, statement: RawStatement) -> Replica | None:
    row = statement.execute(connection, {}).one_or_none()
    if row is None:
        return None
    incarnation, acting, peer, paired, sequence = row
    if not sequence and not paired and _holds_anything(connection):
        sequence = 1  # Written before there was anybody to count for.
    standing = Standing(
        identity=Identity(UUID(bytes=incarnation), int(sequence)),
        acting=value_of(acting, Acting),
        peer=None if peer is None else value_of(peer, Identity),
    )
    return Replica(standing, bool(paired))


def _holds_anything(connection: Connection) -> bool:
    tables = (batches, collections, vectors, workers)
    return any(connection.execute(select(table).limit(1)).first() is not None for table in tables)


def made(connection: Connection) -> Replica:
    found = find(connection)
    if found is None:
        row = {
            "no": 1,
            "incarnation": uuid4(),
            "acting": text_of(Acting()),
            "peer": None,
            "paired": False,
        }
        connection.execute(insert(replica).values(row).or_nothing())
        found = find(connection)
    assert found is not None
    return found


def taken(connection: Connection) -> Replica:
    """As ``made``; nobody else changes the row until the transaction ends."""
    found = _replica(connection, _TAKEN_ROW)
    if found is None:
        made(connection)
        found = _replica(connection, _TAKEN_ROW)
    assert found is not None
    return found


def draw(connection: Connection) -> int:
    """The number of this transaction: above all that were there before, not always another one than of those beside it."""
    return int(_DRAW.execute(connection, {}).scalar_one())


def rewrite(connection: Connection) -> None:
    """Write what is there, durably."""
    made(connection)
    _REWRITE.execute(connection, {})


def reincarnate(connection: Connection) -> Identity:
    made(connection)
    connection.execute(update(replica).values(incarnation=uuid4()))
    return made(connection).standing.identity


def set_acting(connection: Connection, acting: Acting) -> Acting:
    held = taken(connection).standing.acting
    if not acting.beats(held):
        return held
    connection.execute(update(replica).values(acting=text_of(acting)))
    return acting


def pair(connection: Connection) -> None:
    connection.execute(update(replica).values(paired=True))


def remember(connection: Connection, peer: Identity | None) -> None:
    connection.execute(update(replica).values(peer=None if peer is None else text_of(peer)))


def knows(connection: Connection, peer: Identity) -> bool:
    """Whether it is the other database that is remembered."""
    known = made(connection).standing.peer
    return known is not None and known.incarnation == peer.incarnation


def hear_of(connection: Connection, peer: Identity) -> Standing:
    """Remember the other database as it is now, unless it is another one than before."""
    standing = taken(connection).standing
    if standing.peer is None or not peer.continues(standing.peer) or peer == standing.peer:
        return standing
    remember(connection, peer)
    return replace(standing, peer=peer)
