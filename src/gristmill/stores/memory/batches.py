"""The batch port over dicts. No method awaits inside, so each is atomic on its event loop."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from gristmill.domain import hold, moves
from gristmill.domain.batch import (
    Batch,
    NewBatch,
    computed_status,
    may_end,
    missing_records,
)
from gristmill.domain.events import BatchEnded, batch_ended
from gristmill.domain.facts import BatchFacts, EndFact, Header, Held, Submitter
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
from gristmill.ports.rows import WorkerRow
from gristmill.stores.memory import forgetting
from gristmill.stores.memory.batch_views import BatchViews
from gristmill.stores.memory.json_values import json_copy


class MemoryBatches(BatchViews):
    # -- submission ----------------------------------------------------------------------------------

    async def create_batch(self, new: NewBatch) -> Batch:
        stored, write = self._tables.batches.get(new.batch_id), self._write()
        if stored is None or stored.deleted is not None:
            life = 0 if stored is None else stored.life + 1
            self._tables.keep(_queued(new, write, life=life))
        elif stored.seal is None and stored.submitter.name != new.submitter:
            version = stored.submitter.version.written(stamp=write.stamp, write_id=write.write_id)
            self._tables.keep(replace(stored, submitter=Submitter(new.submitter, version)))
        return self._batch(new.batch_id)

    async def create_processing_records(self, batch_id: UUID, items: Sequence[Item]) -> Created:
        batch = self._batch(batch_id)
        stored = self._records(batch_id)
        new: dict[str, Item] = {}
        for position, item in enumerate(items):
            item_id = checked_item_id(item.item_id, position=position)
            if item_id not in stored:
                new.setdefault(item_id, item)
        if batch.sealed_at is not None and len(new) > missing_records(batch, len(stored)):
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

    async def seal_batch(self, batch_id: UUID, *, anew: bool = False) -> Batch:
        batch, total = self._batch(batch_id), len(self._records(batch_id))
        if batch.sealed_at is None or (anew and missing_records(batch, total)):
            write = self._write()
            facts = self._facts(batch_id).sealed_with(total, write_id=write.write_id, sealed_at=write.now)
            self._change(batch_id, seal=facts.seal)
        return self._batch(batch_id)

    # -- claims and leases ---------------------------------------------------------------------------

    async def renew_lease(self, worker: Worker) -> None:
        stored, write = self._tables.workers.get(worker.worker_id), self._write()
        version = stored.version if stored else Version()
        version = version.written(stamp=write.stamp, write_id=write.write_id)
        self._tables.keep(WorkerRow(worker, version))

    async def list_workers(self) -> Sequence[Worker]:
        rows, returned = self._tables.workers.values(), self._tables.returned
        holding = {r.worker for r in self._all_records() if r.worker in returned} if returned else set()
        return [row.worker for row in rows if not row.gone or row.worker.worker_id in holding]

    async def take_back(self, worker_id: str, *, renewed_at: datetime) -> Sequence[Record]:
        row = self._tables.workers.get(worker_id)
        if row is not None and not row.gone:
            if row.worker.renewed_at > renewed_at:
                return []
            write = self._write()
            version = row.version.written(stamp=write.stamp, write_id=write.write_id)
            self._tables.keep(replace(row, version=version, gone=True))
        self._tables.returned.discard(worker_id)
        held = [record for record in self._all_records() if record.worker == worker_id]
        return self._put(moves.end_leases(held, self._policy, self._write))

    async def list_held(self, worker_id: str) -> Sequence[Record]:
        return [record for record in self._all_records() if record.worker == worker_id]

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
            self._start(batch)
        return claimed

    def _claimable(self, kinds: Collection[str] | None, batch_id: UUID | None) -> Iterator[Record]:
        for batch in (self._batch(facts.batch_id) for facts in self._all_facts()):
            if batch.ended or batch.cancel_requested or batch_id not in {None, batch.batch_id}:
                continue
            for record in self._records(batch.batch_id).values():
                if record.status is RecordStatus.PENDING and (kinds is None or record.kind in kinds):
                    yield record

    def _start(self, batch_id: UUID) -> None:
        if self._facts(batch_id).started_at is None:
            self._change(batch_id, started_at=self._clock.now())

    async def next_due(
        self, *, kinds: Collection[str] | None = None, batch_id: UUID | None = None
    ) -> datetime | None:
        return min((self._due_at(record) for record in self._claimable(kinds, batch_id)), default=None)

    def _due_at(self, record: Record) -> datetime:
        until = self._facts(record.batch_id).held.hold.until
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
            if not self._takes(claimed) or not moves.meets(met, report):
                refused.append(Refusal(report=report, met=met))
                continue
            held = met if met is not None and met.claim == claimed.claim else claimed
            settled[key] = moves.settle(held, report.outcome, self._policy, self._write())
            self._hold_after(claimed.batch_id, report.outcome)
        self._put(settled.values())
        return refused

    def _takes(self, record: Record) -> bool:
        facts = self._tables.batches.get(record.batch_id)
        return facts is not None and not facts.forgets(record)

    def _hold_after(self, batch_id: UUID, outcome: Outcome) -> None:
        pause, now = self._policy.snooze_seconds, self._clock.now()
        before = self._facts(batch_id).held.hold
        self._hold(batch_id, hold.after(before, outcome, now=now, pause_seconds=pause))

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
            for record in self._records(batch_id).values()
            if record.status is RecordStatus.FAILED
            and record.error is not None
            and (categories is None or record.error.category in categories)
            and (permanent or not is_permanent(record.error.category))
        ]
        if chosen:
            following = moves.round_after(batch.round, max(record.round for record in chosen))
            self._put(moves.reopen(r, batch_round=following, write=self._write()) for r in chosen)
            self._change(batch_id, round=following)
            self._hold(batch_id, hold.NOT_HELD)
        return len(chosen)

    async def cancel_batch(self, batch_id: UUID, *, error_message: str | None = None) -> int:
        batch = self._batch(batch_id)
        if batch.ended:
            return 0
        cancelled = self._cancel_open(batch_id)
        write, total = self._write(), len(self._records(batch_id))
        facts = self._facts(batch_id).cancelled_by(write, error_message=error_message, total=total)
        self._tables.keep(facts)
        return len(cancelled)

    def _cancel_open(self, batch_id: UUID) -> list[Record]:
        records = self._records(batch_id).values()
        return self._put(moves.cancel(r, self._write()) for r in records if r.status in OPEN_STATUSES)

    async def end_batches(self, batch_ids: Collection[UUID] | None = None) -> Sequence[Batch]:
        ended = []
        for batch_id in [each.batch_id for each in self._all_facts()]:
            if batch_ids is None or batch_id in batch_ids:
                ended += self._end(batch_id)
        return ended

    def _end(self, batch_id: UUID) -> list[Batch]:
        facts = self._facts(batch_id)
        if facts.cancelled:
            self._cancel_open(batch_id)  # What a merge brought after the batch was cancelled here (B2).
        batch, found = self._batch(batch_id), self._counters(batch_id)
        if not may_end(batch, found):
            return []
        write, end = self._write(), self._end_of(facts)
        if end is None:
            event = batch_ended(batch, found, status=computed_status(batch, found), now=write.now)
            end = EndFact(event, delivered=False, write_id=write.write_id, life=facts.life)
            self._tables.keep(end)
        self._tables.unconfirmed.discard(end.event.event_id)
        self._change(batch_id)
        self._hold(batch_id, hold.NOT_HELD)
        return [self._batch(batch_id)]

    async def pending_events(self, *, limit: int) -> Sequence[BatchEnded]:
        waiting = (end.event for end in self._tables.ends.values() if not end.delivered)
        return sorted(waiting, key=lambda event: (event.ended_at, event.event_id))[:limit]

    async def events_delivered(self, event_ids: Collection[UUID]) -> None:
        for event_id in event_ids:
            end = self._tables.ends.get(event_id)
            if end is not None and not end.delivered:
                self._tables.keep(replace(end, delivered=True))

    async def cleanup_old_records(self, older_than: timedelta, *, apply: bool) -> Cleanup:
        before = self._clock.now() - older_than
        batches = [self._batch(facts.batch_id) for facts in self._all_facts()]
        old = [b.batch_id for b in batches if b.completed_at and b.completed_at < before]
        found = Cleanup(batches=len(old), records=sum(len(self._records(batch_id)) for batch_id in old))
        if apply:
            for batch_id in old:
                write = self._write()
                facts = self._facts(batch_id).tombstone(write_id=write.write_id, now=write.now)
                self._tables.keep(facts)
                forgetting.forget_batch(self._tables, facts)
        return found


def _queued(new: NewBatch, write: moves.Write, *, life: int) -> BatchFacts:
    first = Version().written(stamp=write.stamp, write_id=write.write_id)
    return BatchFacts(
        batch_id=new.batch_id,
        header=Header(
            kind=new.kind,
            name=new.name,
            collection=new.collection,
            priority=new.priority,
            max_error_rate=new.max_error_rate,
            options=json_copy(new.options),
            created_at=write.now,
            write_id=write.write_id,
        ),
        submitter=Submitter(new.submitter, first),
        held=Held(hold.NOT_HELD, first),
        updated_at=write.now,
        life=life,
    )
