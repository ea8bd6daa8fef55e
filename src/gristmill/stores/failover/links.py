"""Bringing owed rows from one database to the other: read, merge, settle; each step may be lost or repeated."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from gristmill.ports.clock import Clock
from gristmill.ports.failover import Happening
from gristmill.ports.replication import Fate, Identity, Merge, Merged, Missing, OwedPage, SetAside, Standing
from gristmill.ports.rows import Row
from gristmill.stores.failover.events import Teller
from gristmill.stores.failover.options import FailoverOptions
from gristmill.stores.failover.pair import Pair
from gristmill.stores.failover.side import Side, SideUnavailableError

_log = structlog.get_logger(__name__)

# Of the backlog, so that a write is held up by no more; what a slice of a submission leaves goes with it.
_PAGES_OF_A_WRITE = 3


@dataclass(slots=True)
class _Turn:
    """How many pushes for writes have begun, and what the last one brought over whole."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    begun: int = 0
    whole: Identity | None = None


class Links:
    def __init__(self, pair: Pair, *, clock: Clock, options: FailoverOptions, teller: Teller) -> None:
        self._pair = pair
        self._clock = clock
        self._options = options
        self._teller = teller
        self._turns = defaultdict[str, _Turn](_Turn)
        self._counted: float | None = None  # When nothing but writes in flight was owed last.

    async def replicate(self, source: Side, *, since: Identity) -> bool:
        """Bring over what a write that was just made has changed; whether both databases now hold all it rests on.

        A write may find what an earlier one left owed (an item that is there already): so it is only said to be held
        by both when nothing older is owed either. While there is a backlog its own rows go over, and it is not said.
        Nor is it if the source lost what it had before the write: that nothing is owed then says nothing of the write.
        Never raises for the databases' sake: the write is done, and what is not sent stays owed.
        """
        target = self._pair.other(source)
        whole = None if target.is_down else await self._push_all(source, target)
        done = whole is not None and whole.continues(since)
        if not done and not target.is_down:
            await self._unless_away(self.push(source, target, since=since.sequence))
        if not done and target.lacks is None:
            target.lacks = Missing(None, self._clock.now())
        return done

    async def _push_all(self, source: Side, target: Side) -> Identity | None:
        """One push for all writes that were made before it began, or each of them would bring the rows of all."""
        turn = self._turns[source.name]
        begun = turn.begun
        async with turn.lock:
            if turn.begun == begun:
                turn.begun, turn.whole = begun + 1, None
                # One of them may have died of the push that this one waited for.
                if not source.is_down and not target.is_down:
                    turn.whole = await self._unless_away(self.push(source, target, pages=_PAGES_OF_A_WRITE))
            return turn.whole

    async def _unless_away(self, push: Awaitable[Identity | None]) -> Identity | None:
        try:
            return await push
        except SideUnavailableError as error:
            if not error.side.is_down and (problem := await error.side.probe()) is not None:
                error.side.went_down(problem)
            return None

    async def push(
        self,
        source: Side,
        target: Side,
        *,
        since: int = 0,
        pages: int | None = None,
        until: float | None = None,
    ) -> Identity | None:
        """Bring over all rows whose mark bears a number above ``since``; None unless the other database holds them all.

        Returns the source as it was before its last rows were read.
        With ``pages`` no more than that many, with ``until`` no page after that moment of the monotonic clock.
        """
        brought = await self._push_pages(source, target, since=since, pages=pages, until=until)
        if not self._all_is_well():
            await source.settled()  # The hand-over waits for a moment at which nothing is owed.
        return brought

    async def _push_pages(
        self, source: Side, target: Side, *, since: int, pages: int | None, until: float | None
    ) -> Identity | None:
        whole, after, brought = True, None, 0
        while (pages is None or brought < pages) and (until is None or self._clock.monotonic() < until):
            remembered = target.remembers
            asked = self._clock.monotonic()
            page = await self._page(source, since, after)
            await self._pair.hear(source, page.standing)
            if remembered is not None and not page.standing.identity.continues(remembered):
                await self._pair.doubt(source, page.standing.identity, remembered)
                return None
            if page.rows:
                if self._clock.monotonic() - asked > self._options.forget_read_after:
                    continue  # Frozen since: what was read may be long forgotten (B3).
                whole = await self._bring(source, target, page) and whole
            if page.after is None:
                return page.standing.identity if whole else None
            after, brought = page.after, brought + 1
        return None

    async def _page(self, source: Side, since: int, after: str | None) -> OwedPage:
        if after is None:  # Else the rows of the page before would come again.
            await source.settled()
        limit = self._options.page_rows
        page = await source.call(
            lambda database: database.replication.owed(limit=limit, since=since, after=after)
        )
        source.hear(page.standing)
        return page

    async def _bring(self, source: Side, target: Side, page: OwedPage) -> bool:
        merged = await self._merge(target, page.rows, page.standing)
        target.hear(merged.standing)
        await self._pair.hear(target, merged.standing)
        if not merged.expected or page.standing.peer is None:
            await self._pair.doubt(target, merged.standing.identity, page.standing.peer)
            return False
        peer = merged.standing.identity
        held = [merge.row for merge in merged.merges if merge.fate is Fate.HELD]
        await self._set_aside(source, target, merged.merges)
        await source.settled()
        # Nobody need wait for it: until it is done, and if it never is, these rows would only be sent again.
        source.settle_beside(self._settle(source, target, held, peer))
        return len(held) == len(page.rows)

    async def _settle(self, source: Side, target: Side, held: Sequence[Row], peer: Identity) -> None:
        try:
            target.received += await source.call(
                lambda database: database.replication.settle(held, peer=peer)
            )
        except SideUnavailableError as error:
            _log.info("marks_not_settled", database=source.name, reason=error.reason)

    async def _merge(self, target: Side, rows: Sequence[Row], source: Standing) -> Merged:
        """Merge the rows. Where that fails for a reason that is no outage, find the rows that it fails for (A3)."""
        try:
            return await target.call(
                lambda database: database.replication.merge(rows, source=source.identity, expects=source.peer)
            )
        except SideUnavailableError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever one row causes must not stop the others.
            if len(rows) == 1:
                _log.exception(
                    "row_not_merged", database=target.name, kind=rows[0].kind.name, key=rows[0].key
                )
                refused = Merge(rows[0], Fate.REFUSED, None, f"{type(error).__name__}: {error}")
                return Merged(await target.standing(), [refused])
        middle = len(rows) // 2
        first = await self._merge(target, rows[:middle], source)
        second = await self._merge(target, rows[middle:], source)
        return Merged(second.standing, [*first.merges, *second.merges])

    async def _set_aside(self, source: Side, target: Side, merges: Sequence[Merge]) -> None:
        refused = [
            SetAside(merge.row.kind, merge.row.key, merge.row.token, merge.reason)
            for merge in merges
            if merge.fate is Fate.REFUSED
        ]
        if refused:
            await source.call(lambda database: database.replication.set_aside(refused))
        for each in refused:
            row = f"{each.kind.name.lower()} {each.key}"
            self._teller.tell(Happening.SET_ASIDE, target.name, f"it refuses {row}: {each.reason}")

    async def converge(self, *, until: float | None = None) -> bool:
        """Bring everything owed across in both directions; whether neither owes anything afterwards."""
        serving = self._pair.serving
        other = self._pair.other(serving)
        for source, target in ((serving, other), (other, serving)):
            await self.push(source, target, until=until)
            await source.settled()  # A row that the other one sends now would stay owed to it.
        owed = [await self.count(source) for source in (serving, other)]
        return not any(owed)

    async def only_in_flight(self) -> bool:
        """Whether the preferred one serves, neither lags, and all that is owed was written just now."""
        pair = self._pair
        if not self._all_is_well():
            return False
        now = self._clock.monotonic()
        if self._counted is not None and now - self._counted < self._options.in_flight:
            return True  # What came since is in flight.
        for side in pair.sides:
            side.owes = await side.call(lambda database: database.replication.count_owed())
            if side.owes.rows and not self._is_in_flight(side.owes.oldest):
                return False
        self._counted = now
        return True

    def _all_is_well(self) -> bool:
        """Whether the preferred one serves, and neither is known to lack anything."""
        pair = self._pair
        lags = pair.acting.missing is not None or any(side.lacks for side in pair.sides)
        return not lags and pair.serving is pair.preferred

    def _is_in_flight(self, marked_at: datetime | None) -> bool:
        if marked_at is None:
            return False
        return (self._clock.now() - marked_at).total_seconds() < self._options.in_flight

    async def count(self, source: Side) -> int:
        target = self._pair.other(source)
        await source.settled()
        source.owes = await source.call(lambda database: database.replication.count_owed())
        target.lacks = Missing(source.owes.rows, self._since(source, target)) if source.owes.rows else None
        return source.owes.rows

    def _since(self, source: Side, target: Side) -> datetime:
        if target.lacks is not None:
            return target.lacks.since
        return (source.owes and source.owes.oldest) or self._clock.now()
