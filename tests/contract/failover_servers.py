"""Failover over PostgreSQL and Qdrant, in the states in which it must keep every contract."""

import os
from collections.abc import AsyncIterator
from random import Random

import pytest

from gristmill.stores.failover import FailoverDatabase
from tests.contract.failover_setups import QUIET, SETUPS
from tests.support.clocks import ManualClock
from tests.support.postgres_databases import PostgresHost
from tests.support.server_pairs import ORDERS, POSTGRESQL, QDRANT, Proxied, server_pair

# With another one the lines are cut elsewhere.
SEED = os.environ.get("GRISTMILL_TEST_CUTS", "0")
# Pieces that may pass between the opening and a cut: nine tests of ten are longer.
MOST_PASSED = {POSTGRESQL: 400, QDRANT: 80}
# Preferred, standby, and what happens to them.
ARRANGEMENTS = [(*order, setup) for order in ORDERS for setup in SETUPS]
# Each setup once, the orders in turn.
HALF_OF_THEM = [(*ORDERS[n % 2], setup) for n, setup in enumerate(SETUPS)]


class OverServers:
    """Gives the fixtures of the contracts; at the end of every test the two databases must come to hold the same."""

    arrangements = ARRANGEMENTS

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        metafunc.parametrize("arrangement", self.arrangements, ids="-".join)

    @pytest.fixture
    def clock(self) -> ManualClock:
        return ManualClock()

    @pytest.fixture
    async def database(
        self,
        clock: ManualClock,
        postgres: PostgresHost,
        arrangement: tuple[str, str, str],
        request: pytest.FixtureRequest,
    ) -> AsyncIterator[FailoverDatabase]:
        *order, setup = arrangement
        async with server_pair(clock, postgres, order) as pair:
            if setup == "acting down from the start":
                pair.preferred.proxy.cut()
            database = pair.over(clock, QUIET)
            await database.open()
            if setup == "acting cut off in the middle":
                _cut_later(pair.preferred, request.node.nodeid)
            if setup == "standby cut off in the middle":
                _cut_later(pair.standby, request.node.nodeid)
            yield database
            try:
                await pair.converge(database)
            finally:
                await database.close()


def _cut_later(each: Proxied, test: str) -> None:
    each.proxy.cut_after = Random(f"{SEED} {test}").randrange(MOST_PASSED[each.database.name])
