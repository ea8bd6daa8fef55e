"""The Qdrant database keeps the replication contract, beside one in memory."""

from collections.abc import AsyncIterator

import pytest

from gristmill.stores.memory import MemoryDatabase
from gristmill.stores.qdrant.database import QdrantDatabase
from tests.contract.replication_contract import ReplicationContract
from tests.support.clocks import ManualClock
from tests.support.qdrant_databases import new_qdrant


class TestQdrantReplication(ReplicationContract):
    @pytest.fixture
    def clock(self) -> ManualClock:
        return ManualClock()

    @pytest.fixture
    async def database(self, clock: ManualClock) -> AsyncIterator[QdrantDatabase]:
        database = await new_qdrant(clock)
        yield database
        await database.close()

    @pytest.fixture
    async def other(self, clock: ManualClock) -> MemoryDatabase:
        return MemoryDatabase(clock, name="memory")
