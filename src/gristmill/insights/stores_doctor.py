"""What is wrong with two databases that stand in for each other."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime, timedelta

from gristmill.insights.problems import Problem, closed_tunnel, half_copied, skewed
from gristmill.insights.stores import State, StoresStatus, StoreStatus

# A write is brought across within moments; what waits for longer is not on its way.
OWED_AFTER = timedelta(minutes=1)
CATCHING_UP_AFTER = timedelta(minutes=10)
LOOK_AGAIN_SECONDS = 2.0

Look = Callable[[], Awaitable[StoresStatus]]
RECONCILE = "gristmill stores reconcile"


async def examine(
    look: Look, *, now: datetime, pause: float = LOOK_AGAIN_SECONDS
) -> tuple[list[Problem], StoresStatus]:
    """What is wrong, and how both are. ``look`` asks them; twice if rows are owed, to see whether they become fewer."""
    found = later = await look()
    if any(_waits(each, now) for each in found.databases) and _both_answer(found):
        await asyncio.sleep(pause)
        later = await look()
    return list(_problems(found, later, now)), later


def _both_answer(found: StoresStatus) -> bool:
    return all(each.problem is None for each in found.databases)


def _waits(store: StoreStatus, now: datetime, than: timedelta = OWED_AFTER) -> bool:
    owes = store.owes
    return bool(owes and owes.rows and (owes.oldest is None or now - owes.oldest > than))


def _problems(found: StoresStatus, later: StoresStatus, now: datetime) -> Iterator[Problem]:
    for before, store in zip(found.databases, later.databases, strict=True):
        other = next(each for each in later.databases if each.name != store.name)
        if store.problem is not None:
            yield _closed(store, other, later)
        elif other.problem is None:
            yield from _owed(before, store, other, now)
        yield from closed_tunnel(store.tunnel)
        yield from _set_aside(store, other)
        yield from half_copied(store.name, store.half_copied)
        yield from skewed(store.name, store.clock_ahead_seconds)
    yield from _missing(later)


def _closed(store: StoreStatus, other: StoreStatus, found: StoresStatus) -> Problem:
    alone = f" '{other.name}' serves alone." if other.problem is None else ""
    if other.owes is not None and other.owes.rows:
        alone += f" {other.owes.rows} rows are held by it alone until this one is back."
    if store.state is State.REFUSED:
        command = (
            "gristmill db upgrade"
            if "gristmill db upgrade" in str(store.problem)
            else "gristmill config show"
        )
        return Problem(f"Database '{store.name}' cannot be used.", f"{store.problem}{alone}", command)
    left = found.acting.term > 1 and found.acting.database == other.name
    return Problem(
        what=f"Database '{store.name}' is down.",
        why=f"{store.problem}.{alone}",
        command="gristmill stores status",
        since=found.acting.since if left else None,
    )


def _owed(before: StoreStatus, store: StoreStatus, other: StoreStatus, now: datetime) -> Iterator[Problem]:
    if before.owes is None or store.owes is None or not _waits(store, now):
        return
    rows, oldest = store.owes.rows, store.owes.oldest
    if rows >= before.owes.rows:
        yield Problem(
            what=f"{rows} rows that '{store.name}' owes '{other.name}' wait, and do not become fewer.",
            why="No process that has both open is running, or more is written than it can bring across.",
            command=RECONCILE,
            since=oldest,
        )
    elif _waits(store, now, CATCHING_UP_AFTER):
        yield Problem(
            what=f"Database '{other.name}' has been catching up for long; {rows} rows are still to come.",
            why=f"It was away for long or is slow. Until it has all, '{store.name}' alone must not be lost.",
            command=RECONCILE,
            since=oldest,
        )


def _set_aside(store: StoreStatus, other: StoreStatus) -> Iterator[Problem]:
    if store.owes is not None and store.owes.set_aside:
        first = next(iter(store.set_aside), None)
        row = "" if first is None else f" {first.kind.name.lower()} {first.key}: {first.reason}"
        yield Problem(
            what=f"{store.owes.set_aside} rows of '{store.name}' were set aside: '{other.name}' refuses them.",
            why=f"They are in one database alone, and not sent again before they change.{row}",
            command=f"{RECONCILE} --all",
        )


def _missing(found: StoresStatus) -> Iterator[Problem]:
    missing = found.acting.missing
    if missing is not None:
        rows = "rows" if missing.rows is None else f"{missing.rows} rows"
        yield Problem(
            what=f"Database '{found.acting.database}' serves without {rows} that only the other one has.",
            why=f"The other one went away before this one had caught up ({found.acting.reason}).",
            command="gristmill stores status",
            since=missing.since,
        )
