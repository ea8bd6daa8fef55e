"""How the ports of failover reach a database."""

from typing import TypeVar

from gristmill.ports.replication import acknowledge
from gristmill.stores.failover.links import Links
from gristmill.stores.failover.pair import Pair
from gristmill.stores.failover.side import Operation

_Value = TypeVar("_Value")


class Access:
    def __init__(self, pair: Pair, links: Links) -> None:
        self._pair = pair
        self._links = links

    async def read(self, operation: Operation[_Value]) -> _Value:
        _, _, value = await self._pair.call(operation, writes=False)
        return value

    async def write(self, operation: Operation[_Value]) -> _Value:
        """Write to the database that serves, then bring it across; the acknowledgement says whether that was done.

        If the one that was written to dies before what it wrote was sent, nobody was told of the write yet: it is made
        once more, on the other one. Every operation bears that, as it bears a lost answer.
        """
        side, before, value = await self._pair.call(operation, writes=True)
        replicated = await self._links.replicate(side, since=before.identity)
        if not replicated and side.is_down and not self._pair.other(side).is_down:
            side, before, value = await self._pair.call(operation, writes=True)
            replicated = await self._links.replicate(side, since=before.identity)
        acknowledge(replicated=replicated)
        return value
