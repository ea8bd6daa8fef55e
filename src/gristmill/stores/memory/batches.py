"""The batch port over dicts. No method awaits inside, so each is atomic on its event loop."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from gristmill.domain import hold, moves
from gristmill.domain.batch import (
    Batch,
    BatchStatus,
    NewBatch,
    computed_status,
    may_end,
)
from gristmill.domain.events import BatchEnded, batch_ended
from gristmill.domain.failures import FailureCategory, is_permanent
from gristmill.domain.identity import checked_item_id
from gristmill.domain.record import (
    OPEN_STATUSES,
    Item,
    Outcome,
    Record,
    RecordStatus,
    Refusal,
    Report,
    claim_order,
)
from gristmill.domain.versions import Version
from gristmill.ports.batches import (
    Cleanup,
    Created,
    Worker,
)
from gristmill.ports.errors import BatchConflictError
from gristmill.stores.memory import summaries
from gristmill.stores.memory.batch_views import BatchViews
from gristmill.stores.memory.json_values import json_copy


class MemoryBatches(BatchViews):
    # -- submission ----------------------------------------------------------------------------------

    async def create_batch(self, new: NewBatch) -> Batch:
        stored = self._batches.get(new.batch_id)
        if stored is None:
            self._records[new.batch_id] = {}
            self._batches[new.batch_id] = _queued(new, self._clock.now())
        elif stored.sealed_at is None:
            self._batches[new.batch_id] = replace(stored, submitter=new.submitter)
        return self._batch(new.batch_id)

    async def create_processing_records(self, batch_id: UUID, items: Sequence[Item]) -> Created:
        batch = self._batch(batch_id)
        stored = self._records[batch_id]
        new: dict[str, Item] = {}
        for position, item in enumerate(items):
            item_id = checked_item_id(item.item_id, position=position)
            if item_id not in stored:
                new.setdefault(item_id, item)
        if new and batch.sealed_at is not None:
            raise BatchConflictError(batch_id, list(new))
        self._put(self._pending(batch, item) for item in new.values())
        return Created(created=len(new), existing=len(items) - len(new))

    def _pending(self, batch: Batch, item: Item) -> Record:
        write = self._write()
        return Record(
            batch_id=batch.batch_id,
            item_id=item.item_id,
            kind=item.kind,
            source=item.source,
            payload=json_copy(item.payload),
            priority=batch.priority,
            created_at=write.now,
            updated_at=write.now,
            next_attempt_at=write.now,
            version=Version().written(stamp=write.stamp, write_id=write.write_id),
        )

    async def seal_batch(self, batch_id: UUID) -> Batch:
        batch = self._batch(batch_id)
        if batch.sealed_at is None:
            self._change(batch, sealed_at=self._clock.now(), total_files=len(self._records[batch_id]))
        return self._batch(batch_id)

    # -- claims and leases ---------------------------------------------------------------------------

    async def renew_lease(self, worker: Worker) -> None:
        self._workers[worker.worker_id] = worker

    async def list_workers(self) -> Sequence[Worker]:
        return list(self._workers.values())

    async def take_back(self, worker_id: str, *, renewed_at: datetime) -> Sequence[Record]:
        worker = self._workers.get(worker_id)
        if worker is not None and worker.renewed_at > renewed_at:
            return []
        self._workers.pop(worker_id, None)
        held = [record for record in self._all_records() if record.worker == worker_id]
        return self._put(moves.end_leases(held, self._policy, self._write))

    async def claim_records(
        self,
        worker_id: str,
        *,
        limit: int,
        kinds: Collection[str] | None = None,
        batch_id: UUID | None = None,
    ) -> Sequence[Record]:
        now = self._clock.now()
        due = [record for record in self._claimable(kinds, batch_id) if self._due_at(record) <= now]
        chosen = sorted(due, key=claim_order)[:limit]
        claim_id = uuid4().hex
        claimed = self._put(
            moves.claim(record, claim_id=claim_id, worker=worker_id, write=self._write()) for record in chosen
        )
        for batch in {record.batch_id for record in claimed}:
            self._start(self._batch(batch))
        return claimed

    def _claimable(self, kinds: Collection[str] | None, batch_id: UUID | None) -> Iterator[Record]:
        for batch in self._batches.values():
            if batch.ended or batch.cancel_requested or batch_id not in {None, batch.batch_id}:
                continue
            for record in self._records[batch.batch_id].values():
                if record.status is RecordStatus.PENDING and (kinds is None or record.kind in kinds):
                    yield record

    def _start(self, batch: Batch) -> None:
        if batch.started_at is None:
            self._change(batch, status=BatchStatus.PROCESSING, started_at=self._clock.now())

    async def next_due(
        self, *, kinds: Collection[str] | None = None, batch_id: UUID | None = None
    ) -> datetime | None:
        return min((self._due_at(record) for record in self._claimable(kinds, batch_id)), default=None)

    def _due_at(self, record: Record) -> datetime:
        until = self._batches[record.batch_id].hold.until
        return record.next_attempt_at if until is None else max(record.next_attempt_at, until)

    async def record_stages(
        self, records: Sequence[Record], *, stage: str, progress: int
    ) -> Sequence[Record]:
        return self._put_held(
            records, lambda held: moves.progressed(held, stage=stage, progress=progress, write=self._write())
        )

    async def update_processing_status(self, reports: Sequence[Report]) -> Sequence[Refusal]:
        settled: dict[tuple[UUID, str], Record] = {}
        refused = []
        for report in reports:
            claimed = report.record
            key = (claimed.batch_id, claimed.item_id)
            met = settled.get(key) or self._stored(claimed)
            if claimed.batch_id not in self._batches or not moves.meets(met, report):
                refused.append(Refusal(report=report, met=met))
                continue
            held = met if met is not None and met.claim == claimed.claim else claimed
            settled[key] = moves.settle(held, report.outcome, self._policy, self._write())
            self._hold(claimed.batch_id, report.outcome)
        self._put(settled.values())
        return refused

    def _hold(self, batch_id: UUID, outcome: Outcome) -> None:
        batch, pause = self._batches[batch_id], self._policy.snooze_seconds
        held = hold.after(batch.hold, outcome, now=self._clock.now(), pause_seconds=pause)
        self._batches[batch_id] = replace(batch, hold=held)

    async def release_records(self, records: Sequence[Record]) -> int:
        return len(self._put_held(records, lambda held: moves.release(held, self._write())))

    # -- explicit changes ----------------------------------------------------------------------------

    async def retry_failed(
        self,
        batch_id: UUID,
        *,
        categories: Collection[FailureCategory] | None = None,
        permanent: bool = False,
    ) -> int:
        batch = self._batch(batch_id)
        chosen = [
            record
            for record in self._records[batch_id].values()
            if record.status is RecordStatus.FAILED
            and record.error is not None
            and (categories is None or record.error.category in categories)
            and (permanent or not is_permanent(record.error.category))
        ]
        if chosen:
            self._put(moves.reopen(r, batch_round=batch.round + 1, write=self._write()) for r in chosen)
            self._change(
                batch,
                round=batch.round + 1,
                status=BatchStatus.PROCESSING,
                completed_at=None,
                cancel_requested=False,
                error_message=None,
                hold=hold.NOT_HELD,
            )
        return len(chosen)

    async def cancel_batch(self, batch_id: UUID, *, error_message: str | None = None) -> int:
        batch = self._batch(batch_id)
        if batch.ended:
            return 0
        records = self._records[batch_id].values()
        cancelled = self._put(moves.cancel(r, self._write()) for r in records if r.status in OPEN_STATUSES)
        self._change(
            batch,
            cancel_requested=True,
            error_message=batch.error_message if error_message is None else error_message,
            sealed_at=batch.sealed_at or self._clock.now(),
            total_files=len(records),
        )
        return len(cancelled)

    async def end_batches(self, batch_ids: Collection[UUID] | None = None) -> Sequence[Batch]:
        ended = []
        for batch_id in [each for each in self._batches if batch_ids is None or each in batch_ids]:
            batch = self._batch(batch_id)
            found = summaries.counters(self._records[batch_id].values())
            if may_end(batch, found):
                status, now = computed_status(batch, found), self._clock.now()
                event = batch_ended(batch, found, status=status, now=now)
                self._events[event.event_id] = event
                self._change(batch, status=status, completed_at=now, hold=hold.NOT_HELD)
                ended.append(self._batch(batch_id))
        return ended

    async def pending_events(self, *, limit: int) -> Sequence[BatchEnded]:
        waiting = (event for event in self._events.values() if event.event_id not in self._delivered)
        return sorted(waiting, key=lambda event: (event.ended_at, event.event_id))[:limit]

    async def events_delivered(self, event_ids: Collection[UUID]) -> None:
        self._delivered.update(event_ids)

    async def cleanup_old_records(self, older_than: timedelta, *, apply: bool) -> Cleanup:
        before = self._clock.now() - older_than
        old = [b.batch_id for b in self._batches.values() if b.completed_at and b.completed_at < before]
        found = Cleanup(batches=len(old), records=sum(len(self._records[batch_id]) for batch_id in old))
        if apply:
            for batch_id in old:
                del self._batches[batch_id], self._records[batch_id]
            known = (event for event in self._events.values() if event.batch_id in old)
            for event_id in [event.event_id for event in known if event.event_id in self._delivered]:
                del self._events[event_id]
                self._delivered.discard(event_id)
        return found


def _queued(new: NewBatch, now: datetime) -> Batch:
    return Batch(
        batch_id=new.batch_id,
        kind=new.kind,
        name=new.name,
        collection=new.collection,
        priority=new.priority,
        round=0,
        status=BatchStatus.QUEUED,
        created_at=now,
        updated_at=now,
        total_files=0,
        processed_files=0,
        max_error_rate=new.max_error_rate,
        error_message=None,
        cancel_requested=False,
        sealed_at=None,
        started_at=None,
        completed_at=None,
        submitter=new.submitter,
        options=json_copy(new.options),
    )
