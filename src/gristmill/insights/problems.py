"""What the doctor finds."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from gristmill.ports.database import TunnelState

MOST_SKEW_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Problem:
    """``command`` mends it; ``since`` is None when nobody can know."""

    what: str
    why: str
    command: str
    since: datetime | None = None


def closed_tunnel(tunnel: TunnelState | None) -> Iterator[Problem]:
    if tunnel is not None and not tunnel.up and tunnel.problem is not None:
        yield Problem(
            what=f"The SSH tunnel through {tunnel.through} is down.",
            why=f"{tunnel.problem} It is opened again by itself once that is mended.",
            command="gristmill config show",
            since=tunnel.since,
        )


def skewed(database: str, ahead: float | None) -> Iterator[Problem]:
    """``ahead``: the database's clock less ours, None where it has none."""
    if ahead is not None and abs(ahead) > MOST_SKEW_SECONDS:
        yield Problem(
            what=f"The clock of database '{database}' is {abs(ahead):.1f} s {'ahead of' if ahead > 0 else 'behind'} ours.",
            why="Leases end by these clocks: a worker may lose what it holds, or what a dead one held waits longer.",
            command="sudo timedatectl set-ntp true",
        )
