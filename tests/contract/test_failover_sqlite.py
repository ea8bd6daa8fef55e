"""Failover over SQLite and memory keeps the contracts: batches with SQLite preferred, documents the other way round."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gristmill.ports.documents import Published
from gristmill.stores.failover import FailoverDatabase
from gristmill.stores.memory import MemoryDatabase
from tests.contract.failover_setups import QUIET, Batches, Documents
from tests.support.clocks import ManualClock
from tests.support.databases import new_sqlite


class _FailoverSqlite:
    sqlite_first: bool

    @pytest.fixture
    def clock(self) -> ManualClock:
        return ManualClock()

    @pytest.fixture
    async def database(self, clock: ManualClock, tmp_path: Path) -> AsyncIterator[FailoverDatabase]:
        pair = [await new_sqlite(tmp_path, clock), MemoryDatabase(clock, name="memory")]
        if not self.sqlite_first:
            pair.reverse()
        database = FailoverDatabase(*pair, clock=clock, options=QUIET, by="this")
        await database.open()
        yield database
        await database.close()


class TestFailoverSqliteBatches(_FailoverSqlite, Batches):
    sqlite_first = True


class TestFailoverSqliteDocuments(_FailoverSqlite, Documents):
    sqlite_first = False
    # It depends on whether the two have met: only then a database remembers what it deleted.
    unknown = frozenset({Published.SUPERSEDED, Published.INCOMPLETE})
