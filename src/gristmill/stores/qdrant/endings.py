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
from uuid import UUID

from qdrant_client import models

from gristmill.domain import hold, moves
from gristmill.domain.batch import Batch, BatchStatus, computed_status, may_end
from gristmill.domain.events import BatchEnded, batch_ended
from gristmill.domain.failures import PERMANENT_CATEGORIES, FailureCategory
from gristmill.domain.record import OPEN_STATUSES, Record, RecordStatus
from gristmill.stores.qdrant import batch_points
from gristmill.stores.qdrant.batch_points import batch_of, kept_of, outbox_of, with_outbox
from gristmill.stores.qdrant.batch_store import REMOVED, of_batch
from gristmill.stores.qdrant.outcomes import OutcomeWriter
from gristmill.stores.qdrant.points import TOKEN, Payload, any_of, equals, has_id, where, within
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
        await self._payload(batch_id)
        wanted = set(FailureCategory) if categories is None else set(categories)
        wanted -= frozenset() if permanent else PERMANENT_CATEGORIES
        chosen = of_batch(
            batch_id,
            equals("status", RecordStatus.FAILED.value),
            any_of("error_category", [each.value for each in wanted]),
        )
        if not await self._records.count(chosen):
            return 0
        reopened = batch_of(await self._change_batch(batch_id, self._reopened))

        def reopen(record: Record) -> Record | None:
            if record.status is not RecordStatus.FAILED or record.round >= reopened.round:
                return None
            return moves.reopen(record, batch_round=reopened.round, write=self._write())

        count = 0
        async for page in self._records.pages(chosen):
            count += len(await self._move({id_of(row): row for row in page}, reopen))
        await self._change_batch(batch_id, _settled_down)
        return count

    def _reopened(self, batch: Batch, payload: Payload) -> models.PointStruct:
        now = self._clock.now()
        reopened = replace(
            batch,
            round=batch.round + 1,
            status=BatchStatus.PROCESSING,
            completed_at=None,
            cancel_requested=False,
            error_message=None,
            hold=hold.NOT_HELD,
            updated_at=now,
        )
        return batch_points.point_of(
            reopened, kept_of(payload) | {"reopening_until": instant(now + REOPENING)}
        )

    async def cancel_batch(self, batch_id: UUID, *, error_message: str | None = None) -> int:
        total = await self._records.count(of_batch(batch_id))

        def mark(batch: Batch, payload: Payload) -> models.PointStruct | None:
            if batch.ended:
                return None
            now = self._clock.now()
            marked = replace(
                batch,
                cancel_requested=True,
                error_message=batch.error_message if error_message is None else error_message,
                sealed_at=batch.sealed_at or now,
                total_files=total,
                updated_at=now,
            )
            return batch_points.point_of(marked, kept_of(payload))

        if batch_of(await self._change_batch(batch_id, mark)).ended:
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
        for payload in await self._sealed(batch_ids):
            batch = await self._end(payload)
            if batch is not None:
                ended.append(batch)
        return ended

    async def _sealed(self, batch_ids: Collection[UUID] | None) -> list[Payload]:
        if batch_ids is not None:
            found = list((await self._payloads(batch_ids)).values())
            return [each for each in found if "sealed_at" in each and each["status"] in _UNENDED]
        sealed = (any_of("status", _UNENDED), within("sealed_at", gte=0))
        return await self._state.by_id(where(equals("type", batch_points.BATCH), *sealed, without=[REMOVED]))

    async def _end(self, payload: Payload) -> Batch | None:
        """End the batch if it may; None if it may not, or if another has ended it."""
        batch_id = UUID(payload["batch_id"])
        found: Payload | None = payload
        while found is not None and found["status"] in _UNENDED:
            ended = await self._may_end(found)
            if ended is None:
                return None
            batch, new = ended
            if await self._state.swap_one(new, found[TOKEN]):
                return batch
            found = (await self._payloads([batch_id])).get(batch_id)
        return None

    async def _may_end(self, payload: Payload) -> tuple[Batch, models.PointStruct] | None:
        now, batch = self._clock.now(), batch_of(payload)
        if payload.get("reopening_until", 0) > instant(now):
            return None
        found = (await self._outcomes(batch.batch_id)).counters
        if batch.cancel_requested and found.open:
            await self._cancel_open(batch.batch_id)
            found = (await self._outcomes(batch.batch_id)).counters
        if not may_end(batch, found):
            return None
        status = computed_status(batch, found)
        event = batch_ended(batch, found, status=status, now=now)
        ended = replace(batch, status=status, completed_at=now, hold=hold.NOT_HELD, updated_at=now)
        told = [each for each in outbox_of(payload) if each.event_id != event.event_id]
        new = batch_points.point_of(ended, kept_of(payload) | with_outbox([*told, event]))
        return batch_points.counted(ended, found.ended), new

    # -- events --------------------------------------------------------------------------------------

    async def pending_events(self, *, limit: int) -> Sequence[BatchEnded]:
        with_events = await self._state.first(
            models.Filter(must=[within("outbox_at", gte=0)]), order="outbox_at", limit=limit
        )
        events = [event for each in with_events for event in outbox_of(each)]
        return sorted(events, key=lambda event: (event.ended_at, event.event_id))[:limit]

    async def events_delivered(self, event_ids: Collection[UUID]) -> None:
        told = set(event_ids)
        holding = where(any_of("outbox_ids", [str(each) for each in told]))
        for payload in await self._state.by_id(holding):
            if payload["type"] == batch_points.EVENT:
                (event,) = outbox_of(payload)
                await self._state.delete(where(has_id([event.event_id])))
            else:
                await self._change_batch(
                    UUID(payload["batch_id"]), lambda batch, found: _without(batch, found, told)
                )


def _settled_down(batch: Batch, payload: Payload) -> models.PointStruct | None:
    return batch_points.point_of(batch, kept_of(payload) | {"reopening_until": None})


def _without(batch: Batch, payload: Payload, told: set[UUID]) -> models.PointStruct | None:
    events = outbox_of(payload)
    left = [each for each in events if each.event_id not in told]
    if len(left) == len(events):
        return None
    return batch_points.point_of(batch, kept_of(payload) | with_outbox(left))
