"""Two databases behind the ports of one."""

import asyncio
from collections.abc import Callable, Sequence
from uuid import uuid4

from gristmill.ports.clock import Clock
from gristmill.ports.database import Health, ReplicatedDatabase
from gristmill.ports.failover import DatabaseStatus, FailoverEvent, FailoverStatus
from gristmill.stores.failover.access import Access
from gristmill.stores.failover.batches import FailoverBatches
from gristmill.stores.failover.documents import FailoverDocuments
from gristmill.stores.failover.events import Teller
from gristmill.stores.failover.links import Links
from gristmill.stores.failover.options import FailoverOptions
from gristmill.stores.failover.pair import Pair
from gristmill.stores.failover.reconciler import Reconciler
from gristmill.stores.failover.side import Side, SideUnavailableError


class FailoverDatabase:
    """Serves from the preferred database, or the standby while that one is away; what it writes goes to both.

    The rules are the protocol's (``docs/why/failover.md``). ``by`` names this process in the acting row. Calls raise
    AllStoresUnavailableError when neither database serves.
    """

    def __init__(
        self,
        preferred: ReplicatedDatabase,
        standby: ReplicatedDatabase,
        *,
        clock: Clock,
        options: FailoverOptions | None = None,
        by: str | None = None,
        listeners: Sequence[Callable[[FailoverEvent], None]] = (),
    ) -> None:
        if preferred.name == standby.name:
            raise ValueError(f"Two databases of the name {preferred.name!r} cannot be told apart.")
        self._options = options = options or FailoverOptions()
        self._teller = Teller(clock, list(listeners))
        sides = [
            Side(database, clock=clock, options=options, teller=self._teller)
            for database in (preferred, standby)
        ]
        self._pair = Pair(*sides, clock=clock, options=options, teller=self._teller, by=by or uuid4().hex)
        links = Links(self._pair, clock=clock, options=options, teller=self._teller)
        self._reconciler = Reconciler(self._pair, links, clock=clock, options=options, teller=self._teller)
        access = Access(self._pair, links)
        self.name = f"{preferred.name}+{standby.name}"
        self.batches = FailoverBatches(access)
        self.documents = FailoverDocuments(access)

    async def open(self) -> None:
        """Open both; one of them is enough.

        Raises ConfigurationError if either cannot work as it is set up, AllStoresUnavailableError if neither answers.
        """
        try:
            await self._open_sides()
            self._pair.expect_one()
            await self._reconciler.cycle(seconds=self._options.converge_at_open)
        except BaseException:
            await self._close_sides()
            raise
        self._reconciler.start()

    async def _open_sides(self) -> None:
        """Both, to their end: whoever is refused by one must not leave the other half open."""
        opened = await asyncio.gather(*(side.open() for side in self._pair.sides), return_exceptions=True)
        for error in opened:
            if error is not None:
                raise error

    async def close(self) -> None:
        """Close both. What one still owes the other though both are there is brought over, if a few seconds do."""
        await self._reconciler.stop()
        try:
            await self._reconciler.last_chance()
            await self.settled()
        finally:
            await self._close_sides()

    async def _close_sides(self) -> None:
        await asyncio.gather(*(side.close() for side in self._pair.sides))

    async def check(self) -> Health:
        """Well while one of the two is; the details name what is wrong with the other."""
        healths = await asyncio.gather(*(self._check(side) for side in self._pair.sides))
        details = {health.database: health.problem or "serves" for health in healths}
        well = [health for health in healths if health.ok]
        return Health(
            database=self.name,
            ok=bool(well),
            latency_seconds=max(health.latency_seconds for health in well or healths),
            details={**details, "acting": self._pair.serving.name},
            problem=None if well else "; ".join(f"{name}: {problem}" for name, problem in details.items()),
        )

    async def _check(self, side: Side) -> Health:
        try:
            return await side.call(lambda database: database.check())
        except SideUnavailableError as error:
            return Health(side.name, ok=False, latency_seconds=0.0, problem=error.reason)

    async def tidy(self) -> None:
        for side in self._pair.sides:
            if not side.is_down:
                await self._tidy(side)

    async def _tidy(self, side: Side) -> None:
        try:
            await side.call(lambda database: database.tidy())
        except SideUnavailableError as error:
            if (problem := await side.probe()) is not None:
                side.went_down(problem)
            elif side is self._pair.serving:
                raise error from None

    # -- failover ------------------------------------------------------------------------------------

    async def reconcile(self) -> bool:
        """Bring the two together now, as the background work does every second; whether neither owes anything."""
        return await self._reconciler.cycle()

    async def settled(self) -> None:
        """Wait for what follows a write beside the next ones: the marks of what both databases hold are settled."""
        for side in self._pair.sides:
            await side.settled()

    async def owe_everything(self) -> None:
        """Owe each database all that the other one holds, so that reconciling sends it again; for when they differ."""
        await self._pair.owe_everything()

    @property
    def databases(self) -> tuple[ReplicatedDatabase, ReplicatedDatabase]:
        """The two, the preferred one first."""
        preferred, standby = self._pair.sides
        return preferred.database, standby.database

    def status(self) -> FailoverStatus:
        """As this process last saw it; costs no call."""
        databases = [
            DatabaseStatus(
                name=side.name,
                acting=side is self._pair.serving,
                preferred=side is self._pair.preferred,
                problem=side.problem,
                owes=None if side.is_down else side.owes,
                lacks=side.lacks,
                received=side.received,
            )
            for side in self._pair.sides
        ]
        return FailoverStatus(databases, self._pair.acting, list(self._teller.newest))
