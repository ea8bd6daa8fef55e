"""Making the HNSW indexes that ``hnsw`` searches: once there are enough vectors, beside everything else.

The table of an index follows the vectors by a trigger, so whatever stores a vector also indexes it. It derives from
them: it may be dropped at any time, and is made again.
"""

import math
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psycopg
import structlog
from sqlalchemy import Connection

from gristmill.ports.errors import GristmillError
from gristmill.stores.sql.hnsw import index_of, table_of
from gristmill.stores.sql.postgres import Server

_log = structlog.get_logger(__name__)

# Of one embedding identity; below, comparing all of them takes some milliseconds and misses nothing.
FROM_VECTORS = 100_000
# As many as pgvector indexes in half precision.
MOST_DIMENSIONS = 4_000
_OLDEST_PGVECTOR = (0, 8)
_LONGEST_BUILD_SECONDS = 4 * 3_600.0
_AGAIN_AFTER_SECONDS = 600.0
_STOPS_WITHIN_SECONDS = 10.0
_COPIED_AT_A_TIME = 2_000
_LOCK = 0x474D4856  # "GMHV"

_WANTED = f"""
    SELECT no, dimensions FROM embeddings AS e WHERE dimensions <= {MOST_DIMENSIONS:d} AND %s <= (
        SELECT no FROM vectors WHERE embedding_no = e.no ORDER BY no DESC LIMIT 1)
    AND NOT EXISTS (SELECT FROM pg_index WHERE indisvalid
        AND indexrelid = to_regclass('vectors_' || e.no || '_hnsw'))"""  # noqa: S608 (a constant)
_EXTENSION = """
    SELECT extversion, nspname FROM pg_extension JOIN pg_namespace AS n ON n.oid = extnamespace WHERE extname = 'vector'"""
# From float32 as we store it, by its sign, its exponent and the upper 15 bits of its mantissa: the half precision of
# an index has 10. What is not finite, or too large, becomes the largest number there.
_FUNCTION = """
    CREATE OR REPLACE FUNCTION gristmill_halfvec(data bytea) RETURNS "{schema}".halfvec
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT ARRAY(
        SELECT (LEAST((u & 32767 | 32768) * power(2.0::float8, (u >> 15 & 255) - 142), 65504)
            * (1 - (u >> 22 & 2)))::real
        FROM (
            SELECT get_byte(data, i + 3) * 65536 + get_byte(data, i + 2) * 256 + get_byte(data, i + 1) AS u
            FROM generate_series(0, length(data) - 4, 4) AS i OFFSET 0
        ) AS bits
    )::"{schema}".halfvec $$"""
# In one transaction; the lock comes first, as it does for those who store vectors.
_TABLE = """
    LOCK TABLE vectors IN SHARE ROW EXCLUSIVE MODE;
    DROP TABLE IF EXISTS {table};
    CREATE TABLE {table} (no bigint PRIMARY KEY, embedding "{schema}".halfvec({dimensions}) NOT NULL);
    CREATE OR REPLACE FUNCTION {table}_follow() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
    BEGIN
        INSERT INTO {table} SELECT no, gristmill_halfvec(data) FROM fresh WHERE embedding_no = {embedding_no}
        ON CONFLICT DO NOTHING;
        RETURN NULL;
    EXCEPTION WHEN undefined_table OR undefined_column OR undefined_function OR undefined_object THEN
        RETURN NULL;  -- Somebody dropped what derives from the vectors; these are stored all the same.
    END $$;
    CREATE OR REPLACE TRIGGER {table}_follow AFTER INSERT ON vectors REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION {table}_follow()"""
_COPY = """
    WITH fresh AS MATERIALIZED (
        SELECT no, data FROM vectors WHERE embedding_no = {embedding_no} AND no > %s ORDER BY no LIMIT {most}
    ), copied AS (
        INSERT INTO {table} SELECT no, gristmill_halfvec(data) FROM fresh ON CONFLICT DO NOTHING
    ) SELECT max(no) FROM fresh"""
