"""Empty PostgreSQL databases, quickly: those that tests are done with are emptied and given to others."""

import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
from sqlalchemy import make_url

from gristmill.ports.clock import Clock
from gristmill.stores.sql.postgres import Server
from gristmill.stores.sql.postgres_database import PostgresDatabase
from gristmill.stores.sql.postgres_opening import bring_up_to_date
from gristmill.stores.sql.tables import metadata
from tests.support.postgres_server import PostgresServer

URL = "TEST_POSTGRES_URL"
# The triggers of a database that was paired with another one; all of them come with functions of these names.
_UNPAIR = """
    DO $$ DECLARE name text; BEGIN
        FOR name IN SELECT proname FROM pg_proc WHERE proname LIKE 'note\\_%'
        LOOP EXECUTE format('DROP FUNCTION %I CASCADE', name); END LOOP;
    END $$"""


class PostgresHost:
    """Makes databases on one server; what it made is dropped with it."""

    def __init__(self, url: str) -> None:
        self._url = make_url(url)
        self._made: list[str] = []
        self._free: list[str] = []

    def server(self, name: str, **options: Any) -> Server:
        return Server(self._url.set(database=name), **options)

    def create(self, options: str = "ENCODING 'UTF8'") -> str:
        """The name of a new database without any tables."""
        name = f"gristmill_{uuid4().hex}"
        self._administer(f"CREATE DATABASE {name} TEMPLATE template0 {options}")
        self._made.append(name)
        return name

    @contextmanager
    def migrated(self) -> Iterator[str]:
        """The name of a database with our tables, all empty."""
        if not self._free:
            name = self.create()
            bring_up_to_date(self.server(name))
            self._free.append(name)
        name = self._free.pop()
        yield name
        emptied = (f"DELETE FROM {table.name}" for table in metadata.sorted_tables)
        self.execute(name, "; ".join([_UNPAIR, *emptied]))
        self._free.append(name)

    def execute(self, name: str, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Past the product, in a transaction of its own."""
        url = self._url.set(database=name).render_as_string(hide_password=False)
        with psycopg.connect(url) as connection:
            cursor = connection.execute(statement, parameters or None)
            return cursor.fetchall() if cursor.description else []

    @asynccontextmanager
    async def opened(self, clock: Clock, **options: Any) -> AsyncIterator[PostgresDatabase]:
        """An opened database of its own."""
        with self.migrated() as name:
            async with self.attached(name, clock, **options) as database:
                yield database

    @asynccontextmanager
    async def attached(self, name: str, clock: Clock, **options: Any) -> AsyncIterator[PostgresDatabase]:
        """One more process, as it were, that has this database open."""
        with tempfile.TemporaryDirectory() as folder:
            database = PostgresDatabase(self.server(name, **options), clock=clock, folder=Path(folder))
            await database.open()
            try:
                yield database
            finally:
                await database.close()

    def close(self) -> None:
        for name in self._made:
            self._administer(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def _administer(self, statement: str) -> None:
        url = self._url.render_as_string(hide_password=False)
        with closing(psycopg.connect(url, autocommit=True)) as connection:
            connection.execute(statement)


@contextmanager
def postgres_host() -> Iterator[PostgresHost]:
    """On the server of TEST_POSTGRES_URL, or on one of our own, without fsync: none of its users kills it."""
    given = os.environ.get(URL)
    server = None if given else PostgresServer()
    if server is not None:
        server.start()
    host = PostgresHost(given or server.url())
    try:
        yield host
    finally:
        host.close()
        if server is not None:
            server.remove()
