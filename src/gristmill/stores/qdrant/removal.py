"""Cleanup of old batches.

Its order: the batch's point is marked as removed (by compare-and-set: from here on it is there for nobody), its
undelivered events become points of their own, its records go, its point goes. A cleanup or a batch of the same id
that comes after a crash goes on where it stopped.
"""

from datetime import timedelta
from uuid import UUID, uuid4

from qdrant_client import models

from gristmill.ports.batches import Cleanup
from gristmill.stores.qdrant import batch_points, schema
from gristmill.stores.qdrant.batch_store import REMOVED, BatchStore, of_batch
from gristmill.stores.qdrant.points import TOKEN, Payload, any_of, groups, has_id, point, where, within
from gristmill.stores.qdrant.values import instant

_BATCHES_A_COUNT = 100


class Removal(BatchStore):
    async def cleanup_old_records(self, older_than: timedelta, *, apply: bool) -> Cleanup:
        before = instant(self._clock.now() - older_than)
        if apply:
            for left in await self._state.by_id(schema.of_type(batch_points.BATCH, REMOVED)):
                await self._finish_removal(left)
        ended = schema.of_type(batch_points.BATCH, within("completed_at", lt=before))
        old = [each for each in await self._state.by_id(ended) if "removed" not in each]
        if apply:
            old = [each for each in old if await self._mark_removed(each)]
        records = 0
        for group in groups([each["batch_id"] for each in old], _BATCHES_A_COUNT):
            records += await self._records.count(where(any_of("batch_id", group)))
        if apply:
            for each in old:
                await self._finish_removal(each)
        return Cleanup(batches=len(old), records=records)

    async def _mark_removed(self, payload: Payload) -> bool:
        marked = payload | {"removed": "yes", TOKEN: uuid4().hex}
        return await self._state.swap_one(point(UUID(payload["batch_id"]), marked), payload[TOKEN])

    async def _finish_removal(self, payload: Payload) -> None:
        batch_id = UUID(payload["batch_id"])
        orphans: list[models.PointStruct] = [
            batch_points.orphan_point(event) for event in batch_points.outbox_of(payload)
        ]
        if orphans:
            await self._state.insert(orphans)
        await self._records.delete(of_batch(batch_id))
        await self._state.delete(models.Filter(must=[has_id([batch_id]), REMOVED]))
