"""The replication port on SQL: each method is one transaction, but for ``distrust``, which may be cut off and goes on."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import TypeVar

from sqlalchemy import Connection

from gristmill.ports.clock import Clock
from gristmill.ports.replication import (
    Acting,
    Conflicts,
    Identity,
    Merged,
    Owed,
    OwedPage,
    RowPage,
    SetAside,
    Standing,
)
from gristmill.ports.rows import Row
from gristmill.stores.sql import conflict_rows, journal, listing_rows, locks, merging, owing, replica_row
from gristmill.stores.sql.connections import Connections
from gristmill.stores.sql.record_store import DrawWrite

_T = TypeVar("_T")


class SqlReplication:
    def __init__(self, connections: Connections, *, clock: Clock, draw: DrawWrite) -> None:
        self._connections = connections
        self._clock = clock
        self._draw = draw
        # Whether this process knows of another database, and so marks what it changes at once; None before it looked.
        self._paired: bool | None = None

    def finish(self, connection: Connection) -> None:
        """End the work of a transaction that writes."""
        if self._paired is None:
            found = replica_row.find(connection)
            self._paired = found is not None and found.paired
        if self._paired:
            journal.capture(connection, self._draw)

    # -- standing ------------------------------------------------------------------------------------

    async def standing(self) -> Standing:
        found = await self._connections.run_read(replica_row.find)
        if found is None:
            found = await self._connections.run_write(replica_row.made)
        self._paired = found.paired
        return found.standing

    async def touch(self) -> None:
        await self._connections.run_write(replica_row.rewrite)

    async def set_acting(self, acting: Acting) -> Acting:
        return await self._connections.run_write(partial(replica_row.set_acting, acting=acting))

    async def reincarnate(self) -> Identity:
        return await self._connections.run_write(replica_row.reincarnate)

    # -- what is owed --------------------------------------------------------------------------------

    async def owed(self, *, limit: int, since: int = 0, after: str | None = None) -> OwedPage:
        return await self._read_beside(partial(owing.page, limit=limit, since=since, after=after))

    async def _read(self, work: Callable[[Connection], _T]) -> _T:
        return await self._read_beside(lambda connection, _: work(connection))

    async def _read_beside(self, work: Callable[[Connection, Standing], _T]) -> _T:
        """Run ``work`` over marks and facts that say all that was changed, whoever changed it."""

        def look(connection: Connection) -> list[_T]:
            found = replica_row.find(connection)
            if found is None or journal.is_left(connection):
                return []
            return [work(connection, found.standing)]

        while not (found := await self._connections.run_read(look)):
            await self._connections.run_write(replica_row.made)
            await self._capture_left()
        return found[0]

    async def _capture_left(self) -> None:
        while await self._connections.run_write(partial(journal.capture_left, draw=self._draw)):
            pass

    async def settle(self, rows: Sequence[Row], *, peer: Identity) -> int:
        def settle(connection: Connection) -> int:
            locks.together(connection, owing.SETTLING)
            if not replica_row.knows(connection, peer):
                return 0
            settled = owing.settle(connection, rows)
            replica_row.hear_of(connection, peer)
            return settled

        return await self._connections.run_write(settle)

    async def set_aside(self, refused: Sequence[SetAside]) -> int:
        return await self._connections.run_write(partial(owing.set_aside, refused=refused))

    async def list_set_aside(self, *, limit: int) -> Sequence[SetAside]:
        return await self._connections.run_read(partial(owing.list_set_aside, limit=limit))

    async def count_owed(self) -> Owed:
        return await self._read(owing.count)

    async def distrust(self, peer: Identity) -> int:
        await self._connections.run_write(owing.begin)
        self._paired = True
        # In pieces: of a large database it takes long, and goes on where it was cut off.
        await self._capture_left()
        while await self._connections.run_write(partial(owing.mark_more, now=self._clock.now())):
            pass
        return await self._connections.run_write(partial(owing.trust, peer=peer))

    # -- merging -------------------------------------------------------------------------------------

    async def merge(
        self, rows: Sequence[Row], *, source: Identity, expects: Identity | None = None
    ) -> Merged:
        def merge(connection: Connection) -> Merged:
            merging.hold(connection, rows)
            found = replica_row.made(connection)
            if expects is not None and not found.standing.identity.continues(expects):
                return Merged(found.standing, [], expected=False)
            # Facts are merged: those that follow from what was written here must be there.
            while journal.is_left(connection):
                journal.capture_left(connection, self._draw)
            if not found.paired:
                merging.refresh(connection, rows, self._draw)
            merges = merging.merge(connection, rows, now=self._clock.now())
            journal.forget_changed(connection)
            if rows:
                replica_row.draw(connection)
            return Merged(replica_row.hear_of(connection, source), merges)

        return await self._connections.run_write(merge)

    # -- comparing and copying -----------------------------------------------------------------------

    async def rows(self, *, limit: int, after: str | None = None) -> RowPage:
        return await self._read(partial(listing_rows.page, limit=limit, after=after, draw=self._draw))

    async def find(self, rows: Sequence[Row]) -> Sequence[Row | None]:
        return await self._read(partial(listing_rows.find, rows=rows, draw=self._draw))

    # -- conflicts -----------------------------------------------------------------------------------

    async def conflicts(self, *, limit: int) -> Conflicts:
        return await self._connections.run_read(partial(conflict_rows.newest, limit=limit))

    # -- tombstones ----------------------------------------------------------------------------------

    async def purge(self, older_than: timedelta) -> int:
        return await self._connections.run_write(
            lambda connection: owing.purge(connection, older_than, now=self._clock.now())
        )
