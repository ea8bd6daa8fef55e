"""Records in and out of their table, in bulk."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, bindparam, literal, select, update
from sqlalchemy.dialects.sqlite import insert

from gristmill.domain.moves import Write
from gristmill.domain.record import Record
from gristmill.stores.sql.columns import instant
from gristmill.stores.sql.raw import BulkStatement
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

# Draws a write id of its own for every row (protocol V2), and says when it is written.
DrawWrite = Callable[[], Write]


class Stored(NamedTuple):
    """A record and the key of its row; deriving the key again would cost more than reading it."""

    record_id: bytes
    record: Record


# By batch_id and item_id.
Found = dict[tuple[UUID, str], Stored]

_KEY = records.c.record_id == bindparam("key")
_OF_ITEMS = select(*COLUMNS).where(
    records.c.batch_id == bindparam("batch_id"), records.c.item_id.in_(bindparam("item_ids", expanding=True))
)
_MOST_ITEMS = 10_000  # SQLite takes at most 32,766 parameters in a statement.


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
    """Those of the records that are stored, as they are stored."""
    item_ids: dict[UUID, list[str]] = {}
    for record in wanted:
        item_ids.setdefault(record.batch_id, []).append(record.item_id)
    found: Found = {}
    for batch_id, ids in item_ids.items():
        for row in _rows_of(connection, batch_id, ids):
            record = record_of(row)
            found[batch_id, record.item_id] = Stored(row[0], record)
    return found


def _rows_of(connection: Connection, batch_id: UUID, item_ids: Sequence[str]) -> list[Sequence[Any]]:
    rows: list[Sequence[Any]] = []
    for start in range(0, len(item_ids), _MOST_ITEMS):
        wanted = {"batch_id": batch_id, "item_ids": item_ids[start : start + _MOST_ITEMS]}
        rows += connection.execute(_OF_ITEMS, wanted).all()
    return rows


def missing_items(connection: Connection, batch_id: UUID, item_ids: Sequence[str]) -> list[str]:
    """Those of the items that the batch does not have, each once, in the order given."""
    there = {row[2] for row in _rows_of(connection, batch_id, item_ids)}
    return list(dict.fromkeys(item_id for item_id in item_ids if item_id not in there))
