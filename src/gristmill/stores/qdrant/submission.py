"""Submission and sealing.

A slice is one insert (or a few, by size) of points that are not there yet: any prefix of them is a shorter slice,
and the same call again stores the rest. Sealing declares the total that is counted; who inserts under a seal that
it did not see declares more, so the total that stands was counted after the last insert.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from qdrant_client import models

from gristmill.domain.batch import Batch, NewBatch, missing_records
from gristmill.domain.facts import Submitter
from gristmill.domain.identity import checked_item_id, record_id
from gristmill.domain.record import Item, Record
from gristmill.domain.versions import Version
from gristmill.ports.batches import Created
from gristmill.ports.errors import BatchConflictError
from gristmill.stores.qdrant import batch_points, record_points
from gristmill.stores.qdrant.batch_points import StoredBatch, changed_at
from gristmill.stores.qdrant.batch_store import of_batch
from gristmill.stores.qdrant.points import TOKEN, any_of
from gristmill.stores.qdrant.removal import Removal
from gristmill.stores.qdrant.values import json_text, json_value


class Submission(Removal):
    async def create_batch(self, new: NewBatch) -> Batch:
        while True:
            stored = (await self._all_batches([new.batch_id])).get(new.batch_id)
            if stored is not None and stored.facts.deleted is None:
                break
            if (created := await self._create(new, stored)) is not None:
                return created.batch

        def take_over(found: StoredBatch) -> StoredBatch | None:
            facts = found.facts
            if facts.seal is not None or facts.submitter.name == new.submitter:
                return None
            write = self._write()
            version = facts.submitter.version.written(stamp=write.stamp, write_id=write.write_id)
            return replace(found, facts=replace(facts, submitter=Submitter(new.submitter, version)))

        return await self._counted(await self._change_batch(new.batch_id, take_over))

    async def _create(self, new: NewBatch, tombstone: StoredBatch | None) -> StoredBatch | None:
        """Create the batch where none is, or only its tombstone; None if another one was faster."""
        life = 0 if tombstone is None else tombstone.facts.life + 1
        facts = batch_points.queued(new, self._write(), life=life)
        ends = () if tombstone is None else tombstone.ends
        created = StoredBatch(facts, ends=ends, marks=self._numbers.marks())
        if tombstone is not None:
            await self._delete_records_of([tombstone])
            return await self._put_batch(tombstone, created)
        made = batch_points.point_of(created)
        await self._state.insert([made])
        return created if await self._state.bearing([made]) else None

    async def create_processing_records(self, batch_id: UUID, items: Sequence[Item]) -> Created:
        stored = await self._batch(batch_id)
        given: dict[str, Item] = {}
        for position, item in enumerate(items):
            given.setdefault(checked_item_id(item.item_id, position=position), item)
        if stored.facts.seal is not None and not await self._takes_more(stored, given):
            return Created(created=0, existing=len(items))
        if not given:
            return Created(created=0, existing=0)
        stored = await self._with_reference(stored, next(iter(given)))
        marks = self._numbers.marks()
        points = [
            record_points.point_of(
                self._pending(stored, item), record_points.placed_in(stored, item_id), marks
            )
            for item_id, item in given.items()
        ]
        await self._records.insert(points)
        created, now = await asyncio.gather(self._records.bearing(points), self._batch(batch_id))
        if now.facts.seal is not None and created:
            await self._inserted_under_a_seal(batch_id, points)
        return Created(created=len(created), existing=len(items) - len(created))

    async def _takes_more(self, sealed: StoredBatch, given: dict[str, Item]) -> bool:
        """Whether any of the items is not there. Raises BatchConflictError if they are more than are missing."""
        ids = {record_id(sealed.batch_id, item_id): item_id for item_id in given}
        stored = await self._records.get(ids, fields=[TOKEN])
        others = [item_id for each, item_id in ids.items() if each not in stored]
        if others and len(others) > await self._missing(sealed):
            raise BatchConflictError(sealed.batch_id, others)
        return bool(others)

    async def _missing(self, stored: StoredBatch) -> int:
        return missing_records(stored.batch, await self._records.count(of_batch(stored.batch_id)))

    async def _with_reference(self, stored: StoredBatch, item_id: str) -> StoredBatch:
        """The batch with the reference its item ids are ordered by; the first one given stays."""
        if stored.reference is not None:
            return stored

        def refer(found: StoredBatch) -> StoredBatch | None:
            return None if found.reference is not None else replace(found, reference=item_id)

        return await self._change_from(stored, refer)

    def _pending(self, stored: StoredBatch, item: Item) -> Record:
        write = self._write()
        return Record(
            batch_id=stored.batch_id,
            item_id=item.item_id,
            kind=item.kind,
            source=item.source,
            payload=json_value(json_text(item.payload)),
            priority=stored.facts.header.priority,
            created_at=write.now,
            updated_at=write.now,
            next_attempt_at=write.now,
            version=Version().written(stamp=write.stamp, write_id=write.write_id),
        )

    async def _inserted_under_a_seal(self, batch_id: UUID, points: Sequence[models.PointStruct]) -> None:
        """Take out what nobody has worked on, if the batch has ended: its end did not count them."""
        if (await self._declare(batch_id)).status is None:
            return
        if late := await self._records.bearing(points):
            tokens = [(each.payload or {})[TOKEN] for each in points]
            await self._records.delete(of_batch(batch_id, any_of(TOKEN, tokens)))
            others = [(each.payload or {})["item_id"] for each in points if UUID(str(each.id)) in late]
            raise BatchConflictError(batch_id, others)

    async def seal_batch(self, batch_id: UUID, *, anew: bool = False) -> Batch:
        stored = await self._batch(batch_id)
        before = stored.facts.seal
        if before is None or (anew and await self._missing(stored)):
            total = await self._records.count(of_batch(batch_id))

            def seal(found: StoredBatch) -> StoredBatch | None:
                return self._sealed_with(found, total) if found.facts.seal == before else None

            await self._change_from(stored, seal)
            stored = await self._declare(batch_id)
        return await self._counted(stored)

    def _sealed_with(self, stored: StoredBatch, total: int) -> StoredBatch:
        write = self._write()
        facts = stored.facts.sealed_with(total, write_id=write.write_id, sealed_at=write.now)
        return replace(stored, facts=changed_at(facts, write.now))

    async def _declare(self, batch_id: UUID) -> StoredBatch:
        """Let the total of a sealed batch be all that is there now, unless it has ended."""
        while True:
            stored = await self._batch(batch_id)
            total = await self._records.count(of_batch(batch_id))
            seal = stored.facts.seal
            if stored.status is not None or seal is None or seal.total >= total:
                return stored
            written = await self._swap_batch(stored, self._sealed_with(stored, total))
            if written is not None:
                return written
