"""Failover over two databases keeps the batch contract, whichever of them is up."""

from collections.abc import AsyncIterator

import pytest

from gristmill.stores.failover import FailoverDatabase
from tests.contract.batches_contract import BatchesContract
from tests.contract.failover_setups import SETUPS, failover
from tests.support.clocks import ManualClock


class _FailoverBatches(BatchesContract):
    order: tuple[str, str]

    @pytest.fixture
    def clock(self) -> ManualClock:
        return ManualClock()

    @pytest.fixture(params=SETUPS)
    async def database(
        self, clock: ManualClock, request: pytest.FixtureRequest
    ) -> AsyncIterator[FailoverDatabase]:
        async with failover(clock, self.order, request.param) as database:
            yield database


class TestFailoverBatches(_FailoverBatches):
    order = ("one", "two")


class TestFailoverBatchesTheOtherWayRound(_FailoverBatches):
    order = ("two", "one")
