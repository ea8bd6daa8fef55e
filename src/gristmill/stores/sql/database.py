"""The databases of SQL, their ports bundled: a file of SQLite, or a database of a PostgreSQL server."""

import asyncio
import sqlite3
import time
from abc import ABC, abstractmethod
from datetime import datetime
from pathlib import Path
from uuid import uuid4

from sqlalchemy import Connection

from gristmill.domain.moves import Write
from gristmill.domain.retry import RetryPolicy
from gristmill.domain.versions import WriteIds
from gristmill.ports.clock import Clock
from gristmill.ports.database import Health
from gristmill.stores.sql import opening
from gristmill.stores.sql.batches import SqlBatches
from gristmill.stores.sql.connections import Connections
from gristmill.stores.sql.dialects import SQLITE
from gristmill.stores.sql.documents import SqlDocuments
from gristmill.stores.sql.nearest import NearestVectors
from gristmill.stores.sql.replication import SqlReplication
from gristmill.stores.sql.sqlite import SqliteFile
from gristmill.stores.sql.transactions import Access


class AnySqlDatabase(ABC):
    """For one event loop. ``folder`` is for files that derive from the database."""

    name: str

    def __init__(
        self,
        access: Access,
        *,
        clock: Clock,
        retry_policy: RetryPolicy | None,
        folder: Path,
        nearest: NearestVectors | None = None,
    ) -> None:
        self._clock = clock
        self._write_ids = WriteIds(uuid4().hex[:16])
        self._connections = Connections(access, finish=self._finish)
        self.replication = SqlReplication(self._connections, clock=clock, draw=self._draw)
        self.batches = SqlBatches(
            self._connections, clock, retry_policy=retry_policy or RetryPolicy(), write_ids=self._write_ids
        )
        self.documents = SqlDocuments(self._connections, clock=clock, folder=folder, nearest=nearest)

    def _finish(self, connection: Connection) -> None:
        self.replication.finish(connection)

    def _draw(self) -> Write:
        return Write(now=self._clock.now(), write_id=self._write_ids.draw())

    async def open(self) -> None:
        await asyncio.to_thread(self._bring_up_to_date)

    @abstractmethod
    def _bring_up_to_date(self) -> None: ...

    async def close(self) -> None:
        await self._connections.close()

    async def check(self) -> Health:
        started = time.perf_counter()
        problem, clock, details = None, None, dict(self._details())
        try:
            said, clock = await self._connections.run_read(
                lambda asked: (self._ask(asked), self._time_there(asked))
            )
            details |= said
        except Exception as error:  # noqa: BLE001 (whatever it is, it is the answer)
            problem = str(error) or type(error).__name__
        return Health(
            database=self.name,
            ok=problem is None,
            latency_seconds=time.perf_counter() - started,
            details=details,
            problem=problem,
            clock=clock,
        )

    @abstractmethod
    def _details(self) -> dict[str, str]:
        """What can be said without asking it."""

    @abstractmethod
    def _ask(self, connection: Connection) -> dict[str, str]:
        """What it says of itself; raises if it cannot serve."""

    def _time_there(self, _connection: Connection) -> datetime | None:
        """Its own clock; a file has none."""
        return None

    async def tidy(self) -> None:
        await self.documents.tidy()


class SqlDatabase(AnySqlDatabase):
    """One SQLite file; any number of processes may have it open."""

    name = SQLITE

    def __init__(
        self,
        path: Path,
        *,
        clock: Clock,
        retry_policy: RetryPolicy | None = None,
        auto_migrate: bool = True,
    ) -> None:
        self._path = path
        self._auto_migrate = auto_migrate
        folder = path.with_name(f"{path.name}.vectors")
        super().__init__(SqliteFile(path), clock=clock, retry_policy=retry_policy, folder=folder)

    def _bring_up_to_date(self) -> None:
        opening.bring_up_to_date(self._path, migrate=self._auto_migrate)

    def _details(self) -> dict[str, str]:
        return {"path": str(self._path), "sqlite": sqlite3.sqlite_version}

    def _ask(self, connection: Connection) -> dict[str, str]:
        connection.exec_driver_sql("SELECT count(*) FROM workers").scalar()
        return {"bytes": str(self._path.stat().st_size)}
