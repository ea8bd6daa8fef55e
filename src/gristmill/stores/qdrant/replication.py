"""The replication port over Qdrant. No method is one transaction: each says what its order of writes rests on.

Numbers: a mark bears a number above every one its writer has read of the database's own, which rises by one whenever
it is told after a write: before the first page of rows that other databases will hear of is handed out, and at the
end of every merge. So it is never behind what another database was shown, and no write waits for it.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from uuid import uuid4

from gristmill.domain.retry import RetryPolicy
from gristmill.domain.versions import WriteIds
from gristmill.ports.clock import Clock
from gristmill.ports.replication import (
    Acting,
    Conflicts,
    Fate,
    Identity,
    Merge,
    Merged,
    Owed,
    OwedPage,
    RowPage,
    SetAside,
    Standing,
)
from gristmill.ports.rows import Kind, Row
from gristmill.stores.qdrant import conflict_points
from gristmill.stores.qdrant.batch_points import stored_of
from gristmill.stores.qdrant.closing import Closing, batches_of
from gristmill.stores.qdrant.connection import Connection
from gristmill.stores.qdrant.marks import Numbers
from gristmill.stores.qdrant.merging_batches import BatchMerging
from gristmill.stores.qdrant.merging_documents import DocumentMerging
from gristmill.stores.qdrant.merging_records import Merges
from gristmill.stores.qdrant.owing import Owing
from gristmill.stores.qdrant.points import Points
from gristmill.stores.qdrant.replica import Replica, ReplicaStore
from gristmill.stores.qdrant.row_points import RowPoints
from gristmill.stores.qdrant.schema import STATE, Schema

_OF_DOCUMENTS = {Kind.COLLECTION, Kind.VECTOR, Kind.CHUNKS, Kind.DOCUMENT}


class QdrantReplication:
    """See ``ports.replication.Replication``."""

    def __init__(
        self,
        connection: Connection,
        collections: Schema,
        clock: Clock,
        *,
        retry_policy: RetryPolicy,
        write_ids: WriteIds,
        numbers: Numbers,
    ) -> None:
        self._numbers = numbers
        self._state = Points(connection, STATE.name)
        self._replica = ReplicaStore(connection, clock, numbers)
        self._batches = BatchMerging(
            connection, clock, retry_policy=retry_policy, write_ids=write_ids, numbers=numbers
        )
        self._documents = DocumentMerging(
            connection, collections, clock, write_ids=write_ids, numbers=numbers
        )
        self._owing = Owing(connection, collections, clock, write_ids=write_ids, numbers=numbers)
        self._owing.rows = RowPoints(connection, collections)

    # -- standing ------------------------------------------------------------------------------------

    async def standing(self) -> Standing:
        return (await self._replica.shown()).standing

    async def touch(self) -> None:
        await self._replica.touch()

    async def set_acting(self, acting: Acting) -> Acting:
        def beaten(found: Replica) -> Replica | None:
            return replace(found, acting=acting) if acting.beats(found.acting) else None

        return (await self._replica.change(beaten)).acting

    async def reincarnate(self) -> Identity:
        def drawn(found: Replica) -> Replica:
            return replace(found, identity=replace(found.identity, incarnation=uuid4()))

        return (await self._replica.change(drawn)).identity

    # -- what is owed --------------------------------------------------------------------------------

    async def owed(self, *, limit: int, since: int = 0, after: str | None = None) -> OwedPage:
        """The number is raised after the rows were read: who hears of them hears of one that no older copy shows."""
        before = await self._replica.read()
        rows, following = await self._owing.page(limit=limit, since=since, after=after)
        if rows or self._numbers.written:
            before = await self._replica.raised(before)
        return OwedPage(before.standing, rows, following)

    async def settle(self, rows: Sequence[Row], *, peer: Identity) -> int:
        """Marks are read, then who is trusted, then the peer is remembered, then marks are cleared as they were read."""
        marked = await self._owing.marked({(row.kind, row.key): row.token for row in rows})
        replica = await self._replica.hear_of(peer)
        return await self._owing.clear(marked) if replica.trusts(peer) else 0

    async def set_aside(self, refused: Sequence[SetAside]) -> int:
        return await self._owing.set_aside(refused)

    async def list_set_aside(self, *, limit: int) -> Sequence[SetAside]:
        return await self._owing.list_set_aside(limit)

    async def count_owed(self) -> Owed:
        return await self._owing.count()

    async def distrust(self, peer: Identity) -> int:
        """Said first, so that nothing is settled from here on; done last, unless another distrust began meanwhile."""
        begun = await self._replica.change(lambda found: replace(found, distrusts=found.distrusts + 1))
        await self._owing.mark_all(self._numbers.bearing(begun.identity.sequence + 1))
        owed = await self._owing.count()

        def trusting(found: Replica) -> Replica | None:
            if found.distrusts != begun.distrusts:
                return None
            return replace(found, peer=peer, distrusted=begun.distrusts)

        await self._replica.change(trusting)
        return owed.rows

    # -- merging -------------------------------------------------------------------------------------

    async def merge(
        self, rows: Sequence[Row], *, source: Identity, expects: Identity | None = None
    ) -> Merged:
        """The number rises only at the end, from the one compared at the beginning.

        If an older copy took this one's place in between, it does not rise there, and the copy is still found out.
        """
        alone = all(row.kind is Kind.RECORD for row in rows)
        begun, batches = await self._replica.read_beside(batches_of(rows) if alone else ())
        if expects is not None and not begun.identity.continues(expects):
            return Merged(begun.standing, [], expected=False)
        if not rows:
            return Merged((await self._replica.hear_of(source)).standing, [])
        closing = Closing(
            {each: stored_of(payload) for each, payload in batches.items()},
            partial(self._replica.closed, begun, hearing_of=source),
        )
        merges = await self._merge_all(rows, closing)
        ended = await self._end(begun, closing, source)
        if not ended.identity.continues(begun.identity):
            return Merged(ended.standing, [], expected=False)
        if ended.distrusts != begun.distrusts:
            # What a distrust marked meanwhile may have been written over.
            held = [each.row for each in merges if each.fate is Fate.HELD]
            await self._owing.mark(held, self._numbers.marks())
        return Merged(ended.standing, merges)

    async def _end(self, begun: Replica, closing: Closing, source: Identity) -> Replica:
        if closing.rows and closing.ended is None:
            await closing.close()
        if closing.ended is not None:
            if closing.is_calm or not closing.ended.identity.continues(begun.identity):
                return closing.ended
            begun = closing.ended
        if closing.rows:
            await self._batches.settle(closing.rows)
        return await self._replica.raised(begun, hearing_of=source)

    async def _merge_all(self, rows: Sequence[Row], closing: Closing) -> list[Merge]:
        merges: Merges = {}
        for kind in sorted({row.kind for row in rows}):
            some = {n: row for n, row in enumerate(rows) if row.kind is kind}
            if kind in _OF_DOCUMENTS:
                merges |= await self._documents.merge(kind, some)
            else:
                merges |= await self._batches.merge(kind, some, closing)
        return [merges[n] for n in range(len(rows))]

    # -- comparing and copying -----------------------------------------------------------------------

    async def rows(self, *, limit: int, after: str | None = None) -> RowPage:
        return RowPage(*await self._owing.page_of_all(limit=limit, after=after))

    async def find(self, rows: Sequence[Row]) -> Sequence[Row | None]:
        return await self._owing.find(rows)

    async def conflicts(self, *, limit: int) -> Conflicts:
        return await conflict_points.newest(self._state, limit=limit)

    async def purge(self, older_than: timedelta) -> int:
        await conflict_points.forget_old(self._state)
        return await self._batches.purge(older_than)
