"""Records that come from another database, each one a compare-and-set, and counting their batches again after it.

Records that this process itself brought here before are not read again (``known``), and whether all were stored is
asked while the merge is ended (``closing``); if some were not, they are read, and all that follows is looked at anew.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import cast
from uuid import UUID, uuid4

from qdrant_client import models

from gristmill.domain.batch import BatchStatus, computed_status
from gristmill.domain.facts import confirms_end
from gristmill.domain.record import Record
from gristmill.domain.retry import RetryPolicy
from gristmill.domain.versions import Version, WriteIds
from gristmill.ports.clock import Clock
from gristmill.ports.replication import Fate, Merge
from gristmill.ports.rows import Row
from gristmill.stores.qdrant import batch_points, record_points
from gristmill.stores.qdrant.batch_points import StoredBatch
from gristmill.stores.qdrant.closing import Closing, batches_of
from gristmill.stores.qdrant.connection import Connection
from gristmill.stores.qdrant.known import Known
from gristmill.stores.qdrant.marks import ASIDE, OWED, Numbers, marks_of
from gristmill.stores.qdrant.points import TOKEN, Condition, any_of, has_id, lacks, where
from gristmill.stores.qdrant.record_points import placed_as, placed_in
from gristmill.stores.qdrant.submission import Submission
from gristmill.stores.qdrant.worker_points import GONE, RETURNED, worker_point_id

Merges = dict[int, Merge]
Rows = Mapping[int, Row]
_Batches = dict[UUID, StoredBatch]
_UNMARKED = (lacks(OWED), lacks(ASIDE))


def first_of_each(rows: Rows) -> dict[int, Row]:
    """Of rows of one key the first, so that one write changes no point twice."""
    found: dict[str, int] = {}
    for n, row in rows.items():
        found.setdefault(row.key, n)
    return {n: rows[n] for n in found.values()}


def held(rows: Rows, points: Mapping[int, models.PointStruct], won: set[UUID]) -> Merges:
    """Of those points that were stored; their own token is the row's."""
    return {
        n: Merge(rows[n], Fate.HELD, (each.payload or {})[TOKEN])
        for n, each in points.items()
        if UUID(str(each.id)) in won
    }


