"""Which of the two databases serves, and how every call finds it (A1, A2)."""

from typing import TypeVar

from gristmill.ports.clock import Clock
from gristmill.ports.errors import AllStoresUnavailableError
from gristmill.ports.failover import Happening
from gristmill.ports.replication import Acting, Identity, Missing, Standing
from gristmill.stores.failover.events import Teller
from gristmill.stores.failover.options import FailoverOptions
from gristmill.stores.failover.side import Operation, Side, SideUnavailableError

_Value = TypeVar("_Value")
_TRIES = 8  # Each one follows, leaves, or asks once more; more than these and both are flapping.


class Pair:
    """``acting`` is the highest row this process has read: it follows, and has no opinion of its own."""

    def __init__(
        self,
        preferred: Side,
        standby: Side,
        *,
        clock: Clock,
        options: FailoverOptions,
        teller: Teller,
        by: str,
    ) -> None:
        self.preferred = preferred
        self.sides = (preferred, standby)
        self.acting = Acting()
        self._clock = clock
        self._options = options
        self._teller = teller
        self._by = by
        self._asked_all: float | None = None

    @property
    def serving(self) -> Side:
        return next((side for side in self.sides if side.name == self.acting.database), self.preferred)

    def other(self, side: Side) -> Side:
        return self.sides[1] if side is self.sides[0] else self.sides[0]

    # -- calls ---------------------------------------------------------------------------------------

    async def call(self, operation: Operation[_Value], *, writes: bool) -> tuple[Side, Standing, _Value]:
        """Run the operation on the database that serves; also says which, and how it stood before.

        Raises AllStoresUnavailableError, and what the operation raises that is no outage.
        """
        doubted: set[str] = set()
        for _ in range(_TRIES):
            side = self.serving
            try:
                if side.is_down:
                    await self._leave(side)
                elif (standing := await self._follow(side)) is not None:
                    return side, standing, await side.call(operation)
            except SideUnavailableError as error:
                await self._examine(error, writes=writes, doubted=doubted)
        raise self._nobody()

    async def _examine(self, error: SideUnavailableError, *, writes: bool, doubted: set[str]) -> None:
        """Open the breaker only if a probe fails too; else the call is tried once more, and then its error stands."""
        side = error.side
        if side.is_down:
            return
        problem = await side.probe(writes=writes)
        if problem is not None:
            side.went_down(problem)
        elif side.name in doubted:
            raise error
        doubted.add(side.name)

    async def _follow(self, side: Side) -> Standing | None:
        """How the database stands, or None if it is not the one to ask."""
        remembered = self.other(side).remembers
        standing = await self.look(side)
        await self.hear(side, standing)
        if self.serving is not side:
            return None
        if self.acting.term == 0:
            await self.choose()
            return None
        if remembered is not None and not standing.identity.continues(remembered):
            await self.doubt(side, standing.identity, remembered)
            return None
        return standing

    async def look(self, side: Side) -> Standing:
        """How the database stands. One that fell behind what this process saw of it before becomes another one (A5).

        For when nobody else compared in time: whoever could not reach the other database may have written on.
        """
        known = side.seen  # Before it is asked: answers of calls beside each other may overtake each other.
        standing = await side.standing()
        if known is None or known == standing.identity or not known.continues(standing.identity):
            return standing
        await self._mark_as_another(side)
        return await side.standing()

    async def hear(self, side: Side, standing: Standing) -> None:
        """The higher term wins: here, and in the database that knows a lower one."""
        if standing.acting.term and standing.acting.beats(self.acting):
            before, self.acting = self.serving, standing.acting
            if before is not self.serving:
                self._teller.tell(Happening.SWITCHED, self.acting.database, self.acting.reason)
        elif self.acting.beats(standing.acting):
            await side.call(lambda database: database.replication.set_acting(self.acting))

    # -- choosing ------------------------------------------------------------------------------------

    async def choose(self) -> None:
        """Find who serves; where nobody ever did, the preferred one, unless the other one alone holds anything, or all."""
        found = {side.name: await side.standing() for side in self.sides if not side.is_down}
        for side in self.sides:
            if side.name in found:
                await self.hear(side, found[side.name])
        if self.acting.term > 0 or not found:
            return
        there = [side for side in self.sides if side.name in found]
        filled = [side for side in there if found[side.name].identity.sequence > 0]
        whole = [side for side in filled if not found[side.name].acting.is_half_copied]
        first = (whole or filled or there)[0]
        first.lacks = first.lacks or found[first.name].acting.missing
        await self.switch(first, "the first start")
        if self.other(first).is_down and self.serving is first and self.acting.by == self._by:
            # It may be a copy from before it served: nobody can be asked (A5).
            await self._become_another(first)

    async def _leave(self, side: Side) -> None:
        """Follow who left the database that is down, or be the first to leave it."""
        other = self.other(side)
        if other.is_down:
            await self._ask_all()
            return
        await self.hear(other, await other.standing())
        if self.serving is side:
            await self.switch(other, f"{side.name}: {side.problem}")

    async def switch(self, to: Side, reason: str) -> None:
        """Let another database serve from here on, under the next term."""
        new = Acting(
            term=self.acting.term + 1,
            database=to.name,
            since=self._clock.now(),
            by=self._by,
            reason=reason,
            missing=to.lacks,
        )
        await self._declare(new, first=to)
        if self.acting == new:
            self._teller.tell(Happening.SWITCHED, to.name, reason)

    async def nothing_missing(self) -> None:
        """What the serving database lacked has come (A4)."""
        if self.acting.missing is not None:
            now = Acting(
                self.acting.term + 1, self.acting.database, self.acting.since, self._by, self.acting.reason
            )
            await self._declare(now, first=self.serving)

    async def hand_over(self, to: Side, reason: str) -> None:
        """As ``switch``, told to the database that served first: everybody asks it and so follows."""
        new = Acting(self.acting.term + 1, to.name, self._clock.now(), self._by, reason)
        await self._declare(new, first=self.serving)
        if self.acting == new:
            self._teller.tell(Happening.SWITCHED, to.name, reason)
            await to.call(lambda database: database.replication.set_acting(new))

    async def _declare(self, new: Acting, *, first: Side) -> None:
        held = await first.call(lambda database: database.replication.set_acting(new))
        if held.beats(self.acting):
            self.acting = held

    async def _ask_all(self) -> None:
        """Both are down: ask them again, but not more often than once in a while."""
        now = self._clock.monotonic()
        if self._asked_all is not None and now - self._asked_all < self._options.reconcile_every:
            raise self._nobody()
        self._asked_all = now
        if not any([await side.revive() for side in self.sides]):
            raise self._nobody()

    def expect_one(self) -> None:
        """Raise AllStoresUnavailableError if both are down."""
        if all(side.is_down for side in self.sides):
            raise self._nobody()

    def _nobody(self) -> AllStoresUnavailableError:
        reasons = {side.name: side.problem or "it fails again and again" for side in self.sides}
        since = {side.name: side.down_since for side in self.sides if side.down_since is not None}
        return AllStoresUnavailableError(
            reasons, since=since, retry_after_seconds=max(1, round(self._options.reconcile_every))
        )

    # -- trust ---------------------------------------------------------------------------------------

    async def check_trust(self) -> None:
        """Find a database that came back empty, older or as another one, or that the other one never met (A5)."""
        for side in self.sides:
            other = self.other(side)
            # Read before, so that no write between the two is taken for a loss.
            remembered = (await other.standing()).peer
            found = (await self.look(side)).identity
            if not found.continues(remembered):
                await self._distrust(side, found, remembered)

    async def doubt(self, side: Side, found: Identity, remembered: Identity | None) -> None:
        """Act on a database that is not the one that was remembered, unless another process already has."""
        other = self.other(side)
        if other.is_down:
            await self._mark_as_another(side)
            return
        fresh = (await other.standing()).peer
        if fresh == remembered or not found.continues(fresh):
            await self._distrust(side, found, fresh)

    async def _mark_as_another(self, side: Side) -> None:
        """It serves alone, without what the other one would send it: that one must know when it comes back."""
        await self._become_another(side)
        self._teller.tell(Happening.DISTRUSTED, side.name, "it lacks writes that only the other database has")

    async def _become_another(self, side: Side) -> None:
        self.other(side).remembers = await side.call(lambda database: database.replication.reincarnate())

    async def _distrust(self, side: Side, found: Identity, remembered: Identity | None) -> None:
        """Owe everything to a database again. If it serves, it stops, unless the other one has not caught up itself."""
        other = self.other(side)
        rows = await self._owe_everything(other, found)
        if remembered is None:
            return  # The two met for the first time.
        self._teller.tell(
            Happening.DISTRUSTED, side.name, f"it lacks writes it had confirmed; {rows} are sent"
        )
        if self.serving is side and other.lacks is None:
            await self.switch(other, f"{side.name} came back without writes it had confirmed")
        if rows and side.lacks is None:
            side.lacks = Missing(rows, self._clock.now())

    async def owe_everything(self) -> None:
        """Let each database owe the other all it holds, what was set aside too."""
        for side in self.sides:
            await self._owe_everything(self.other(side), (await side.standing()).identity)

    async def _owe_everything(self, side: Side, peer: Identity) -> int:
        await side.settled()  # What was confirmed before it was lost.
        rows = await side.call(
            lambda database: database.replication.distrust(peer), within=self._options.open_timeout
        )
        side.remembers = peer
        return rows
