"""Retrying, cancelling and ending batches, and the events of their ends.

Orders of writes, each prefix of which can be repeated:

- retry: the batch goes into its next round first (else reopened records could sit in an ended batch), then its
  records. Until then, and at most REOPENING, it does not end.
- cancel: the batch is marked, so that nothing more is claimed, then its open records are cancelled, then what is
  there is declared. A sweep of ``end_batches`` finishes what a crash left.
- end: one write, event included, by compare-and-set on the batch as it was before its records were counted.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from uuid import UUID

from qdrant_client import models

from gristmill.domain import hold, moves
from gristmill.domain.batch import Batch, BatchStatus, computed_status, may_end
from gristmill.domain.events import BatchEnded, batch_ended
from gristmill.domain.facts import EndFact
from gristmill.domain.failures import PERMANENT_CATEGORIES, FailureCategory
from gristmill.domain.record import OPEN_STATUSES, Record, RecordStatus
from gristmill.stores.qdrant import batch_points, end_points
from gristmill.stores.qdrant.batch_points import StoredBatch, changed_at, held_as
from gristmill.stores.qdrant.batch_store import REMOVED, of_batch
from gristmill.stores.qdrant.end_points import StoredEnd
from gristmill.stores.qdrant.outcomes import OutcomeWriter
from gristmill.stores.qdrant.points import TOKEN, Payload, any_of, equals, where, within
from gristmill.stores.qdrant.record_points import id_of
from gristmill.stores.qdrant.values import instant

REOPENING = timedelta(minutes=1)
_UNENDED = (BatchStatus.QUEUED.value, BatchStatus.PROCESSING.value)


class Endings(OutcomeWriter):
    async def retry_failed(
        self,
        batch_id: UUID,
        *,
        categories: Collection[FailureCategory] | None = None,
        permanent: bool = False,
    ) -> int:
        await self._batch(batch_id)
        wanted = set(FailureCategory) if categories is None else set(categories)
        wanted -= frozenset() if permanent else PERMANENT_CATEGORIES
        chosen = of_batch(
            batch_id,
            equals("status", RecordStatus.FAILED.value),
            any_of("error_category", [each.value for each in wanted]),
        )
        if not await self._records.count(chosen):
            return 0
        count, ahead = await self._reopen(batch_id, chosen)
        if ahead:
            count += (await self._reopen(batch_id, chosen, ahead=ahead))[0]
        await self._change_batch(batch_id, _settled_down)
        return count

    async def _reopen(self, batch_id: UUID, chosen: models.Filter, *, ahead: int = 0) -> tuple[int, int]:
        """How many records were reopened, and the highest round of those that are ahead of the batch (0: none is)."""
        reopened = (await self._change_batch(batch_id, partial(self._reopened, ahead=ahead))).facts
        ahead = 0

        def reopen(record: Record) -> Record | None:
            nonlocal ahead
            if record.status is not RecordStatus.FAILED:
                return None
            if record.round >= reopened.round:
                ahead = max(ahead, record.round)
                return None
            return moves.reopen(record, batch_round=reopened.round, write=self._write())

        count = 0
        async for page in self._records.pages(chosen):
            count += len(await self._move({id_of(row): row for row in page}, reopen))
        return count, ahead

    def _reopened(self, stored: StoredBatch, *, ahead: int) -> StoredBatch:
        write = self._write()
        facts = changed_at(stored.facts, write.now, round=moves.round_after(stored.facts.round, ahead))
        return replace(
            stored,
            facts=held_as(facts, hold.NOT_HELD, write),
            status=None,
            reopening_until=instant(write.now + REOPENING),
        )

    async def cancel_batch(self, batch_id: UUID, *, error_message: str | None = None) -> int:
        total = await self._records.count(of_batch(batch_id))

        def mark(stored: StoredBatch) -> StoredBatch | None:
            if stored.status is not None:
                return None
            facts = stored.facts.cancelled_by(self._write(), error_message=error_message, total=total)
            return replace(stored, facts=facts)

        if (await self._change_batch(batch_id, mark)).status is not None:
            return 0
        cancelled = await self._cancel_open(batch_id)
        await self._declare(batch_id)
        return cancelled

    async def _cancel_open(self, batch_id: UUID) -> int:
        def cancel(record: Record) -> Record | None:
            return moves.cancel(record, self._write()) if record.status in OPEN_STATUSES else None

        count = 0
        open_records = any_of("status", [each.value for each in OPEN_STATUSES])
        async for page in self._records.pages(of_batch(batch_id, open_records)):
            count += len(await self._move({id_of(row): row for row in page}, cancel))
        return count

    async def end_batches(self, batch_ids: Collection[UUID] | None = None) -> Sequence[Batch]:
        ended = []
        for stored in await self._sealed(batch_ids):
            batch = await self._end(stored)
            if batch is not None:
                ended.append(batch)
        return ended

    async def _sealed(self, batch_ids: Collection[UUID] | None) -> list[StoredBatch]:
        if batch_ids is not None:
            found = list((await self._batches(batch_ids)).values())
            return [each for each in found if each.facts.seal is not None and each.status is None]
        sealed = (any_of("status", _UNENDED), within("sealed_at", gte=0))
        rows = await self._state.by_id(where(equals("type", batch_points.BATCH), *sealed, without=[REMOVED]))
        return [batch_points.stored_of(each) for each in rows]

    async def _end(self, stored: StoredBatch) -> Batch | None:
        """End the batch if it may; None if it may not, or if another has ended it."""
        found: StoredBatch | None = stored
        while found is not None and found.status is None:
            ended = await self._ended(found)
            if ended is None:
                return None
            new, processed = ended
            written = await self._swap_batch(found, new)
            if written is not None:
                return batch_points.counted(written.batch, processed)
            found = (await self._batches([stored.batch_id])).get(stored.batch_id)
        return None

    async def _ended(self, stored: StoredBatch) -> tuple[StoredBatch, int] | None:
        """The batch as it is after its end, and how many records ended; None if it may not end.

        If its round ended already and a merge brought records after that, it ends again, and its event stays.
        """
        write, batch = self._write(), stored.batch
        if stored.reopening_until > instant(write.now):
            return None
        found = (await self._outcomes(batch.batch_id)).counters
        if batch.cancel_requested and found.open:
            await self._cancel_open(batch.batch_id)
            found = (await self._outcomes(batch.batch_id)).counters
        if not may_end(batch, found):
            return None
        status = computed_status(batch, found)
        if stored.end is None:
            event = batch_ended(batch, found, status=status, now=write.now)
            fact = EndFact(event, delivered=False, write_id=write.write_id, life=stored.facts.life)
            stored = stored.with_end(StoredEnd(fact, self._numbers.marks()))
        facts = held_as(changed_at(stored.facts, write.now), hold.NOT_HELD, write)
        return replace(stored, facts=facts, status=status), found.ended

    # -- events --------------------------------------------------------------------------------------

    async def pending_events(self, *, limit: int) -> Sequence[BatchEnded]:
        with_events = await self._state.first(
            models.Filter(must=[within("outbox_at", gte=0)]), order="outbox_at", limit=limit
        )
        ends = [end for each in with_events for end in end_points.ends_of(each)]
        events = {end.event.event_id: end.event for end in ends if not end.fact.delivered}
        return sorted(events.values(), key=lambda event: (event.ended_at, event.event_id))[:limit]

    async def events_delivered(self, event_ids: Collection[UUID]) -> None:
        told = set(event_ids)
        holding = where(any_of("end_ids", [str(each) for each in told]))
        for payload in await self._state.by_id(holding):
            await self._tell(payload, told)

    async def _tell(self, payload: Payload, told: set[UUID]) -> None:
        """Write into a point that some of its ends were told."""
        found: Payload | None = payload
        while found is not None:
            before = end_points.ends_of(found)
            ends = [self._told(each, told) for each in before]
            if ends == list(before):
                return
            point_id, new = batch_points.point_with_ends(found, ends)
            if await self._state.swap_one(new, found[TOKEN]):
                return
            found = (await self._state.get([point_id])).get(point_id)

    def _told(self, end: StoredEnd, told: set[UUID]) -> StoredEnd:
        if end.event.event_id not in told or end.fact.delivered:
            return end
        return StoredEnd(replace(end.fact, delivered=True), self._numbers.marks())


def _settled_down(stored: StoredBatch) -> StoredBatch:
    return replace(stored, reopening_until=0)
