"""One of the two databases, its time-outs and its breaker."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from datetime import datetime
from typing import Any, TypeVar

from gristmill.ports.clock import Clock
from gristmill.ports.database import ReplicatedDatabase
from gristmill.ports.errors import AccessDeniedError, ConfigurationError, StoreUnavailableError
from gristmill.ports.failover import Happening
from gristmill.ports.replication import Identity, Missing, Owed, Standing
from gristmill.stores.failover.events import Teller
from gristmill.stores.failover.options import FailoverOptions

_Value = TypeVar("_Value")
Operation = Callable[[ReplicatedDatabase], Awaitable[_Value]]


class SideUnavailableError(StoreUnavailableError):
    """A call to one of the two databases met an outage, or what looks like one until it is probed (A2)."""

    def __init__(self, side: "Side", reason: str, advice: str) -> None:
        super().__init__(side.name, reason, advice)
        self.side = side


class Side:
    """``is_down`` is the open breaker: nothing but probes is sent then. ``down_since`` is None if it never answered.

    ``seen`` is the furthest this process itself saw it. ``remembers`` is the other database as this one knew it when
    it last answered, ``lacks`` what this one had not been sent when that was last known, ``received`` how many owed rows
    it was sent and confirmed.
    """

    def __init__(
        self, database: ReplicatedDatabase, *, clock: Clock, options: FailoverOptions, teller: Teller
    ) -> None:
        self.database = database
        self.name = database.name
        self._clock = clock
        self._options = options
        self._teller = teller
        self._opened = False
        self._since = clock.monotonic()
        self.problem: str | None = None
        self.down_since: datetime | None = None
        self.seen: Identity | None = None
        self.remembers: Identity | None = None
        self.owes: Owed | None = None
        self.lacks: Missing | None = None
        self.received = 0
        self._settling: set[asyncio.Task[None]] = set()

    @property
    def is_down(self) -> bool:
        return self.problem is not None

    @property
    def healthy_seconds(self) -> float:
        """For how long every call has been answered."""
        return 0.0 if self.is_down else self._clock.monotonic() - self._since

    async def call(self, operation: Operation[_Value], *, within: float | None = None) -> _Value:
        """Raises SideUnavailableError; every other error is the caller's or ours, and goes through."""
        try:
            return await self._within(within or self._options.call_timeout, operation(self.database))
        except AccessDeniedError as error:
            self.went_down(str(error))
            raise SideUnavailableError(self, str(error), "") from error
        except StoreUnavailableError as error:
            self._since = self._clock.monotonic()
            raise SideUnavailableError(self, error.reason, error.advice) from error

    async def _within(self, seconds: float, work: Awaitable[_Value]) -> _Value:
        try:
            async with asyncio.timeout(seconds) as limit:
                return await work
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise StoreUnavailableError(
                self.name, f"it did not answer within {seconds:g} s", "Look whether its server hangs."
            ) from error

    async def standing(self) -> Standing:
        """One cheap read before every call: it need not wait as long as a large write for a server that hangs."""
        seconds = min(self._options.probe_timeout, self._options.call_timeout)
        found = await self.call(lambda database: database.replication.standing(), within=seconds)
        self.hear(found)
        return found

    def hear(self, found: Standing) -> None:
        """Remember how it stood by any of its answers: also one that was only ever merged into may come back older."""
        self.remembers = found.peer
        if self.seen is None or not self.seen.continues(found.identity):
            self.seen = found.identity

    # -- marks ---------------------------------------------------------------------------------------

    def settle_beside(self, settling: Coroutine[Any, Any, None]) -> None:
        """Settle marks of this database beside whatever comes next."""
        self._settling.add(asyncio.create_task(settling))

    async def settled(self) -> None:
        """Wait for the marks that are being settled. Raises what went wrong with that, once."""
        if self._settling:
            done, _ = await asyncio.wait(self._settling)
            ended = done & self._settling
            self._settling -= done
            for each in ended:
                each.result()

    # -- the breaker ---------------------------------------------------------------------------------

    async def open(self) -> None:
        """Open the database. An outage opens the breaker; a ConfigurationError is raised."""
        try:
            await self._within(self._options.open_timeout, self._opened_unless_it_hangs())
        except StoreUnavailableError as error:
            self.went_down(error.reason)
        else:
            self._opened = True
            self._came_back()

    async def _opened_unless_it_hangs(self) -> None:
        """Opening may take long, to migrate; a database that hangs must not hold up the other one for as long."""
        opening = asyncio.ensure_future(self.database.open())
        try:
            done, _ = await asyncio.wait({opening}, timeout=self._options.probe_timeout)
            if not done:
                await self._within(self._options.probe_timeout, self.database.check())
            await opening
        finally:
            opening.cancel()

    async def close(self) -> None:
        """Close the database, whatever state it is in; a hanging one is left."""
        self._opened = False
        try:
            await self._within(self._options.call_timeout, self.database.close())
        except StoreUnavailableError as error:
            self.went_down(error.reason)

    async def probe(self, *, writes: bool = True) -> str | None:
        """What is wrong with the database, asked on a new connection; None if it serves (A2).

        With ``writes`` one that refuses writes does not serve.
        """
        try:
            if not self._opened:  # Then there may be nothing yet that could be checked.
                await self._within(self._options.open_timeout, self._opened_unless_it_hangs())
                self._opened = True
            health = await self._within(self._options.probe_timeout, self.database.check())
            if not health.ok:
                return health.problem or "its check fails"
            if writes:
                await self._within(self._options.probe_timeout, self.database.replication.touch())
        except StoreUnavailableError as error:
            return error.reason
        except ConfigurationError as error:
            return str(error)
        return None

    async def revive(self) -> bool:
        """Close the breaker if the database serves again."""
        problem = await self.probe()
        if problem is None:
            self._came_back()
        else:
            self.problem = problem
        return problem is None

    def went_down(self, problem: str) -> None:
        if not self.is_down:
            self._since = self._clock.monotonic()
            self.down_since = self._clock.now() if self._opened else None
            self._teller.tell(Happening.DOWN, self.name, problem)
        self.problem = problem

    def _came_back(self) -> None:
        if self.is_down:
            away = self._clock.monotonic() - self._since
            self.problem = self.down_since = None
            self._since = self._clock.monotonic()
            self._teller.tell(Happening.BACK, self.name, "it answers again", seconds=away)
