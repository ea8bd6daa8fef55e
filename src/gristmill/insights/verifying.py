"""Whether two databases hold the same: every row of the one is looked for in the other, and the other way round."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

from gristmill.engine.comparing import (
    PAGE_ROWS,
    Difference,
    all_rows,
    differing,
    may_be_alone,
    name_of,
)
from gristmill.ports.database import ReplicatedDatabase
from gristmill.ports.rows import Kind, Row

# What differs is looked at again after so many seconds each: a write may be on its way.
LOOK_AGAIN = (0.1, 1.0, 3.0)
SHOWN = 100


@dataclass(frozen=True, slots=True)
class Verification:
    """``compared`` rows by kind; ``differences`` are the first ones, ``count`` is of all."""

    compared: Mapping[Kind, int]
    count: int
    differences: Sequence[Difference]


async def verify(
    one: ReplicatedDatabase,
    two: ReplicatedDatabase,
    *,
    shown: int = SHOWN,
    look_again: Sequence[float] | None = None,
) -> Verification:
    """Compare them, a page of rows at a time, also while others write. Raises StoreUnavailableError."""
    comparison = _Comparison(LOOK_AGAIN if look_again is None else look_again)
    count = 0
    first: list[Difference] = []
    async for difference in comparison.of(one, two):
        count += 1
        if len(first) < shown:
            first.append(difference)
    return Verification(comparison.compared, count, first)


class _Comparison:
    def __init__(self, look_again: Sequence[float]) -> None:
        self._look_again = look_again
        self.compared: Counter[Kind] = Counter()

    async def of(self, one: ReplicatedDatabase, two: ReplicatedDatabase) -> AsyncIterator[Difference]:
        async for rows in all_rows(one):
            there = await two.replication.find(rows)
            self.compared.update(row.kind for row in rows)
            pairs = zip(rows, there, strict=True)
            doubtful = [row for row, other in pairs if other is None or differing(row, other)]
            for difference in await self._looked_at_again(doubtful, one, two):
                yield difference
        async for rows in all_rows(two):
            here = await one.replication.find(rows)
            doubtful = [row for row, other in zip(rows, here, strict=True) if other is None]
            self.compared.update(row.kind for row in doubtful)
            for difference in await self._looked_at_again(doubtful, one, two):
                yield difference

    async def _looked_at_again(
        self, rows: Sequence[Row], one: ReplicatedDatabase, two: ReplicatedDatabase
    ) -> list[Difference]:
        """What still differs, once what was on its way has had time to come."""
        left, found = list(rows), list[Difference]()
        for pause in self._look_again if rows else ():
            await asyncio.sleep(pause)
            found = await _differences(left, one, two)
            still = {(each.kind, each.key) for each in found}
            left = [row for row in left if (row.kind, row.key) in still]
            if not left:
                break
        return found


async def _differences(
    rows: Sequence[Row], one: ReplicatedDatabase, two: ReplicatedDatabase
) -> list[Difference]:
    here, there = await one.replication.find(rows), await two.replication.find(rows)
    found = []
    for row, left, right in zip(rows, here, there, strict=True):
        what = await _difference((one, left), (two, right))
        if what is not None:
            found.append(Difference(row.kind, row.key, name_of(row.body), what))
    return found


_Side = tuple[ReplicatedDatabase, Row | None]


async def _difference(left: _Side, right: _Side) -> str | None:
    (one, mine), (two, theirs) = left, right
    if mine is not None and theirs is not None:
        names = differing(mine, theirs)
        return f"differs in {', '.join(names)}" if names else None
    for holder, row, other in ((one, mine, two), (two, theirs, one)):
        if row is not None and not (await may_be_alone(row, other) and not await _is_owed(holder, row)):
            return f"only in {holder.name}"
    return None


async def _is_owed(database: ReplicatedDatabase, row: Row) -> bool:
    """Asked of the few rows that are in one database alone."""
    after = None
    while True:
        page = await database.replication.owed(limit=PAGE_ROWS, after=after)
        if any((each.kind, each.key) == (row.kind, row.key) for each in page.rows):
            return True
        after = page.after
        if after is None:
            return False
