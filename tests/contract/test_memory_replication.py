"""The memory database keeps the replication contract."""

import pytest

from gristmill.stores.memory import MemoryDatabase
from tests.contract.replication_contract import ReplicationContract
from tests.support.clocks import ManualClock


class TestMemoryReplication(ReplicationContract):
    @pytest.fixture
    def clock(self) -> ManualClock:
        return ManualClock()

    @pytest.fixture
    async def database(self, clock: ManualClock) -> MemoryDatabase:
        return MemoryDatabase(clock, name="one")

    @pytest.fixture
    async def other(self, clock: ManualClock) -> MemoryDatabase:
        return MemoryDatabase(clock, name="two")
