"""Failover over PostgreSQL and Qdrant keeps the contracts in both orders, whichever of them is cut off, and when."""

from gristmill.ports.documents import Published
from tests.contract.failover_servers import ARRANGEMENTS, HALF_OF_THEM, OverServers
from tests.contract.failover_setups import SOAK, Batches, Documents


class TestFailoverServersBatches(OverServers, Batches):
    arrangements = ARRANGEMENTS if SOAK else HALF_OF_THEM


class TestFailoverServersDocuments(OverServers, Documents):
    arrangements = ARRANGEMENTS if SOAK else HALF_OF_THEM
    # It depends on whether the two have met: only then a database remembers what it deleted.
    unknown = frozenset({Published.SUPERSEDED, Published.INCOMPLETE})

    def check_new(self, new: int, *, of: int) -> None:
        """A call cut off after some pages of what it wrote went over is made again, and finds those there."""
        assert 0 < new <= of
