"""Two databases as one, as those see them that look after an installation."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol, runtime_checkable

from gristmill.ports.database import Database, ReplicatedDatabase
from gristmill.ports.replication import Acting, Missing, Owed


class Happening(StrEnum):
    DOWN = "database_down"
    BACK = "database_back"
    SWITCHED = "database_switched"  # Another database serves now.
    DISTRUSTED = "database_returned_older"  # Other or older than it was: everything is owed to it again.
    CAUGHT_UP = "database_caught_up"
    SET_ASIDE = "row_set_aside"  # Refused for good by the other database.


@dataclass(frozen=True, slots=True)
class FailoverEvent:
    """``seconds`` is how long the outage or the catch-up took, where that is known."""

    at: datetime
    what: Happening
    database: str
    reason: str
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class DatabaseStatus:
    """One of the two as this process sees it. ``owes`` is None before it was first counted, and while it is down.

    ``received`` is how many rows that the other one owed it has confirmed to this process.
    """

    name: str
    acting: bool
    preferred: bool
    problem: str | None
    owes: Owed | None
    lacks: Missing | None
    received: int = 0


@dataclass(frozen=True, slots=True)
class FailoverStatus:
    databases: Sequence[DatabaseStatus]
    acting: Acting
    events: Sequence[FailoverEvent]


@runtime_checkable
class Pair(Database, Protocol):
    """Calls raise AllStoresUnavailableError when neither of the two serves."""

    @property
    def databases(self) -> tuple[ReplicatedDatabase, ReplicatedDatabase]:
        """The two, the preferred one first."""
        ...

    async def reconcile(self) -> bool:
        """Bring the two together now, as the background work does every second; whether neither owes anything."""
        ...

    async def owe_everything(self) -> None:
        """Owe each database all that the other one holds, so that reconciling sends it again; for when they differ."""
        ...

    def status(self) -> FailoverStatus:
        """As this process last saw it; costs no call."""
        ...


def serving(database: Database) -> str:
    """The name of the database that serves: the one of two, or the only one."""
    acting = database.status().acting if isinstance(database, Pair) else None
    return acting.database if acting is not None and acting.term else database.name