_INDEX = """
    CREATE INDEX CONCURRENTLY {index} ON {table} USING hnsw (embedding "{schema}".halfvec_cosine_ops)"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """An embedding identity with enough vectors and no index."""

    embedding_no: int
    dimensions: int


class HnswBuilder:
    """``from_vectors``: how many vectors make an index worth it."""

    def __init__(self, server: Server, *, from_vectors: int) -> None:
        self._server = server
        self._from_vectors = from_vectors
        self._next_try = -math.inf
        self._thread: threading.Thread | None = None
        self._connection: psycopg.Connection[Any] | None = None

    def wanted(self, connection: Connection) -> list[Wanted]:
        """Which to build now; none while one is built, and for a while after a failure."""
        if time.monotonic() < self._next_try or (self._thread is not None and self._thread.is_alive()):
            return []
        rows = connection.exec_driver_sql(_WANTED, (self._from_vectors,)).all()
        return [Wanted(*row) for row in rows]

    def start(self, wanted: Sequence[Wanted]) -> None:
        self._thread = threading.Thread(target=self._build, args=[wanted], name="gristmill-hnsw", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Give up what is being built; whoever comes next begins it anew. Safe to call twice."""
        if self._thread is None:
            return
        deadline = time.monotonic() + _STOPS_WITHIN_SECONDS
        while self._thread.is_alive() and time.monotonic() < deadline:
            if self._connection is not None:
                with suppress(psycopg.Error):
                    self._connection.cancel_safe(timeout=1)
            self._thread.join(0.05)

    def _build(self, wanted: Sequence[Wanted]) -> None:
        self._next_try = math.inf
        try:
            with self._server.alone(_LONGEST_BUILD_SECONDS) as connection:
                self._connection = connection
                _build_alone(connection, wanted)
        except _ImpossibleError as error:
            _log.warning("vectors_compared_one_by_one", server=str(self._server), reason=str(error))
        except (psycopg.OperationalError, GristmillError) as error:
            self._next_try = time.monotonic() + _AGAIN_AFTER_SECONDS
            _log.info("vector_index_not_built", server=str(self._server), reason=str(error))
        else:
            self._next_try = -math.inf
        finally:
            self._connection = None


class _ImpossibleError(Exception):
    """Only people can change it."""


def _build_alone(connection: psycopg.Connection[Any], wanted: Sequence[Wanted]) -> None:
    """Unless another process is at it."""
    (is_alone,) = _one(connection, "SELECT pg_try_advisory_lock(%s)", _LOCK)
    if not is_alone:
        return
    schema = _extension(connection)
    connection.execute("SET maintenance_work_mem = '256MB'")
    for each in wanted:
        started = time.monotonic()
        _build_one(connection, each, schema)
        seconds = round(time.monotonic() - started, 1)
        _log.info("vector_index_built", index=index_of(each.embedding_no), seconds=seconds)


def _extension(connection: psycopg.Connection[Any]) -> str:
    """The schema of pgvector, which is created if the server has it."""
    found = connection.execute(_EXTENSION).fetchone()
    if found is None:
        _create_extension(connection)
        found = connection.execute(_EXTENSION).fetchone()
        assert found is not None
    version, schema = found
    if tuple(map(int, version.split(".")[:2])) < _OLDEST_PGVECTOR:
        needed = ".".join(map(str, _OLDEST_PGVECTOR))
        raise _ImpossibleError(
            f"pgvector is {version}; {needed} or newer indexes them: ALTER EXTENSION vector UPDATE"
        )
    return str(schema)


def _create_extension(connection: psycopg.Connection[Any]) -> None:
    try:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    except psycopg.errors.InsufficientPrivilege as error:
        raise _ImpossibleError(
            "pgvector is there, and this user may not create it: as a superuser, CREATE EXTENSION vector"
        ) from error
    except (psycopg.errors.UndefinedFile, psycopg.errors.FeatureNotSupported) as error:
        raise _ImpossibleError("the server has no pgvector; install it there to have them indexed") from error


def _build_one(connection: psycopg.Connection[Any], wanted: Wanted, schema: str) -> None:
    names = {
        "schema": schema,
        "table": table_of(wanted.embedding_no),
        "index": index_of(wanted.embedding_no),
        "embedding_no": wanted.embedding_no,
        "dimensions": wanted.dimensions,
        "most": _COPIED_AT_A_TIME,
    }
    connection.execute(_FUNCTION.format(**names))
    connection.execute(_TABLE.format(**names))
    copied = 0
    while copied is not None:
        (copied,) = _one(connection, _COPY.format(**names), copied)
    connection.execute(_INDEX.format(**names))
    connection.execute("ANALYZE {table}".format(**names))


def _one(connection: psycopg.Connection[Any], statement: str, *values: object) -> tuple[Any, ...]:
    found = connection.execute(statement, values).fetchone()
    assert found is not None
    return tuple(found)
