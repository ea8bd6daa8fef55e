"""Failover over a real PostgreSQL and a real Qdrant, each behind a proxy that a test can cut."""

import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx

from gristmill.insights import verifying
from gristmill.ports.clock import Clock
from gristmill.ports.database import ReplicatedDatabase
from gristmill.stores.failover import FailoverDatabase, FailoverOptions
from gristmill.stores.qdrant.connection import QdrantOptions
from gristmill.stores.qdrant.database import QdrantDatabase
from gristmill.stores.sql.postgres import Server
from gristmill.stores.sql.postgres_database import PostgresDatabase
from tests.support.postgres_databases import PostgresHost
from tests.support.qdrant_databases import emptied
from tests.support.tcp_proxy import HOST, TcpProxy, tcp_proxy

POSTGRESQL, QDRANT = PostgresDatabase.name, QdrantDatabase.name
ORDERS = [(POSTGRESQL, QDRANT), (QDRANT, POSTGRESQL)]
_CYCLES = 3


@dataclass(frozen=True, slots=True)
class Proxied:
    """One of the two, and the line to it."""

    database: ReplicatedDatabase
    proxy: TcpProxy


@dataclass(frozen=True, slots=True)
class ServerPair:
    preferred: Proxied
    standby: Proxied

    def over(self, clock: Clock, options: FailoverOptions) -> FailoverDatabase:
        """Not opened yet."""
        return FailoverDatabase(
            self.preferred.database, self.standby.database, clock=clock, options=options, by="this"
        )

    async def converge(self, database: FailoverDatabase) -> None:
        """With both lines mended the two must come to hold the same."""
        for each in (self.preferred, self.standby):
            await each.proxy.restore()
        for _ in range(_CYCLES):
            if await database.reconcile():
                break
        else:
            raise AssertionError(f"they did not converge: {database.status()}")
        found = await verifying.verify(*database.databases, look_again=[0.0])
        assert found.count == 0, found.differences


@dataclass(frozen=True, slots=True)
class Servers:
    """Where an empty database of each is, seen through ``proxies``."""

    postgresql: Server
    qdrant: QdrantOptions
    proxies: Mapping[str, TcpProxy]


@asynccontextmanager
async def proxied_servers(postgres: PostgresHost) -> AsyncIterator[Servers]:
    chosen = emptied()
    with postgres.migrated() as name:
        server = postgres.server(name)
        url = httpx.URL(chosen.url)
        assert server.url.host is not None
        async with (
            tcp_proxy(server.url.host, server.url.port or 5432) as to_postgres,
            tcp_proxy(url.host, url.port or 6333) as to_qdrant,
        ):
            yield Servers(
                replace(server, url=server.url.set(host=HOST, port=to_postgres.port)),
                replace(chosen, url=str(url.copy_with(host=HOST, port=to_qdrant.port))),
                {POSTGRESQL: to_postgres, QDRANT: to_qdrant},
            )


@asynccontextmanager
async def server_pair(
    clock: Clock, postgres: PostgresHost, order: Sequence[str]
) -> AsyncIterator[ServerPair]:
    """Both empty, neither opened; whoever opens them closes them."""
    with tempfile.TemporaryDirectory() as folder:
        async with proxied_servers(postgres) as servers:
            databases: dict[str, ReplicatedDatabase] = {
                POSTGRESQL: PostgresDatabase(servers.postgresql, clock=clock, folder=Path(folder)),
                QDRANT: QdrantDatabase(servers.qdrant, clock=clock),
            }
            yield ServerPair(*(Proxied(databases[name], servers.proxies[name]) for name in order))
