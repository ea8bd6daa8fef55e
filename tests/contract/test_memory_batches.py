"""The memory database keeps the batch contract."""

import pytest

from gristmill.stores.memory import MemoryDatabase
from tests.contract.batches_contract import BatchesContract
from tests.support.clocks import ManualClock


class TestMemoryBatches(BatchesContract):
    @pytest.fixture
    def clock(self) -> ManualClock:
        return ManualClock()

    @pytest.fixture
    async def database(self, clock: ManualClock) -> MemoryDatabase:
        database = MemoryDatabase(clock)
        await database.open()
        return database
