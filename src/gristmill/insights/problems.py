"""What the doctor finds."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from gristmill.ports.database import TunnelState
from gristmill.ports.replication import Acting

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


def half_copied(database: str, acting: Acting | None) -> Iterator[Problem]:
    """``acting``: the row that it was found in, None where there is none."""
    if acting is not None and acting.is_half_copied:
        yield Problem(
            what=f"Database '{database}' holds an unfinished copy of another one.",
            why=f"It was cut short or came out otherwise ({acting.reason}): what did not come is not found.",
            command=f"gristmill stores copy --from SOURCE --to {database}",
            since=acting.since,
        )
