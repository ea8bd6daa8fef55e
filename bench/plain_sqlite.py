"""The baseline of the engine: plain sqlite3 over a table like ours, and nothing but the statements it cannot do without."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from sqlalchemy.dialects.sqlite import dialect
from sqlalchemy.schema import CreateIndex, CreateTable

from gristmill.domain.record import Item, Record
from gristmill.stores.sql import rows
from gristmill.stores.sql.tables import records

GROUP = 100
Row = tuple[Any, ...]

_INSERT = f"INSERT INTO records ({', '.join(rows.NAMES)}) VALUES ({', '.join('?' * len(rows.NAMES))})"
# Both statements write what ours write, but decide nothing and keep no figures.
_CLAIM = """
UPDATE records SET updated_at = ?1, status = 'processing', stage = 'queued', progress = 0, attempts = attempts + 1,
    claim_id = ?2, worker = 'worker', started_at = coalesce(started_at, ?1), ended_at = NULL, ending = 0,
    epoch = epoch + 1, step = 0, revision = revision + 1, stamp = ?1, write_id = 'w' || rowid, owed = 1, due = NULL
WHERE no IN (
    SELECT no FROM records WHERE due = 1 AND kind = ?3 ORDER BY claim_order, record_id LIMIT ?4
)
RETURNING *
"""
_COMPLETE = f"UPDATE records SET {', '.join(f'{name} = ?' for name in rows.COMPLETED_NAMES)} WHERE no = ?"


def rows_of(items: Sequence[Item]) -> list[Row]:
    return [rows.values_of(record) for record in records_of(items)]


def records_of(items: Sequence[Item]) -> list[Record]:
    """Pending records of one batch, each a little younger than the one before."""
    batch_id, start = uuid4(), datetime.now(UTC)
    times = (start + timedelta(microseconds=10 * number) for number in range(len(items)))
    return [_record(batch_id, *each) for each in zip(items, times, strict=True)]


def _record(batch_id: Any, item: Item, now: datetime) -> Record:
    return Record(
        batch_id=batch_id,
        item_id=item.item_id,
        kind=item.kind,
        source=item.source,
        payload=item.payload,
        priority=0,
        created_at=now,
        updated_at=now,
        next_attempt_at=now,
    )


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA cache_size = -65536")  # As much as ours has.
        for element in (CreateTable(records), *map(CreateIndex, records.indexes)):
            connection.execute(str(element.compile(dialect=dialect())))
        yield connection


def insert(connection: sqlite3.Connection, values: Sequence[Row]) -> None:
    for start in range(0, len(values), GROUP):
        with _transaction(connection):
            connection.executemany(_INSERT, values[start : start + GROUP])


def claim_and_complete(connection: sqlite3.Connection, kind: str) -> int:
    """Until nothing is left; returns how many it was."""
    done = 0
    while claimed := _claim(connection, kind, now=done):
        with _transaction(connection):
            connection.executemany(_COMPLETE, [(*completed(done), row[0]) for row in claimed])
        done += len(claimed)
    return done


def _claim(connection: sqlite3.Connection, kind: str, *, now: int) -> list[Row]:
    with _transaction(connection):
        return connection.execute(_CLAIM, (now, uuid4().hex, kind, GROUP)).fetchall()


def completed(now: int) -> Row:
    """In the order of COMPLETED_NAMES."""
    return (now, "completed", "done", 100, None, None, now, "{}", 3, 0, 3, now, "w:000000000001", True)


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    yield
    connection.execute("COMMIT")
