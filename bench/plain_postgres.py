"""The baseline of the engine on PostgreSQL: plain psycopg over a table like ours, and nothing but COPY, claims and completion."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import psycopg
from sqlalchemy.dialects.postgresql import dialect
from sqlalchemy.schema import CreateIndex, CreateTable

from bench.plain_sqlite import Row, completed
from gristmill.stores.sql import rows
from gristmill.stores.sql.tables import records

Plain = psycopg.Connection[Any]

_COPY = f"COPY records ({', '.join(rows.NAMES)}) FROM STDIN"
# Both statements write what ours write, but decide nothing and keep no figures.
_CLAIM = """
UPDATE records SET updated_at = %(now)s, status = 'processing', stage = 'queued', progress = 0,
    attempts = attempts + 1, claim_id = %(claim)s, worker = 'worker', started_at = coalesce(started_at, %(now)s),
    ended_at = NULL, ending = 0, epoch = epoch + 1, step = 0, revision = revision + 1, stamp = %(now)s,
    write_id = 'w' || no, owed = true, due = NULL
WHERE no = ANY(ARRAY(
    SELECT no FROM records WHERE due AND kind = %(kind)s ORDER BY claim_order, record_id LIMIT %(most)s
    FOR NO KEY UPDATE SKIP LOCKED
))
RETURNING *
"""
_COMPLETE = f"UPDATE records SET {', '.join(f'{name} = %s' for name in rows.COMPLETED_NAMES)} WHERE no = %s"


@contextmanager
def opened(url: str) -> Iterator[Plain]:
    """On a database without tables."""
    with psycopg.connect(url) as connection:
        for element in (CreateTable(records), *map(CreateIndex, records.indexes)):
            connection.execute(str(element.compile(dialect=dialect())))
        connection.commit()
        yield connection


def copy(connection: Plain, values: Sequence[Row], *, group: int) -> None:
    for start in range(0, len(values), group):
        with connection.cursor() as cursor, cursor.copy(_COPY) as stream:
            for row in values[start : start + group]:
                stream.write_row(row)
        connection.commit()


def claim_and_complete(connection: Plain, kind: str, *, group: int) -> int:
    """Until nothing is left; returns how many it was."""
    done = 0
    while claimed := _claim(connection, kind, now=done, most=group):
        with connection.cursor() as cursor:
            cursor.executemany(_COMPLETE, [(*completed(done), row[0]) for row in claimed])
        connection.commit()
        done += len(claimed)
    return done


def _claim(connection: Plain, kind: str, *, now: int, most: int) -> list[Row]:
    parameters = {"now": now, "claim": uuid4().hex, "kind": kind, "most": most}
    claimed = connection.execute(_CLAIM, parameters).fetchall()
    connection.commit()
    return claimed
