"""Row locks, for databases where several transactions write at once; SQLite has one writer and needs none.

Their order is the same everywhere, so that transactions wait for each other in one direction only:
the row of the batch, its submission, the rows of its records by number, then the figures of batches by id.

What works on records of a batch holds its row with ``keep``, which others may hold too; what decides over the
batch as a whole (seal, cancel, retry, end, delete) holds it with ``take``, alone. Figures are added up under a
third kind of lock, that of UPDATE, which goes together with ``keep``.
"""

from collections.abc import Collection
from collections.abc import Set as AbstractSet
from uuid import UUID

from sqlalchemy import Connection, bindparam, func, select

from gristmill.stores.sql.dialects import POSTGRESQL
from gristmill.stores.sql.raw import RawStatement
from gristmill.stores.sql.tables import batches
from gristmill.stores.sql.value_lists import ids_in, packed_ids

_OF_BATCHES = (
    select(batches.c.batch_id).where(batches.c.batch_id.in_(ids_in("ids"))).order_by(batches.c.batch_id)
)
_KEEP = RawStatement(_OF_BATCHES.with_for_update(key_share=True, read=True))
_TAKE = RawStatement(_OF_BATCHES.with_for_update())
_TOGETHER = RawStatement(
    select(func.pg_advisory_xact_lock_shared(func.hashtextextended(bindparam("name"), 0)))
)
_ONE_BY_ONE = select(func.pg_advisory_xact_lock(func.hashtextextended(bindparam("name"), 0)))
_ALONE = select(func.pg_try_advisory_xact_lock(func.hashtext(bindparam("name"))))


def needed(connection: Connection) -> bool:
    return connection.dialect.name == POSTGRESQL


def keep(connection: Connection, batch_ids: Collection[UUID]) -> AbstractSet[UUID]:
    """Nobody decides over these batches until the transaction ends. Returns which may be worked on.

    The others are not there; one that comes under the same id after this is not to be touched.
    """
    return _lock(connection, _KEEP, batch_ids)


def take(connection: Connection, batch_ids: Collection[UUID]) -> AbstractSet[UUID]:
    """Nobody works on these batches until the transaction ends. Returns which may be decided over, as ``keep`` does.

    Not after ``keep``: two that have kept the same batch would wait for each other.
    """
    return _lock(connection, _TAKE, batch_ids)


def _lock(connection: Connection, statement: RawStatement, batch_ids: Collection[UUID]) -> AbstractSet[UUID]:
    if not batch_ids or not needed(connection):
        return frozenset(batch_ids)
    rows = statement.execute(connection, {"ids": packed_ids(batch_ids)})
    return {UUID(bytes=batch_id) for batch_id in rows.scalars()}


def submit(connection: Connection, batch_id: UUID) -> None:
    """Nobody else adds records to the batch, which is kept, until the transaction ends."""
    one_by_one(connection, f"submission {batch_id}")


def one_by_one(connection: Connection, name: str) -> None:
    """Nobody else that asks for the name, alone or together, goes on until the transaction ends."""
    if needed(connection):
        connection.execute(_ONE_BY_ONE, {"name": name})


def together(connection: Connection, name: str) -> None:
    """Nobody that asks for the name alone goes on until the transaction ends."""
    if needed(connection):
        _TOGETHER.execute(connection, {"name": name})


def is_alone(connection: Connection, name: str) -> bool:
    """Whether no other transaction that asked for the same name runs; stays so until this one ends."""
    return not needed(connection) or bool(connection.execute(_ALONE, {"name": name}).scalar())
