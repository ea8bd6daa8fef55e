"""Submission and sealing.

A slice is one insert (or a few, by size) of points that are not there yet: any prefix of them is a shorter slice,
and the same call again stores the rest. Sealing declares the total that is counted; who inserts under a seal that
it did not see declares anew, so the total that stands was counted after the last insert.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from qdrant_client import models

from gristmill.domain.batch import Batch, NewBatch
from gristmill.domain.identity import checked_item_id, record_id
from gristmill.domain.record import Item, Record
from gristmill.domain.versions import Version
from gristmill.ports.batches import Created
from gristmill.ports.errors import BatchConflictError
from gristmill.stores.qdrant import batch_points, record_points
from gristmill.stores.qdrant.batch_points import batch_of, kept_of
from gristmill.stores.qdrant.batch_store import of_batch
from gristmill.stores.qdrant.points import TOKEN, Payload, any_of
from gristmill.stores.qdrant.removal import Removal
from gristmill.stores.qdrant.values import json_text, json_value


class Submission(Removal):
    async def create_batch(self, new: NewBatch) -> Batch:
        stored = (await self._state.get([new.batch_id])).get(new.batch_id)
        if stored is not None and "removed" in stored:
            await self._finish_removal(stored)
            stored = None
        if stored is None:
            created = batch_points.point_of(batch_points.new_batch(new, self._clock.now()))
            await self._state.insert([created])
            if await self._state.bearing([created]):
                return batch_of(created.payload or {})

        def take_over(batch: Batch, payload: Payload) -> models.PointStruct | None:
            if batch.sealed_at is not None or batch.submitter == new.submitter:
                return None
            return batch_points.point_of(replace(batch, submitter=new.submitter), kept_of(payload))

        return await self._counted(await self._change_batch(new.batch_id, take_over))

    async def create_processing_records(self, batch_id: UUID, items: Sequence[Item]) -> Created:
        payload = await self._payload(batch_id)
        batch = batch_of(payload)
        given: dict[str, Item] = {}
        for position, item in enumerate(items):
            given.setdefault(checked_item_id(item.item_id, position=position), item)
        if batch.sealed_at is not None:
            await self._refuse_others(batch_id, given)
            return Created(created=0, existing=len(items))
        if not given:
            return Created(created=0, existing=0)
        payload = await self._with_reference(payload, next(iter(given)))
        points = [
            record_points.point_of(self._pending(batch, item), record_points.placed_in(payload, item_id))
            for item_id, item in given.items()
        ]
        await self._records.insert(points)
        created, now = await asyncio.gather(self._records.bearing(points), self._payload(batch_id))
        if batch_of(now).sealed_at is not None and created:
            await self._inserted_under_a_seal(batch_id, points)
        return Created(created=len(created), existing=len(items) - len(created))

    async def _refuse_others(self, batch_id: UUID, given: dict[str, Item]) -> None:
        ids = {record_id(batch_id, item_id): item_id for item_id in given}
        stored = await self._records.get(ids, fields=[TOKEN])
        if others := [item_id for each, item_id in ids.items() if each not in stored]:
            raise BatchConflictError(batch_id, others)

    async def _with_reference(self, payload: Payload, item_id: str) -> Payload:
        """The batch's point with the reference its item ids are ordered by; the first one given stays."""
        if "reference" in payload:
            return payload

        def refer(batch: Batch, found: Payload) -> models.PointStruct | None:
            if "reference" in found:
                return None
            return batch_points.point_of(batch, {**kept_of(found), "reference": item_id})

        return await self._change_batch(UUID(payload["batch_id"]), refer)

    def _pending(self, batch: Batch, item: Item) -> Record:
        write = self._write()
        return Record(
            batch_id=batch.batch_id,
            item_id=item.item_id,
            kind=item.kind,
            source=item.source,
            payload=json_value(json_text(item.payload)),
            priority=batch.priority,
            created_at=write.now,
            updated_at=write.now,
            next_attempt_at=write.now,
            version=Version().written(stamp=write.stamp, write_id=write.write_id),
        )

    async def _inserted_under_a_seal(self, batch_id: UUID, points: Sequence[models.PointStruct]) -> None:
        if not batch_of(await self._declare(batch_id)).ended:
            return
        tokens = [(each.payload or {})[TOKEN] for each in points]
        await self._records.delete(of_batch(batch_id, any_of(TOKEN, tokens)))
        raise BatchConflictError(batch_id, [(each.payload or {})["item_id"] for each in points])

    async def seal_batch(self, batch_id: UUID) -> Batch:
        payload = await self._payload(batch_id)
        if batch_of(payload).sealed_at is None:
            total = await self._records.count(of_batch(batch_id))

            def seal(batch: Batch, found: Payload) -> models.PointStruct | None:
                if batch.sealed_at is not None:
                    return None
                now = self._clock.now()
                sealed = replace(batch, sealed_at=now, total_files=total, updated_at=now)
                return batch_points.point_of(sealed, kept_of(found))

            await self._change_batch(batch_id, seal)
            payload = await self._declare(batch_id)
        return await self._counted(payload)

    async def _declare(self, batch_id: UUID) -> Payload:
        """Let the total of a sealed batch be what is there now, unless it has ended."""
        while True:
            payload = await self._payload(batch_id)
            total = await self._records.count(of_batch(batch_id))
            batch = batch_of(payload)
            if batch.ended or batch.total_files == total:
                return payload
            new = batch_points.point_of(replace(batch, total_files=total), kept_of(payload))
            if await self._state.swap_one(new, payload[TOKEN]):
                return new.payload or {}
