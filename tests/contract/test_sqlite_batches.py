"""The SQLite database keeps the batch contract."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gristmill.stores.sql.database import SqlDatabase
from tests.contract.batches_contract import BatchesContract
from tests.support.clocks import ManualClock


class TestSqliteBatches(BatchesContract):
    @pytest.fixture
    def clock(self) -> ManualClock:
        return ManualClock()

    @pytest.fixture
    async def database(self, clock: ManualClock, tmp_path: Path) -> AsyncIterator[SqlDatabase]:
        database = SqlDatabase(tmp_path / "gristmill.db", clock=clock)
        await database.open()
        yield database
        await database.close()
