"""Failover over two databases keeps the document contract, whichever of them is up."""

from collections.abc import AsyncIterator

import pytest

from gristmill.ports.documents import Published
from gristmill.stores.failover import FailoverDatabase
from tests.contract.documents_contract import DocumentsContract
from tests.contract.failover_setups import SETUPS, failover
from tests.support.clocks import ManualClock


class _FailoverDocuments(DocumentsContract):
    order: tuple[str, str]
    # It depends on whether the two have met: only then a database remembers what it deleted.
    unknown = frozenset({Published.SUPERSEDED, Published.INCOMPLETE})

    @pytest.fixture
    def clock(self) -> ManualClock:
        return ManualClock()

    @pytest.fixture(params=SETUPS)
    async def database(
        self, clock: ManualClock, request: pytest.FixtureRequest
    ) -> AsyncIterator[FailoverDatabase]:
        async with failover(clock, self.order, request.param) as database:
            yield database


class TestFailoverDocuments(_FailoverDocuments):
    order = ("one", "two")


class TestFailoverDocumentsTheOtherWayRound(_FailoverDocuments):
    order = ("two", "one")
