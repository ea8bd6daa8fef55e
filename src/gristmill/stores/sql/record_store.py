"""Records in and out of their table, in bulk."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, Row, bindparam, literal, select, update
from sqlalchemy.dialects.sqlite import insert

from gristmill.domain.moves import Write
from gristmill.domain.record import Record
from gristmill.stores.sql.columns import instant
from gristmill.stores.sql.raw import BulkStatement, RawStatement
from gristmill.stores.sql.rows import (
    COLUMNS,
    NAMES,
    SHOWN_NAMES,
    STATE_NAMES,
    record_of,
    shown_of,
    state_of,
    values_of,
)
from gristmill.stores.sql.sqlite import ROW_TEXT
from gristmill.stores.sql.tables import records
from gristmill.stores.sql.value_lists import packed_texts, texts_in

# Draws a write id of its own for every row (protocol V2), and says when it is written.
DrawWrite = Callable[[], Write]


class Stored(NamedTuple):
    """A record and the key of its row; deriving the key again would cost more than reading it."""

    record_id: bytes
    record: Record


# By batch_id and item_id.
Found = dict[tuple[UUID, str], Stored]

_KEY = records.c.record_id == bindparam("key")
_IS_ITEM = (records.c.batch_id == bindparam("of_batch"), records.c.item_id.in_(texts_in("item_ids")))
_OF_ITEMS = RawStatement(select(*COLUMNS).where(*_IS_ITEM))
_KEYS_OF_ITEMS = RawStatement(
    select(records.c.record_id, records.c.item_id, records.c.write_id).where(*_IS_ITEM)
)


def _update(names: Sequence[str]) -> BulkStatement:
    changes: dict[str, Any] = {name: bindparam(name) for name in names}
    return BulkStatement(update(records).where(_KEY).values(changes), [*names, "key"])


_WHOLE = insert(records).values({name: bindparam(name) for name in NAMES})
_INSERT_NEW = BulkStatement(_WHOLE.on_conflict_do_nothing(), NAMES)
_REPLACE = BulkStatement(
    _WHOLE.on_conflict_do_update(
        index_elements=["record_id"], set_={name: _WHOLE.excluded[name] for name in NAMES[1:]}
    ),
    NAMES,
)
_MOVE = _update(STATE_NAMES)
_SHOW = _update(SHOWN_NAMES)


def insert_new(connection: Connection, new: Iterable[Record]) -> int:
    """Store the records that are not there yet; returns how many."""
    return _INSERT_NEW.execute(connection, [values_of(record) for record in new])


def replace(connection: Connection, changed: Iterable[Record]) -> None:
    """Store the records whole, whatever was there."""
    _REPLACE.execute(connection, [values_of(record) for record in changed])


def move(connection: Connection, moved: Iterable[tuple[bytes, Record]]) -> None:
    """Write all that a move can change of records that are there, given with their keys."""
    _MOVE.execute(connection, [(*state_of(record), key) for key, record in moved])


def show(connection: Connection, shown: Iterable[tuple[bytes, Record]]) -> None:
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


def find(connection: Connection, wanted: Iterable[Record]) -> Found:
    """Those of the records that are stored, as they are stored.

    A stored row that bears the write id of the record in hand is that record (protocol V2): it is not read again.
    """
    in_hand = {(record.batch_id, record.item_id, record.version.write_id): record for record in wanted}
    found: Found = {}
    for batch_id, item_ids in _by_batch(in_hand).items():
        others = []
        for record_id, item_id, write_id in _rows(_KEYS_OF_ITEMS, connection, batch_id, item_ids):
            record = in_hand.get((batch_id, item_id, write_id))
            if record is None:
                others.append(item_id)
            else:
                found[batch_id, item_id] = Stored(record_id, record)
        for row in _rows(_OF_ITEMS, connection, batch_id, others):
            record = record_of(row)
            found[batch_id, record.item_id] = Stored(row[0], record)
    return found


def _by_batch(keys: Iterable[tuple[UUID, str, str]]) -> dict[UUID, list[str]]:
    item_ids: dict[UUID, list[str]] = {}
    for batch_id, item_id, _ in keys:
        item_ids.setdefault(batch_id, []).append(item_id)
    return item_ids


def _rows(
    statement: RawStatement, connection: Connection, batch_id: UUID, item_ids: Sequence[str]
) -> Sequence[Row[Any]]:
    if not item_ids:
        return ()
    parameters = {"of_batch": batch_id.bytes, "item_ids": packed_texts(item_ids)}
    return statement.execute(connection, parameters).all()


def missing_items(connection: Connection, batch_id: UUID, item_ids: Sequence[str]) -> list[str]:
    """Those of the items that the batch does not have, each once, in the order given."""
    there = {row.item_id for row in _rows(_KEYS_OF_ITEMS, connection, batch_id, item_ids)}
    return list(dict.fromkeys(item_id for item_id in item_ids if item_id not in there))
