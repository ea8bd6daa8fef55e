"""The PostgreSQL database keeps the replication contract."""

from collections.abc import AsyncIterator

import pytest

from gristmill.stores.memory import MemoryDatabase
from gristmill.stores.sql.postgres_database import PostgresDatabase
from tests.contract.replication_contract import ReplicationContract
from tests.support.clocks import ManualClock
from tests.support.postgres_databases import PostgresHost


class TestPostgresReplication(ReplicationContract):
    @pytest.fixture
    def clock(self) -> ManualClock:
        return ManualClock()

    @pytest.fixture
    async def database(self, clock: ManualClock, postgres: PostgresHost) -> AsyncIterator[PostgresDatabase]:
        async with postgres.opened(clock) as database:
            yield database

    @pytest.fixture
    async def other(self, clock: ManualClock) -> MemoryDatabase:
        return MemoryDatabase(clock, name="two")
