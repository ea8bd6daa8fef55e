"""The SQLite database keeps the document contract."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gristmill.stores.sql.database import SqlDatabase
from tests.contract.documents_contract import DocumentsContract
from tests.support.clocks import ManualClock
from tests.support.databases import new_sqlite


class TestSqliteDocuments(DocumentsContract):
    @pytest.fixture
    def clock(self) -> ManualClock:
        return ManualClock()

    @pytest.fixture
    async def database(self, clock: ManualClock, tmp_path: Path) -> AsyncIterator[SqlDatabase]:
        database = await new_sqlite(tmp_path, clock)
        yield database
        await database.close()