class RecordMerging(Submission):
    def __init__(
        self,
        connection: Connection,
        clock: Clock,
        *,
        retry_policy: RetryPolicy,
        write_ids: WriteIds,
        numbers: Numbers,
    ) -> None:
        super().__init__(connection, clock, retry_policy=retry_policy, write_ids=write_ids, numbers=numbers)
        self._known = Known()

    async def merge_records(self, rows: Rows, closing: Closing) -> Merges:
        """What follows for their batches and workers is left to ``closing``, or to ``settle`` if that fails."""
        merges: Merges = {}
        batches = dict(closing.batches)
        known = self._known.before(
            record for row in rows.values() if (record := _record(row)).batch_id in batches
        )
        closing.rows += rows.values()
        while left := first_of_each({n: row for n, row in rows.items() if n not in merges}):
            if not batches_of(left.values()) <= batches.keys():
                batches = await self._all_batches(batches_of(left.values()))
            points, expected = await self._points(left, known, batches, merges)
            is_last = len(merges) + len(points) == len(rows)
            unmarked = _UNMARKED if known else ()
            won = await self._store(list(points.values()), expected, unmarked, closing if is_last else None)
            merges |= held(rows, points, won)
            self._known.keep(
                _record(rows[n])
                for n, each in points.items()
                if UUID(str(each.id)) in won and not _is_marked(each)
            )
            known, batches = {}, {}  # Who lost looks anew.
        return merges

    async def _points(
        self, left: Rows, known: Mapping[UUID, Version], batches: _Batches, merges: Merges
    ) -> tuple[dict[int, models.PointStruct], list[str]]:
        """What to store, and the tokens it may replace. What became of the other rows is put into ``merges``."""
        ids = [_record(row).record_id for row in left.values()]
        unknown = (each for each in ids if each not in known)
        stored = await self._records.get(unknown, fields=list(record_points.COMPARED))
        points: dict[int, models.PointStruct] = {}
        for n, row in left.items():
            record = _record(row)
            there, batch = stored.get(record.record_id), batches.get(record.batch_id)
            if batch is None:
                token = None if there is None else there[TOKEN]
                merges[n] = Merge(row, Fate.WITHHELD, token, "its batch is not here yet")
            elif batch.facts.forgets(record):
                merges[n] = Merge(row, Fate.HELD, None)
            elif there is not None and record_points.version_of(there) >= record.version:
                merges[n] = Merge(row, Fate.HELD, there[TOKEN])
            elif there is not None:
                points[n] = record_points.point_of(record, placed_as(there), marks_of(there))
            else:
                if batch.reference is None:
                    batch = batches[record.batch_id] = await self._referring(batch, record.item_id)
                points[n] = record_points.point_of(record, placed_in(batch, record.item_id), {})
        return points, [each[TOKEN] for each in stored.values()] + [each.write_id for each in known.values()]

    async def _store(
        self,
        points: Sequence[models.PointStruct],
        expected: Sequence[str],
        unmarked: Sequence[Condition],
        closing: Closing | None,
    ) -> set[UUID]:
        """Compare-and-set, of those stored without marks under these conditions too."""
        marked = [each for each in points if _is_marked(each)]
        await self._records.replace([each for each in points if not _is_marked(each)], expected, *unmarked)
        await self._records.replace(marked, expected)
        if closing is None or not points:
            return await self._records.bearing(points)
        won, _ = await asyncio.gather(self._records.bearing(points), closing.close())
        closing.is_calm &= len(won) == len(points)
        return won

    async def _referring(self, batch: StoredBatch, item_id: str) -> StoredBatch:
        """The batch, a tombstone too, with a reference for its item ids."""
        found: StoredBatch | None = batch
        while found is not None and found.reference is None:
            await self._swap_batches([replace(found, reference=item_id)])
            found = (await self._all_batches([batch.batch_id])).get(batch.batch_id)
        return replace(batch, reference=item_id) if found is None else found

    async def settle(self, rows: Sequence[Row]) -> None:
        """Take out records that came to a batch that was cleaned up meanwhile, and count again."""
        batches = await self._all_batches(batches_of(rows))
        forgotten = [
            cast("Record", row.body)
            for row in rows
            if (batch := batches.get(cast("Record", row.body).batch_id)) is not None
            and batch.facts.forgets(cast("Record", row.body))
        ]
        if forgotten:
            tokens = any_of(TOKEN, [each.version.write_id for each in forgotten])
            await self._records.delete(where(has_id(each.record_id for each in forgotten), tokens))
        if holding := {worker for row in rows if (worker := cast("Record", row.body).worker) is not None}:
            gone = where(has_id(map(worker_point_id, holding)), GONE)
            await self._state.set_payload({RETURNED: uuid4().hex}, gone)
        await self._recount(each for each, batch in batches.items() if batch.facts.deleted is None)

    async def _swap_batches(self, changed: Sequence[StoredBatch]) -> set[UUID]:
        """Store batches as given, marks included, whose points still bear the tokens they were read with."""
        points = [batch_points.point_of(each) for each in changed]
        return await self._state.swap(points, [each.token for each in changed if each.token])

    async def _recount(self, batch_ids: Iterable[UUID]) -> None:
        """Let each batch be shown as ended if its records here agree, and as going on if they do not.

        A sealed batch that goes on is written in any case: whoever counted its records before these came and means
        to end it must count again.
        """
        left = set(batch_ids)
        while left:
            sealed = {key: each for key, each in (await self._batches(left)).items() if each.facts.seal}
            statuses = await asyncio.gather(*(self._status(each) for each in sealed.values()))
            changed = [
                replace(each, status=status)
                for each, status in zip(sealed.values(), statuses, strict=True)
                if status is None or status is not each.status
            ]
            left = {each.batch_id for each in changed} - await self._swap_batches(changed)

    async def _status(self, stored: StoredBatch) -> BatchStatus | None:
        if stored.end is None:
            return None
        counters = (await self._outcomes(stored.batch_id)).counters
        if not confirms_end(stored.facts, counters):
            return None
        return computed_status(replace(stored, status=None).batch, counters)


def _record(row: Row) -> Record:
    return cast("Record", row.body)


def _is_marked(made: models.PointStruct) -> bool:
    return not {OWED, ASIDE}.isdisjoint(made.payload or {})
