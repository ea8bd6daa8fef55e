"""Workers, batches, records and ends that come from another database.

Every row is one compare-and-set. Whatever else follows from it here (records that go with a tombstone, an end that
holds or holds no more) comes after it and is done again whenever the row comes again, so that a crash in between
leaves nothing undone: the row's mark over there is not settled before.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import cast
from uuid import UUID

from qdrant_client import models

from gristmill.domain.facts import BatchFacts, EndFact
from gristmill.ports.replication import Fate, Merge
from gristmill.ports.rows import Kind, WorkerRow, merged, row_of
from gristmill.stores.qdrant import batch_points, end_points, worker_points
from gristmill.stores.qdrant.batch_points import StoredBatch
from gristmill.stores.qdrant.batch_store import of_batch
from gristmill.stores.qdrant.closing import Closing
from gristmill.stores.qdrant.end_points import EVENT, StoredEnd
from gristmill.stores.qdrant.marks import marks_of
from gristmill.stores.qdrant.merging_records import Merges, RecordMerging, Rows, first_of_each, held
from gristmill.stores.qdrant.points import TOKEN, Payload, any_of, has_id, where, within
from gristmill.stores.qdrant.record_points import id_of, record_of
from gristmill.stores.qdrant.values import instant
from gristmill.stores.qdrant.worker_points import worker_point_id


class BatchMerging(RecordMerging):
    async def merge_workers(self, rows: Rows) -> Merges:
        merges: Merges = {}
        while left := first_of_each({n: row for n, row in rows.items() if n not in merges}):
            stored = await self._state.get(worker_point_id(row.key) for row in left.values())
            points, expected = {}, []
            for n, row in left.items():
                there = stored.get(worker_point_id(row.key))
                before = None if there is None else worker_points.row_of(there)
                body = cast("WorkerRow", merged(before, row.body))
                if body == before:
                    merges[n] = Merge(row, Fate.HELD, body.version.write_id)
                    continue
                points[n] = worker_points.point_of(body, {} if there is None else marks_of(there))
                expected += [] if there is None else [there[TOKEN]]
            won = await self._state.swap(list(points.values()), expected)
            merges |= held(rows, points, won)
        return merges

    # -- batches -------------------------------------------------------------------------------------

    async def merge_batches(self, rows: Rows) -> Merges:
        merges: Merges = {}
        while left := first_of_each({n: row for n, row in rows.items() if n not in merges}):
            stored = await self._all_batches(UUID(row.key) for row in left.values())
            changed = {}
            for n, row in left.items():
                new = _with_facts(stored.get(UUID(row.key)), cast("BatchFacts", row.body))
                if new == stored.get(new.batch_id):
                    merges[n] = Merge(row, Fate.HELD, new.facts.token)
                else:
                    changed[n] = new
            won = await self._swap_batches(list(changed.values()))
            merges |= {
                n: Merge(rows[n], Fate.HELD, new.facts.token)
                for n, new in changed.items()
                if new.batch_id in won
            }
        await self._settle_batches({UUID(row.key) for row in rows.values()})
        return merges

    async def _settle_batches(self, batch_ids: Iterable[UUID]) -> None:
        """Do what follows from the facts these batches have now."""
        stored = await self._all_batches(batch_ids)
        if dead := [each for each in stored.values() if each.facts.deleted is not None]:
            await self._delete_records_of(dead)
        for each in stored.values():
            if each.facts.deleted is None and each.facts.life > 0:
                await self._delete_forgotten(each.facts)
        await self._recount(stored)

    async def _delete_forgotten(self, facts: BatchFacts) -> None:
        """Records of an earlier life of the batch."""
        earlier = of_batch(facts.batch_id, within("batch_created_at", lt=instant(facts.header.created_at)))
        async for page in self._records.pages(earlier):
            await self._delete_as_read([each for each in page if facts.forgets(record_of(each))])

    async def _delete_as_read(self, rows: Sequence[Payload]) -> None:
        if rows:
            tokens = any_of(TOKEN, [each[TOKEN] for each in rows])
            await self._records.delete(where(has_id(map(id_of, rows)), tokens))

    # -- ends ----------------------------------------------------------------------------------------

    async def merge_ends(self, rows: Rows) -> Merges:
        merges: Merges = {}
        facts = {n: cast("EndFact", row.body) for n, row in rows.items()}
        while left := {n: row for n, row in rows.items() if n not in merges}:
            batch_of = {n: facts[n].event.batch_id for n in left}
            batches = await self._all_batches(batch_of.values())
            left = {n: left[n] for n in {batch_id: n for n, batch_id in reversed(batch_of.items())}.values()}
            lone = await self._state.get(UUID(left[n].key) for n in left if batch_of[n] not in batches)
            points: dict[int, models.PointStruct] = {}
            held, expected = dict[int, EndFact](), list[str]()
            for n, row in left.items():
                batch, there = batches.get(batch_of[n]), lone.get(UUID(row.key))
                before = _end_of(batch, there, row.key)
                held[n] = cast("EndFact", merged(before.fact if before else None, facts[n]))
                if before is not None and before.fact == held[n]:
                    merges[n] = Merge(row, Fate.HELD, held[n].token)
                elif batch is None and before is None and held[n].delivered:
                    merges[n] = Merge(
                        row, Fate.HELD, None
                    )  # Told, and of a batch that nobody knows any more.
                else:
                    end = StoredEnd(held[n], before.marks if before else {})
                    points[n] = (
                        end_points.lone_point(end)
                        if batch is None
                        else batch_points.point_of(batch.with_end(end))
                    )
                    expected += [batch.token] if batch is not None else [there[TOKEN]] if there else []
            won = await self._state.swap(list(points.values()), expected)
            merges |= {
                n: Merge(rows[n], Fate.HELD, held[n].token)
                for n, each in points.items()
                if UUID(str(each.id)) in won
            }
        await self._recount({each.event.batch_id for each in facts.values()})
        return merges

    # -- tombstones ----------------------------------------------------------------------------------

    async def purge(self, older_than: timedelta) -> int:
        return await self._purge(older_than)

    async def merge(self, kind: Kind, rows: Rows, closing: Closing) -> Merges:
        match kind:
            case Kind.WORKER:
                return await self.merge_workers(rows)
            case Kind.BATCH:
                return await self.merge_batches(rows)
            case Kind.RECORD:
                return await self.merge_records(rows, closing)
            case _:
                return await self.merge_ends(rows)


def _with_facts(stored: StoredBatch | None, incoming: BatchFacts) -> StoredBatch:
    if stored is None:
        return StoredBatch(incoming)
    facts = cast("BatchFacts", merged(stored.facts, incoming))
    if row_of(facts).token == stored.facts.token:
        return stored
    same_round = (facts.life, facts.round) == (stored.facts.life, stored.facts.round)
    return replace(stored, facts=facts, status=stored.status if same_round else None)


def _end_of(batch: StoredBatch | None, lone: Payload | None, key: str) -> StoredEnd | None:
    ends = batch.ends if batch is not None else ()
    if lone is not None and lone["type"] == EVENT:
        ends = end_points.ends_of(lone)
    return next((each for each in ends if str(each.event.event_id) == key), None)
