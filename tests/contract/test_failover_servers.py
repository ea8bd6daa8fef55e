"""Failover over PostgreSQL and Qdrant keeps the contracts in both orders, whichever of them is cut off, and when."""

from tests.contract.failover_servers import ARRANGEMENTS, HALF_OF_THEM, OverServers
from tests.contract.failover_setups import SOAK, Batches, Documents


class TestFailoverServersBatches(OverServers, Batches):
    pass


class TestFailoverServersDocuments(OverServers, Documents):
    arrangements = ARRANGEMENTS if SOAK else HALF_OF_THEM
