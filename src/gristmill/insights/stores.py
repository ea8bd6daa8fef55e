"""How the databases of an installation are, each asked for itself: also what does not open is told of."""

import asyncio
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TypeVar, cast

from gristmill.ports.clock import Clock
from gristmill.ports.database import Database, Health, ReplicatedDatabase, TunnelState
from gristmill.ports.errors import GristmillError, StoreUnavailableError
from gristmill.ports.replication import Acting, Owed, Replication, SetAside, Standing

SET_ASIDE_SHOWN = 20
_Value = TypeVar("_Value")


class State(StrEnum):
    SERVING = "serving"
    STANDBY = "standby"
    CATCHING_UP = "catching_up"  # The other one owes it rows.
    DOWN = "down"
    REFUSED = "refused"  # A matter of configuration: password, TLS, schema.


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """``owes`` is what it alone holds, for the other one; None for a database that is alone or does not answer.

    ``clock_ahead_seconds``: its own clock less ours; None where it has none. ``conflicts``: how many it keeps.
    """

    name: str
    state: State = State.STANDBY
    preferred: bool = False
    acting: bool = False
    problem: str | None = None
    latency_seconds: float | None = None
    clock_ahead_seconds: float | None = None
    tunnel: TunnelState | None = None
    details: Mapping[str, str] = field(default_factory=dict)
    owes: Owed | None = None
    set_aside: Sequence[SetAside] = ()
    standing: Standing | None = None
    conflicts: int = 0

    @property
    def half_copied(self) -> Acting | None:
        """The row in which it says so; None if no copy to it was cut short."""
        acting = None if self.standing is None else self.standing.acting
        return acting if acting is not None and acting.is_half_copied else None


@dataclass(frozen=True, slots=True)
class StoresStatus:
    """``acting`` is the newest row that any of them knows; term 0 before anything was written to two of them."""

    databases: Sequence[StoreStatus]
    acting: Acting

    @property
    def serves(self) -> bool:
        """Whether any database could be opened."""
        return any(each.problem is None for each in self.databases)


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds for a probe, and for what may take long, such as a migration."""

    probe: float = 3.0
    opening: float = 120.0


async def status(
    databases: Sequence[Database], *, clock: Clock, patience: Patience | None = None
) -> StoresStatus:
    """Open each one and ask it; the preferred one comes first. One that hangs is down after a probe's time."""
    looks = [_Look(each, clock, patience or Patience(), len(databases) > 1) for each in databases]
    found = await asyncio.gather(*(look.taken() for look in looks))
    acting = Acting()
    for each in found:
        if each.standing is not None and each.standing.acting.beats(acting):
            acting = each.standing.acting
    return StoresStatus(list(_in_their_roles(found, acting)), acting)


@dataclass(frozen=True, slots=True)
class _Look:
    database: Database
    clock: Clock
    patience: Patience
    paired: bool

    async def taken(self) -> StoreStatus:
        found = StoreStatus(self.database.name)
        try:
            # Whatever it says before it is open: one that hangs must not take as long as a migration may.
            asked = await self._within(self.patience.probe, self.database.check())
            found = replace(found, tunnel=asked.tunnel)
            found = self._with_its_health(found, await self._opened())
            found = replace(
                found, standing=await self._within(self.patience.opening, self._replication.standing())
            )
            return await self._with_what_it_owes(found) if self.paired else found
        except StoreUnavailableError as error:
            return replace(found, state=State.DOWN, problem=error.reason)
        except GristmillError as error:
            return replace(found, state=State.REFUSED, problem=str(error))

    async def _opened(self) -> Health:
        await self._within(self.patience.opening, self.database.open())
        health = await self._within(self.patience.probe, self.database.check())
        if not health.ok:
            raise StoreUnavailableError(self.database.name, health.problem or "its check fails", "")
        return health

    def _with_its_health(self, found: StoreStatus, health: Health) -> StoreStatus:
        return replace(
            found,
            latency_seconds=health.latency_seconds,
            clock_ahead_seconds=self._ahead(health),
            details=health.details,
            tunnel=health.tunnel,
        )

    def _ahead(self, health: Health) -> float | None:
        return None if health.clock is None else (health.clock - self.clock.now()).total_seconds()

    async def _with_what_it_owes(self, found: StoreStatus) -> StoreStatus:
        seconds = self.patience.opening
        return replace(
            found,
            owes=await self._within(seconds, self._replication.count_owed()),
            set_aside=await self._within(seconds, self._replication.list_set_aside(limit=SET_ASIDE_SHOWN)),
            conflicts=(await self._within(seconds, self._replication.conflicts(limit=1))).count,
        )

    @property
    def _replication(self) -> Replication:
        return cast("ReplicatedDatabase", self.database).replication

    async def _within(self, seconds: float, work: Awaitable[_Value]) -> _Value:
        try:
            async with asyncio.timeout(seconds) as limit:
                return await work
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise StoreUnavailableError(
                self.database.name, f"it did not answer within {seconds:g} s", ""
            ) from error


def _in_their_roles(found: Sequence[StoreStatus], acting: Acting) -> Iterator[StoreStatus]:
    first = next((each.name for each in found if each.problem is None), None)
    serving = acting.database if acting.term else first
    for number, each in enumerate(found):
        is_owed = any(other.owes.rows for other in found if other is not each and other.owes)
        state = each.state
        if each.problem is None:
            state = State.SERVING if each.name == serving else State.CATCHING_UP if is_owed else State.STANDBY
        yield replace(each, preferred=number == 0, acting=each.name == serving, state=state)
