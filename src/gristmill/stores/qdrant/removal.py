"""Cleanup of old batches, and what becomes of tombstones.

Its order: the batch's point becomes its tombstone (by compare-and-set: from here on it is there for nobody), then its
records go. A crash in between leaves records under a tombstone, which every later cleanup takes. A database that never
had another one beside it keeps tombstones no longer than claims of forgotten batches may come; else they stay until
both have heard of them and ``purge`` forgets them.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from gristmill.domain.facts import FORGOTTEN_AFTER
from gristmill.ports.batches import Cleanup
from gristmill.stores.qdrant import batch_points, purging, schema
from gristmill.stores.qdrant.batch_points import StoredBatch
from gristmill.stores.qdrant.batch_store import REMOVED, BatchStore
from gristmill.stores.qdrant.points import any_of, equals, groups, where, where_any, within
from gristmill.stores.qdrant.values import instant, instant_or_none

_BATCHES_A_COUNT = 100


class Removal(BatchStore):
    async def cleanup_old_records(self, older_than: timedelta, *, apply: bool) -> Cleanup:
        if apply:
            removed = await self._state.by_id(schema.of_type(batch_points.BATCH, REMOVED))
            await self._delete_records_of([batch_points.stored_of(each) for each in removed])
        old = await self._ended_before(instant(self._clock.now() - older_than))
        if apply:
            buried = [await self._bury(each) for each in old]
            old = [each for each in buried if each is not None]
        records = 0
        for group in groups([str(each.batch_id) for each in old], _BATCHES_A_COUNT):
            records += await self._records.count(where(any_of("batch_id", group)))
        if apply:
            await self._delete_records_of(old)
            if await self._was_always_alone():
                await self._purge(FORGOTTEN_AFTER, owed_too=True)
        return Cleanup(batches=len(old), records=records)

    async def _ended_before(self, before: int) -> list[StoredBatch]:
        ended = (equals("type", batch_points.BATCH), within("completed_at", lt=before))
        found = await self._state.by_id(where(*ended, without=[REMOVED]))
        return [batch_points.stored_of(each) for each in found]

    async def _bury(self, stored: StoredBatch) -> StoredBatch | None:
        write = self._write()
        facts = stored.facts.tombstone(write_id=write.write_id, now=write.now)
        return await self._swap_batch(stored, replace(stored, facts=facts))

    async def _delete_records_of(self, tombstones: Sequence[StoredBatch]) -> None:
        """Not those of a batch that was created anew since."""
        for group in groups(tombstones, _BATCHES_A_COUNT):
            lives = [
                where(
                    equals("batch_id", str(each.batch_id)),
                    within("batch_created_at", lte=instant_or_none(each.facts.deleted_at)),
                )
                for each in group
            ]
            await self._records.delete(where_any(lives))

    async def _purge(self, older_than: timedelta, *, owed_too: bool = False) -> int:
        before = self._clock.now() - older_than
        dead = where(REMOVED, within("deleted_at", lt=instant(before)))
        async for page in self._state.pages(dead):
            await self._delete_records_of([batch_points.stored_of(each) for each in page])
        return await purging.purge(self._state, self._documents, before, owed_too=owed_too)

    async def _was_always_alone(self) -> bool:
        """Whether no other database can hold what is deleted here: nobody heard of rows, and none were merged."""
        meta = (await self._state.get([schema.META_ID])).get(schema.META_ID, {})
        return bool(meta.get("sequence", 0) == 0)
