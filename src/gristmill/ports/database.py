"""One place that stores everything, as one bundle of ports."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from gristmill.ports.batches import Batches
from gristmill.ports.documents import Documents
from gristmill.ports.replication import Replication


@dataclass(frozen=True, slots=True)
class TunnelState:
    """Of the SSH tunnel of this process; ``since`` is when it came up or went down, ``problem`` why it is down.

    It is opened when it is first needed: before that it is down since None, without a problem.
    """

    through: str
    up: bool
    since: datetime | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Health:
    """``details`` are for people: version, size, path. ``tunnel`` and ``clock`` (its own) are None where there is none."""

    database: str
    ok: bool
    latency_seconds: float
    details: Mapping[str, str] = field(default_factory=dict)
    problem: str | None = None
    tunnel: TunnelState | None = None
    clock: datetime | None = None


class Database(Protocol):
    """``open`` brings the schema up to date under a lock and may be called by several processes at once.

    It raises ConfigurationError when what is there is not a database of ours or cannot be written.
    """

    name: str

    @property
    def batches(self) -> Batches: ...

    @property
    def documents(self) -> Documents: ...

    async def open(self) -> None: ...

    async def close(self) -> None:
        """Safe to call twice."""
        ...

    async def check(self) -> Health:
        """Ask on a new connection (A2). Never raises and is never cached; works before ``open`` too."""
        ...

    async def tidy(self) -> None:
        """Bring what is derived for speed up to date; called between groups of work. Skipping it loses nothing."""
        ...


class ReplicatedDatabase(Database, Protocol):
    """A database that can be one of two (``stores.failover``)."""

    @property
    def replication(self) -> Replication: ...
