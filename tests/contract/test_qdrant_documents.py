"""The Qdrant database keeps the document contract."""

from collections.abc import AsyncIterator

import pytest

from gristmill.stores.qdrant.database import QdrantDatabase
from tests.contract.documents_contract import DocumentsContract
from tests.support.clocks import ManualClock
from tests.support.qdrant_databases import new_qdrant


class TestQdrantDocuments(DocumentsContract):
    @pytest.fixture
    def clock(self) -> ManualClock:
        return ManualClock()

    @pytest.fixture
    async def database(self, clock: ManualClock) -> AsyncIterator[QdrantDatabase]:
        database = await new_qdrant(clock)
        yield database
        await database.close()
