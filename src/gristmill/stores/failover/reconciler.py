"""The background work of failover, in every process that is open: look, catch up, hand over, purge."""

import asyncio
from datetime import timedelta

import structlog

from gristmill.ports.clock import Clock
from gristmill.ports.errors import AllStoresUnavailableError
from gristmill.ports.failover import Happening
from gristmill.stores.failover.events import Teller
from gristmill.stores.failover.links import Links
from gristmill.stores.failover.options import FailoverOptions
from gristmill.stores.failover.pair import Pair
from gristmill.stores.failover.side import Side, SideUnavailableError

_log = structlog.get_logger(__name__)


class Reconciler:
    def __init__(
        self, pair: Pair, links: Links, *, clock: Clock, options: FailoverOptions, teller: Teller
    ) -> None:
        self._pair = pair
        self._links = links
        self._clock = clock
        self._options = options
        self._teller = teller
        self._task: asyncio.Task[None] | None = None
        self._behind_since: float | None = None
        self._purged = clock.monotonic()
        self._cycling = asyncio.Lock()

    def start(self) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="failover-reconciler")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._options.reconcile_every)
            try:
                await self.cycle(patiently=True)
            except Exception:  # noqa: BLE001 - one cycle's mistake is not the end of all catching up.
                _log.exception("reconciling_failed")

    async def cycle(self, *, seconds: float | None = None, patiently: bool = False) -> bool:
        """Look at both databases and bring them together as far as they are there; whether they are.

        With ``seconds`` a backlog is left after so long; the next cycle goes on with it. ``patiently``: while all is
        well, what calls are about to bring over themselves is left to them, or everything would go over twice.
        """
        until = None if seconds is None else self._clock.monotonic() + seconds
        try:
            async with self._cycling:
                return await self._reconciled(until, patiently=patiently)
        except SideUnavailableError as error:
            if not error.side.is_down and (problem := await error.side.probe()) is not None:
                error.side.went_down(problem)
        except AllStoresUnavailableError as error:
            _log.debug("both_databases_down", reason=error.reason)
        return False

    async def last_chance(self) -> None:
        """What is owed though both databases are there, for as long as closing may take."""
        sides = self._pair.sides
        if any(side.lacks for side in sides) and not any(side.is_down for side in sides):
            await self.cycle(seconds=self._options.converge_at_close)

    async def _reconciled(self, until: float | None, *, patiently: bool) -> bool:
        there = await asyncio.gather(*(self._look(side) for side in self._pair.sides))
        if self._pair.acting.term == 0:
            await self._pair.choose()
        if self._pair.serving.is_down:
            await self._pair.call(_nothing, writes=False)  # Follow or switch, as any call would.
        if not all(there):
            return False
        await self._pair.check_trust()
        done = patiently and await self._links.only_in_flight()
        done = done or await self._links.converge(until=until)
        self._tell_of_catching_up(done=done)
        if done:
            await self._pair.nothing_missing()
            await self._hand_over()
            await self._purge()
        return done

    async def _look(self, side: Side) -> bool:
        """Whether the database serves; what it knows of who acts is heard."""
        if side.is_down and not await side.revive():
            return False
        await self._pair.hear(side, await self._pair.look(side))
        return True

    def _tell_of_catching_up(self, *, done: bool) -> None:
        now = self._clock.monotonic()
        if not done:
            self._behind_since = now if self._behind_since is None else self._behind_since
        elif self._behind_since is not None:
            other = self._pair.other(self._pair.serving)
            took, self._behind_since = now - self._behind_since, None
            self._teller.tell(Happening.CAUGHT_UP, other.name, "neither database owes anything", seconds=took)

    async def _hand_over(self) -> None:
        """Back to the preferred database once nothing is owed and it has been well for a while (A2, A3)."""
        preferred = self._pair.preferred
        if self._pair.serving is preferred or preferred.healthy_seconds < self._options.hand_over_after:
            return
        await self._pair.hand_over(preferred, "it is preferred, well and has caught up")

    async def _purge(self) -> None:
        now = self._clock.monotonic()
        if now - self._purged >= self._options.purge_every:
            self._purged = now
            age = timedelta(seconds=self._options.keep_tombstones)
            for side in self._pair.sides:
                await side.call(lambda database: database.replication.purge(age))


async def _nothing(_database: object) -> None:
    """Ask nothing of the database that serves: finding it is all."""
