"""A database of a PostgreSQL server. Apart from SQLite's, so that who has no server need not load the driver."""

import asyncio
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection

from gristmill.domain.retry import RetryPolicy
from gristmill.ports.clock import Clock
from gristmill.ports.database import Health
from gristmill.stores.sql import postgres_opening
from gristmill.stores.sql.database import AnySqlDatabase
from gristmill.stores.sql.dialects import POSTGRESQL
from gristmill.stores.sql.hnsw import HnswVectors
from gristmill.stores.sql.hnsw_building import FROM_VECTORS, HnswBuilder
from gristmill.stores.sql.postgres import Server

_ASKED = """
    SELECT current_setting('server_version'), pg_database_size(current_database()),
    (SELECT extversion FROM pg_extension WHERE extname = 'vector')"""


class PostgresDatabase(AnySqlDatabase):
    """Any number of processes on any number of machines may have it open."""

    name = POSTGRESQL

    def __init__(
        self,
        server: Server,
        *,
        clock: Clock,
        folder: Path,
        retry_policy: RetryPolicy | None = None,
        auto_migrate: bool = True,
        hnsw_from: int = FROM_VECTORS,
    ) -> None:
        """``hnsw_from``: vectors of one embedding identity from which an index is searched; 0: never."""
        self._server = server
        self._auto_migrate = auto_migrate
        self._builder = HnswBuilder(server, from_vectors=hnsw_from) if hnsw_from else None
        nearest = HnswVectors() if hnsw_from else None
        super().__init__(server, clock=clock, retry_policy=retry_policy, folder=folder, nearest=nearest)

    def _bring_up_to_date(self) -> None:
        postgres_opening.bring_up_to_date(self._server, migrate=self._auto_migrate)

    async def tidy(self) -> None:
        """Begin to index vectors too, once there are enough."""
        await super().tidy()
        if self._builder is not None and (wanted := await self._connections.run_read(self._builder.wanted)):
            self._builder.start(wanted)

    async def close(self) -> None:
        if self._builder is not None:
            await asyncio.to_thread(self._builder.stop)
        await super().close()
        if self._server.tunnel is not None:
            await asyncio.to_thread(self._server.tunnel.close)

    async def check(self) -> Health:
        health = await super().check()
        tunnel = self._server.tunnel
        return health if tunnel is None else replace(health, tunnel=tunnel.state)

    def _details(self) -> dict[str, str]:
        return {"server": str(self._server)}

    def _ask(self, connection: Connection) -> dict[str, str]:
        connection.exec_driver_sql("SELECT 1 FROM workers LIMIT 1").scalar()
        version, size, pgvector = connection.exec_driver_sql(_ASKED).one()
        return {"postgresql": version, "bytes": str(size), "pgvector": pgvector or "not created"}

    def _time_there(self, connection: Connection) -> datetime | None:
        now: datetime = connection.exec_driver_sql("SELECT clock_timestamp()").scalar_one()
        return now
