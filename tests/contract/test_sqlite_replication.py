"""The SQLite database keeps the replication contract."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gristmill.stores.memory import MemoryDatabase
from gristmill.stores.sql.database import SqlDatabase
from tests.contract.replication_contract import ReplicationContract
from tests.support.clocks import ManualClock
from tests.support.databases import new_sqlite


class TestSqliteReplication(ReplicationContract):
    @pytest.fixture
    def clock(self) -> ManualClock:
        return ManualClock()

    @pytest.fixture
    async def database(self, clock: ManualClock, tmp_path: Path) -> AsyncIterator[SqlDatabase]:
        database = await new_sqlite(tmp_path, clock)
        yield database
        await database.close()

    @pytest.fixture
    async def other(self, clock: ManualClock) -> MemoryDatabase:
        return MemoryDatabase(clock, name="two")
