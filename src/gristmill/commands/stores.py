"""Bringing two databases together now, as the background work does every second while anybody has them open."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gristmill.ports.failover import DatabaseStatus, Pair
from gristmill.ports.replication import SetAside

_SHOWN = 20
# Cycles in a row that move nothing, each after a pause, before it is given up.
_IDLE = 4
_PAUSE_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Reconciled:
    """``moved`` rows to each database; ``left`` what each still owes the other, None for one that is down."""

    done: bool
    moved: Mapping[str, int]
    left: Mapping[str, int | None]
    problems: Mapping[str, str]
    set_aside: Sequence[SetAside]


async def reconcile(pair: Pair, *, everything: bool = False, pause: float = _PAUSE_SECONDS) -> Reconciled:
    """Bring everything owed across, in both directions, until nothing is owed or nothing moves any more.

    With ``everything`` each first owes the other all it holds, what was set aside too.
    """
    if everything:
        await pair.owe_everything()
    idle, moved = 0, -1
    while not (done := await pair.reconcile()) and idle < _IDLE and not _down(pair):
        before, moved = moved, sum(each.received for each in pair.status().databases)
        idle = idle + 1 if moved == before else 0
        await asyncio.sleep(pause if idle else 0)
    sides = pair.status().databases
    aside = [each for number, _ in enumerate(sides) for each in await _set_aside(pair, number)]
    return Reconciled(
        done=done and not aside,
        moved={each.name: each.received for each in sides},
        left={each.name: await _left(pair, number) for number, each in enumerate(sides)},
        problems={each.name: each.problem for each in sides if each.problem is not None},
        set_aside=aside,
    )


def _down(pair: Pair) -> list[DatabaseStatus]:
    return [each for each in pair.status().databases if each.problem is not None]


async def _left(pair: Pair, number: int) -> int | None:
    """Counted now: while one is down, what the other one owes is known all the same."""
    if pair.status().databases[number].problem is not None:
        return None
    return (await pair.databases[number].replication.count_owed()).rows


async def _set_aside(pair: Pair, number: int) -> Sequence[SetAside]:
    if pair.status().databases[number].problem is not None:
        return []
    return await pair.databases[number].replication.list_set_aside(limit=_SHOWN)
