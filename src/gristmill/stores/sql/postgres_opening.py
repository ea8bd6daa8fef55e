"""Bringing a database of PostgreSQL to the schema this program knows: once, under a lock, whoever comes first."""

from collections.abc import Iterator
from contextlib import contextmanager

from psycopg import IsolationLevel
from sqlalchemy import Connection, Engine

from gristmill.ports.errors import ConfigurationError
from gristmill.stores.sql.opening import HEAD, REVISIONS, out_of_date
from gristmill.stores.sql.postgres import Server

OLDEST_VERSION = 15
# The table that holds the revision also marks the schema as ours.
VERSION_TABLE = "gristmill_schema"
_LOCK = 0x47524D4C  # "GRML"
_MIGRATION_SECONDS = 600.0

_SERVER = "SELECT current_setting('server_version_num')::int / 10000, current_setting('server_encoding')"
_FOUND = f"SELECT to_regclass('{VERSION_TABLE}') IS NOT NULL"
_REVISION = f"SELECT version_num FROM {VERSION_TABLE}"  # noqa: S608 (a constant)
# Tables of the schema that no extension brought.
_TABLES = """
    SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = current_schema()::regnamespace
    AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_class.oid AND deptype = 'e')
    ORDER BY relname LIMIT 1"""


def bring_up_to_date(server: Server, *, migrate: bool = True) -> None:
    """Create the tables or migrate them; costs next to nothing when there is nothing to do.

    Blocks while another process does the same. Raises ConfigurationError when the schema is not ours, is newer than
    this program or cannot be written, or when the server is too old; without ``migrate`` also when anything would have
    to be done. StoreUnavailableError when it cannot be reached.
    """
    found = revision(server)
    if found == HEAD:
        return
    if not migrate:
        raise out_of_date(str(server), found)
    with _migrating(server) as connection:
        if _revision(server, connection) != HEAD:
            # Only here: Alembic takes longer to load than everything else.
            from gristmill.stores.sql.migrations import apply  # noqa: PLC0415

            apply(connection, version_table=VERSION_TABLE)


def revision(server: Server) -> str | None:
    """The revision the schema is at, None if there is nothing in it yet. Raises as ``bring_up_to_date`` does."""
    with server.translated_errors(), _engine(server, limit=None) as engine, engine.connect() as connection:
        _check_server(server, connection)
        return _revision(server, connection)


def downgrade(server: Server, to: str) -> None:
    """Go back to an older revision; under the same lock, in one transaction."""
    from gristmill.stores.sql.migrations import undo  # noqa: PLC0415

    with _migrating(server) as connection:
        undo(connection, revision=to, version_table=VERSION_TABLE)


@contextmanager
def _migrating(server: Server) -> Iterator[Connection]:
    """A transaction that may take long, and that nobody else changes the schema beside."""
    with (
        server.translated_errors(),
        _engine(server, limit=_MIGRATION_SECONDS) as engine,
        engine.begin() as connection,
    ):
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK:d})")
        yield connection


@contextmanager
def _engine(server: Server, *, limit: float | None) -> Iterator[Engine]:
    engine = server.engine(connections=1, isolation=IsolationLevel.READ_COMMITTED, limit=limit)
    try:
        yield engine
    finally:
        engine.dispose()


def _check_server(server: Server, connection: Connection) -> None:
    version, encoding = connection.exec_driver_sql(_SERVER).one()
    if version < OLDEST_VERSION:
        raise ConfigurationError(
            f"{server} is PostgreSQL {version}. Gristmill needs {OLDEST_VERSION} or newer: upgrade the server."
        )
    if encoding != "UTF8":
        raise ConfigurationError(
            f"{server} stores text as {encoding}. Create the database with ENCODING 'UTF8' TEMPLATE template0."
        )


def _revision(server: Server, connection: Connection) -> str | None:
    """The revision the schema is at, None if there is nothing in it yet."""
    if connection.exec_driver_sql(_FOUND).scalar():
        revision = connection.exec_driver_sql(_REVISION).scalar()
        return _known(server, str(revision))
    other = connection.exec_driver_sql(_TABLES).scalar()
    if other is not None:
        raise ConfigurationError(
            f"{server} holds tables of another program, such as '{other}'. Give Gristmill a database of its own, or "
            "a schema: append ?options=-csearch_path%3DNAME to POSTGRESQL_URL."
        )
    return None


def _known(server: Server, revision: str) -> str:
    if revision not in REVISIONS:
        raise ConfigurationError(
            f"{server} was written by a newer Gristmill (schema {revision}, this one knows {HEAD}). "
            "Install that version or a later one, or choose another database."
        )
    return revision
