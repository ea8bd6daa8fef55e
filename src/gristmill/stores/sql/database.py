"""The SQLite database: its ports over one file, bundled."""

import asyncio
import sqlite3
import time
from pathlib import Path
from uuid import uuid4

from sqlalchemy import Connection

from gristmill.domain.retry import RetryPolicy
from gristmill.domain.versions import WriteIds
from gristmill.ports.clock import Clock
from gristmill.ports.database import Health
from gristmill.stores.sql import opening, sqlite
from gristmill.stores.sql.batches import SqlBatches
from gristmill.stores.sql.connections import Connections
from gristmill.stores.sql.documents import SqlDocuments


class SqlDatabase:
    """One SQLite file, for one event loop; any number of processes may have it open."""

    name = sqlite.NAME

    def __init__(self, path: Path, *, clock: Clock, retry_policy: RetryPolicy | None = None) -> None:
        self._path = path
        self._connections = Connections(path)
        self.batches = SqlBatches(
            self._connections,
            clock,
            retry_policy=retry_policy or RetryPolicy(),
            write_ids=WriteIds(uuid4().hex[:16]),
        )
        self.documents = SqlDocuments(
            self._connections, clock=clock, folder=path.with_name(f"{path.name}.vectors")
        )

    async def open(self) -> None:
        await asyncio.to_thread(opening.bring_up_to_date, self._path)

    async def close(self) -> None:
        await self._connections.close()

    async def check(self) -> Health:
        started = time.perf_counter()
        problem, details = None, {"path": str(self._path), "sqlite": sqlite3.sqlite_version}
        try:
            await self._connections.run_read(_ask)
            details["bytes"] = str(self._path.stat().st_size)
        except Exception as error:  # noqa: BLE001 (whatever it is, it is the answer)
            problem = str(error) or type(error).__name__
        return Health(
            database=self.name,
            ok=problem is None,
            latency_seconds=time.perf_counter() - started,
            details=details,
            problem=problem,
        )

    async def tidy(self) -> None:
        await self.documents.tidy()


def _ask(connection: Connection) -> None:
    connection.exec_driver_sql("SELECT count(*) FROM workers").scalar()
