"""The memory database keeps the document contract."""

import pytest

from gristmill.stores.memory import MemoryDatabase
from tests.contract.documents_contract import DocumentsContract
from tests.support.clocks import ManualClock


class TestMemoryDocuments(DocumentsContract):
    @pytest.fixture
    def clock(self) -> ManualClock:
        return ManualClock()

    @pytest.fixture
    async def database(self, clock: ManualClock) -> MemoryDatabase:
        database = MemoryDatabase(clock)
        await database.open()
        return database
