"""The PostgreSQL database keeps the document contract."""

from collections.abc import AsyncIterator

import pytest

from gristmill.stores.sql.postgres_database import PostgresDatabase
from tests.contract.documents_contract import DocumentsContract
from tests.support.clocks import ManualClock
from tests.support.postgres_databases import PostgresHost


class TestPostgresDocuments(DocumentsContract):
    @pytest.fixture
    def clock(self) -> ManualClock:
        return ManualClock()

    @pytest.fixture
    async def database(self, clock: ManualClock, postgres: PostgresHost) -> AsyncIterator[PostgresDatabase]:
        async with postgres.opened(clock) as database:
            yield database
