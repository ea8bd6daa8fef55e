"""Records in and out of their table, in bulk."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, bindparam, func, literal, select

from gristmill.domain.moves import Write
from gristmill.domain.record import Item, Record
from gristmill.stores.sql import locks
from gristmill.stores.sql.columns import instant
from gristmill.stores.sql.raw import BulkInsert, BulkStatement, BulkUpdate, RawStatement
from gristmill.stores.sql.rows import (
    COLUMNS,
    COMPLETED_NAMES,
    NAMES,
    ROW_TEXT,
    SHOWN_NAMES,
    STATE_NAMES,
    Values,
    completed_of,
    shown_of,
    state_of,
    values_of,
)
from gristmill.stores.sql.tables import records
from gristmill.stores.sql.upserts import insert
from gristmill.stores.sql.value_lists import packed_texts, texts_in

# Draws a write id of its own for every row (protocol V2), and says when it is written.
DrawWrite = Callable[[], Write]

_OF_BATCH = records.c.batch_id == bindparam("of_batch")
_IS_ITEM = (_OF_BATCH, records.c.item_id.in_(texts_in("item_ids")))
# As an array PostgreSQL looks each up in the unique index; IN lets it read the whole batch instead.
_IS_ANY_ITEM = (_OF_BATCH, records.c.item_id == func.any(func.array(texts_in("item_ids").scalar_subquery())))
_OF_ITEMS = RawStatement(select(*COLUMNS).where(*_IS_ITEM), on_postgres=select(*COLUMNS).where(*_IS_ANY_ITEM))
_ITEM_IDS = RawStatement(select(records.c.item_id).where(*_IS_ANY_ITEM))
_NUMBERS = select(records.c.no, records.c.item_id)
_NUMBERS_OF_ITEMS = RawStatement(_NUMBERS.where(*_IS_ITEM), on_postgres=_NUMBERS.where(*_IS_ANY_ITEM))
_KEYS = select(records.c.no, records.c.item_id, records.c.claim_id, records.c.write_id)
_KEYS_OF_ITEMS = RawStatement(
    _KEYS.where(*_IS_ITEM),
    on_postgres=_KEYS.where(*_IS_ANY_ITEM).order_by(records.c.no).with_for_update(key_share=True),
)


_WHOLE = insert(records).values({name: bindparam(name) for name in NAMES})
_INSERT_NEW = BulkStatement(_WHOLE.or_nothing(), NAMES)
_INSERT_MISSING = BulkInsert(records, NAMES)
_REPLACE = BulkStatement(
    _WHOLE.or_update(["batch_id", "item_id"], {name: _WHOLE.excluded[name] for name in NAMES}),
    NAMES,
)
_MOVE = BulkUpdate(records, STATE_NAMES)
_COMPLETE = BulkUpdate(records, COMPLETED_NAMES)
_SHOW = BulkUpdate(records, SHOWN_NAMES)


def insert_new(
    connection: Connection,
    batch_id: UUID,
    items: Iterable[Item],
    rows_of: Callable[[Iterable[Item]], Iterable[Values]],
) -> int:
    """Store the items, all for one batch that is kept (``locks``), that are not there yet; returns how many.

    ``rows_of`` makes their rows, whole and in the order of NAMES.
    """
    if not locks.needed(connection):
        return _INSERT_NEW.execute(connection, list(rows_of(items)))
    locks.submit(connection, batch_id)
    missing: dict[str, Item] = {}
    for item in items:
        missing.setdefault(item.item_id, item)
    for (item_id,) in _of_items(_ITEM_IDS, connection, batch_id, list(missing)):
        del missing[item_id]
    return _INSERT_MISSING.execute(connection, rows_of(missing.values()))


def replace(connection: Connection, changed: Iterable[Record]) -> None:
    """Store the records whole, whatever was there."""
    _REPLACE.execute(connection, [values_of(record) for record in changed])


def insert_missing(connection: Connection, missing: Iterable[Record]) -> None:
    """Store records that are not there, and that nobody else can store meanwhile."""
    _INSERT_MISSING.execute(connection, map(values_of, missing))


def move(connection: Connection, moved: Iterable[tuple[int, Record]]) -> None:
    """Write all that a move can change of records that are there, given with their keys."""
    _MOVE.execute(connection, [(*state_of(record), key) for key, record in moved])


def complete(connection: Connection, completed: Iterable[tuple[int, Record]]) -> None:
    """Write only what completing changes of records that carried no error."""
    _COMPLETE.execute(connection, [(*completed_of(record), key) for key, record in completed])


def show(connection: Connection, shown: Iterable[tuple[int, Record]]) -> None:
    """Write only what showing a stage changes."""
    _SHOW.execute(connection, [(*shown_of(record), key) for key, record in shown])


def changed_in_bulk(write: Write) -> dict[str, Any]:
    """What every move sets, for statements that move many records: each row gets a write id of its own."""
    return {
        "updated_at": instant(write.now),
        "revision": records.c.revision + 1,
        "stamp": write.stamp,
        "write_id": literal(f"{write.write_id}.") + ROW_TEXT,
        "owed": True,
        "claim_id": None,
        "worker": None,
        "progress": 0,
    }


def keys_of_items(connection: Connection, batch_id: UUID, item_ids: Sequence[str]) -> Sequence[Sequence[Any]]:
    """(no, item_id, claim_id, write_id) of those of the items that are there; nobody else changes these meanwhile."""
    return _of_items(_KEYS_OF_ITEMS, connection, batch_id, item_ids)


def numbers_of_items(
    connection: Connection, batch_id: UUID, item_ids: Sequence[str]
) -> Sequence[Sequence[Any]]:
    """(no, item_id) of those of the items that are there."""
    return _of_items(_NUMBERS_OF_ITEMS, connection, batch_id, item_ids)


def rows_of_items(connection: Connection, batch_id: UUID, item_ids: Sequence[str]) -> Sequence[Sequence[Any]]:
    """COLUMNS of those of the items that are there."""
    return _of_items(_OF_ITEMS, connection, batch_id, item_ids)


def _of_items(
    statement: RawStatement, connection: Connection, batch_id: UUID, item_ids: Sequence[str]
) -> Sequence[Sequence[Any]]:
    if not item_ids:
        return ()
    parameters = {"of_batch": batch_id.bytes, "item_ids": packed_texts(item_ids)}
    return statement.execute(connection, parameters).all()
